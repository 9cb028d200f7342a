"""The agent itself: it dials, comes back, runs engines, and says and hears what `AgentProtocol` decides."""

import asyncio
import contextlib
import logging
import random
import secrets
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator
from functools import partial
from typing import Any

from msgspec import Struct
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from legato import __version__
from legato.agent.connect import closing, dial
from legato.agent.effects import AbortJob, Effect, FrameIgnored, PreloadModel, RegistrationAccepted, StartJob
from legato.agent.engine_pool import EnginePool
from legato.agent.job import AgentJob
from legato.agent.protocol import AgentProtocol
from legato.client.address import without_key
from legato.client.connect import close_socket
from legato.client.heartbeat import backoff
from legato.client.open_socket import HANDSHAKE_SECONDS
from legato.engines.base import ToolCall
from legato.errors import EngineError, UnreachableError
from legato.fleet.protocol import ModelInfo, ToolCalled
from legato.stream import Reasoning, State, Text

logger = logging.getLogger(__name__)

LOOK_SECONDS = 3.0
"""Seconds between two looks at which models there are."""

DRAIN_SECONDS = 30.0
"""How long running jobs may go on once the agent was told to stop."""

ALIVE_SECONDS = 0.5
"""Seconds without an event of a job after which a sign of life is one."""

GIVE_UP_SECONDS = 2.0
"""How long it may take to hand back what runs, when there is no more time."""


class AgentRegistered(Struct, frozen=True):
    """The server has taken the agent. `again`: it was away."""

    url: str
    models: tuple[str, ...]
    slots: int
    again: bool


class AgentDisconnected(Struct, frozen=True):
    """The server is not there, and tried again in `seconds`. Jobs go on meanwhile."""

    reason: str
    seconds: float


class Agent:
    """Writes jobs of the server at `url` with the engines of `roster`, `slots` at once.

    `key` is the agent's. `told` hears of `AgentRegistered` and `AgentDisconnected`. `pauses` are the seconds before each attempt to come
    back, `look_seconds` those between two looks at the models, `drain_seconds` those that `stop` gives to running jobs.
    """

    def __init__(
        self,
        url: str,
        roster: EnginePool,
        *,
        key: str | None = None,
        slots: int = 1,
        name: str | None = None,
        told: Callable[[AgentRegistered | AgentDisconnected], None] = lambda _: None,
        pauses: Callable[[], Iterator[float]] = lambda: backoff(random.random),
        look_seconds: float = LOOK_SECONDS,
        drain_seconds: float = DRAIN_SECONDS,
    ) -> None:
        self.state = AgentProtocol(secrets.token_hex(8), slots=slots, name=name, version=__version__)
        self._url = url
        self._shown = without_key(url)
        self._roster = roster
        self._key = key
        self._slots = slots
        self._told = told
        self._pauses = pauses
        self._look_seconds = look_seconds
        self._drain_seconds = drain_seconds
        self._facts: tuple[ModelInfo, ...] = ()
        self._jobs: dict[AgentJob, asyncio.Task[None]] = {}
        self._loads: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()
        self._joined = asyncio.Event()
        self._look_now = asyncio.Event()
        self._may_end = asyncio.Event()
        self._ended = asyncio.Event()
        self._been_here = False
        self._hurried = False
        self._ending = False
        self._socket: ClientConnection | None = None

    async def run(self) -> None:
        """The agent's whole life: until `stop`, or for ever.

        :raises UnauthenticatedError: the server does not take its key.
        :raises ForbiddenError: the server does not take it.
        :raises InvalidError: its URL is no address.
        :raises EngineError: the embedded model it was to run is not here.
        """
        try:
            await self._roster.start()
            await self._look()
            await self._first_to_end(self._dial(), self._look_on(), self._drain(), self._ended.wait())
        finally:
            await self._end()

    def stop(self) -> None:
        """Take no more jobs and end once those that run are done, or their time is up.

        The second call hands back what runs and ends as soon as the server knows; the third just ends.
        """
        if self._hurried:
            self._ended.set()
        self._hurried = self.state.draining
        self.state.drain()
        self._may_end.set()
        self._wake.set()

    async def _first_to_end(self, *parts: Coroutine[Any, Any, object]) -> None:
        """Run all until one ends, and raise what it raised."""
        tasks = [asyncio.create_task(part) for part in parts]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        for task in done:
            task.result()

    async def _end(self) -> None:
        self._ending = True
        running = [*self._jobs.values(), *self._loads]
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        await self._roster.close()

    async def _drain(self) -> None:
        """Return once the agent was told to stop and has nothing left, or has had time enough."""
        await self._may_end.wait()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._drain_seconds):
                while not (self.state.idle or self._hurried):
                    await self._something_new()
        if self.state.generation is None:
            return
        self._carry_out(self.state.give_up())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GIVE_UP_SECONDS):
                while not self.state.idle:
                    await self._something_new()

    async def _something_new(self) -> None:
        self._may_end.clear()
        await self._may_end.wait()

    async def _look_on(self) -> None:
        while True:
            self._look_now.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._look_seconds):
                    await self._look_now.wait()
            await self._look()
            if self.state.stale and not self.state.running and self._socket is not None:
                await close_socket(self._socket)

    async def _look(self) -> None:
        self._facts = await self._roster.look()
        self.state.offer(self._facts)
        self._wake.set()

    async def _dial(self) -> None:
        """Talk, come back, talk … until there is no sense in it."""
        pauses = self._pauses()
        while True:
            try:
                self._socket = await dial(self._url, self._key)
                reason, hopeless = await self._talk(self._socket)
            except UnreachableError as error:
                reason, hopeless = error.message, True
            finally:
                self._socket = None
            if self._joined.is_set() and not hopeless:
                pauses = self._pauses()
            self._joined.clear()
            self._lost()
            pause = next(pauses)
            self._told(AgentDisconnected(reason, pause))
            await asyncio.sleep(pause)

    def _lost(self) -> None:
        loop = asyncio.get_running_loop()
        self._carry_out(self.state.lost(loop.time()))
        if (until := self.state.until) is not None:
            loop.call_at(until, self._expire, until)

    def _expire(self, until: float) -> None:
        self._carry_out(self.state.expired(until))

    async def _talk(self, socket: ClientConnection) -> tuple[str, bool]:
        """Say and hear until the connection ends. Returns why, and whether it is of no use to come back soon."""
        try:
            await self._first_to_end(self._hear(socket), self._say(socket), self._beat(socket))
        except ConnectionClosed as closed:
            return closing(closed, self.state.complaint, self._shown, self._key)
        finally:
            await close_socket(socket)
        return "The connection ended.", False

    async def _say(self, socket: ClientConnection) -> None:
        while True:
            self._wake.clear()
            while (frame := self.state.next_frame()) is not None:
                await socket.send(frame, text=True)
            self._moved()
            await self._wake.wait()

    async def _hear(self, socket: ClientConnection) -> None:
        while True:
            self._carry_out(self.state.received(await socket.recv(decode=False)))

    async def _beat(self, socket: ClientConnection) -> None:
        try:
            async with asyncio.timeout(HANDSHAKE_SECONDS):
                await self._joined.wait()
        except TimeoutError:
            raise UnreachableError(f"What answers at {self._shown} takes no agents.") from None
        names = tuple(each.name for each in self._facts)
        if self.state.generation == 1 and not names:
            raise UnreachableError(
                f"The server at {self._shown} sends any job to an agent without models, and there is no model here yet."
            )
        self._told(AgentRegistered(self._shown, names, self._slots, self._been_here))
        self._been_here = True
        while True:
            await asyncio.sleep(self.state.heartbeat)
            self.state.beat(time.time() * 1000)
            self._wake.set()

    def _carry_out(self, effects: Iterable[Effect]) -> None:
        for effect in effects:
            match effect:
                case StartJob(lease) if not self._ending:
                    task = asyncio.create_task(self._write(lease), name=f"job {lease.job_id}")
                    self._jobs[lease] = task
                    task.add_done_callback(partial(self._left, lease))
                case StartJob():
                    pass
                case AbortJob(lease):
                    # One whose turn came while the agent was ending has no task.
                    if (running := self._jobs.get(lease)) is not None:
                        running.cancel()
                case PreloadModel(model):
                    loading = asyncio.create_task(self._load(model))
                    self._loads.add(loading)
                    loading.add_done_callback(self._loads.discard)
                case RegistrationAccepted():
                    self._joined.set()
                case FrameIgnored(why):
                    logger.warning("not understood: %s", why)
        self._wake.set()
        self._moved()

    def _moved(self) -> None:
        """There may be nothing more to wait for."""
        if self.state.draining and self.state.idle:
            self._may_end.set()

    async def _write(self, lease: AgentJob) -> None:
        try:
            outcome = await self._roster.generate(lease.request, _JobWriter(self.state, lease, self._wake))
            self.state.ended(lease, outcome)
        except EngineError as error:
            self.state.broke(lease, error.code, error.message)
        except Exception:
            logger.exception("job %s failed", lease.job_id)
            self.state.broke(lease, EngineError.code, "The engine failed in a way it should not. Try again.")

    def _left(self, lease: AgentJob, _: object) -> None:
        # Called by the task and not in it: one that is cancelled before its first step never runs.
        del self._jobs[lease]
        self._carry_out(self.state.left(lease))
        if any(each.name == lease.request.model and not each.loaded for each in self._facts):
            self._look_now.set()

    async def _load(self, model: str) -> None:
        self.state.loading(model)
        self._wake.set()
        try:
            await self._roster.load(model)
        except EngineError as error:
            logger.warning("%s cannot be loaded: %s", model, error.message)
        self._look_now.set()


class _JobWriter:
    """Where the engine writes one job. When that becomes too much, it cancels the task that it was made in."""

    __slots__ = ("_lease", "_loop", "_said_at", "_state", "_task", "_wake")

    def __init__(self, state: AgentProtocol, lease: AgentJob, wake: asyncio.Event) -> None:
        self._state = state
        self._lease = lease
        self._wake = wake
        self._task = asyncio.current_task()
        self._loop = asyncio.get_running_loop()
        self._said_at = float("-inf")

    def text(self, text: str) -> None:
        """Without text it is a sign of life, which is of use only where nothing else was said for a while."""
        if text or (self._state.generation != 1 and self._loop.time() >= self._said_at + ALIVE_SECONDS):
            self._write(Text(text))

    def reasoning(self, text: str) -> None:
        if text:
            self._write(Reasoning(text))

    def tool_call(self, call: ToolCall) -> None:
        self._write(ToolCalled(call))

    def state(self, state: State) -> None:
        self._write(state)

    def mark(self) -> int:
        return 0

    def rewind(self, to: int = 0) -> bool:
        """What was sent to the gateway stays said."""
        return False

    def _write(self, event: Text | Reasoning | State | ToolCalled) -> None:
        self._said_at = self._loop.time()
        if not self._state.write(self._lease, event) and self._task is not None:
            self._task.cancel()
        self._wake.set()
