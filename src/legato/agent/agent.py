"""The agent: it connects and reconnects, runs engines, and sends and receives what `AgentProtocol` decides."""

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
from legato.agent.connect import connect, explain_close
from legato.agent.effects import AbortJob, Effect, FrameIgnored, PreloadModel, RegistrationAccepted, StartJob
from legato.agent.engine_pool import EnginePool
from legato.agent.job import AgentJob
from legato.agent.protocol import AgentProtocol
from legato.client.address import without_key
from legato.client.connect import close_socket
from legato.client.heartbeat import backoff
from legato.client.open_socket import HANDSHAKE_SECONDS
from legato.engines.base import Outcome, TokenLogprob, ToolCall
from legato.engines.embedding import Vector
from legato.errors import EngineError, UnreachableError
from legato.fleet.protocol import JobEmbedding, LogprobsTold, ModelInfo, ToolCalled
from legato.stream import Reasoning, State, Text, Timings, Usage

logger = logging.getLogger(__name__)

LIST_SECONDS = 3.0
"""Seconds between two listings of the models."""

DRAIN_SECONDS = 30.0
"""How long running jobs may continue once the agent was told to stop."""

ALIVE_SECONDS = 0.5
"""Seconds without an event of a job after which a sign of life is sent."""

HAND_BACK_SECONDS = 2.0
"""How long it may take to hand back running jobs when there is no more time."""


class AgentRegistered(Struct, frozen=True):
    """The server has accepted the agent. `again`: it was disconnected before."""

    url: str
    models: tuple[str, ...]
    slots: int
    again: bool


class AgentDisconnected(Struct, frozen=True):
    """There is no connection. The agent connects again in `seconds`; its jobs continue meanwhile."""

    reason: str
    seconds: float


class Agent:
    """Runs jobs of the server at `url` with the engines of `engines`, `slots` at once.

    `key` is the agent's. `listener` is called with `AgentRegistered` and `AgentDisconnected`. `pauses` are the seconds before
    each attempt to reconnect, `list_seconds` those between two listings of the models, `drain_seconds` those that `stop` gives to
    running jobs.
    """

    def __init__(
        self,
        url: str,
        engines: EnginePool,
        *,
        key: str | None = None,
        slots: int = 1,
        name: str | None = None,
        listener: Callable[[AgentRegistered | AgentDisconnected], None] = lambda _: None,
        pauses: Callable[[], Iterator[float]] = lambda: backoff(random.random),
        list_seconds: float = LIST_SECONDS,
        drain_seconds: float = DRAIN_SECONDS,
    ) -> None:
        self.protocol = AgentProtocol(secrets.token_hex(8), slots=slots, name=name, version=__version__)
        self._url = url
        self._shown_url = without_key(url)
        self._engines = engines
        self._key = key
        self._slots = slots
        self._listener = listener
        self._pauses = pauses
        self._list_seconds = list_seconds
        self._drain_seconds = drain_seconds
        self._models: tuple[ModelInfo, ...] = ()
        self._jobs: dict[AgentJob, asyncio.Task[None]] = {}
        self._loads: set[asyncio.Task[None]] = set()
        self._wake_sender = asyncio.Event()
        self._registered = asyncio.Event()
        self._list_now = asyncio.Event()
        self._may_end = asyncio.Event()
        self._ended = asyncio.Event()
        self._was_registered = False
        self._hurried = False
        self._ending = False
        self._socket: ClientConnection | None = None

    async def run(self) -> None:
        """Run the agent until `stop`, or for ever.

        :raises UnauthenticatedError: the server rejects the key.
        :raises ForbiddenError: the server rejects the agent.
        :raises InvalidError: the URL is not valid.
        :raises EngineError: the embedded model is not here, and cannot be downloaded.
        """
        try:
            await self._engines.start()
            await self._list()
            await self._run_until_first_ends(
                self._keep_connected(), self._keep_listing(), self._drain(), self._ended.wait()
            )
        finally:
            await self._end()

    def stop(self) -> None:
        """Take no more jobs, and end when the running jobs are done or their time is over.

        The second call hands back the running jobs and ends as soon as the server knows. The third call ends at once.
        """
        if self._hurried:
            self._ended.set()
        self._hurried = self.protocol.draining
        self.protocol.drain()
        self._may_end.set()
        self._wake_sender.set()

    async def _run_until_first_ends(self, *parts: Coroutine[Any, Any, object]) -> None:
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
        await self._engines.close()

    async def _drain(self) -> None:
        """Return when the agent was told to stop and has no jobs left, or when its time is over."""
        await self._may_end.wait()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._drain_seconds):
                while not (self.protocol.idle or self._hurried):
                    await self._wait_for_change()
        if not self.protocol.registered:
            return
        self._carry_out(self.protocol.hand_back())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(HAND_BACK_SECONDS):
                while not self.protocol.idle:
                    await self._wait_for_change()

    async def _wait_for_change(self) -> None:
        self._may_end.clear()
        await self._may_end.wait()

    async def _keep_listing(self) -> None:
        while True:
            self._list_now.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._list_seconds):
                    await self._list_now.wait()
            await self._list()
            if self.protocol.is_outdated and not self.protocol.running and self._socket is not None:
                await close_socket(self._socket)

    async def _list(self) -> None:
        self._models = await self._engines.list_models()
        self.protocol.offer(self._models)
        self._wake_sender.set()

    async def _keep_connected(self) -> None:
        """Connect and reconnect until the server rejects the agent."""
        pauses = self._pauses()
        while True:
            try:
                self._socket = await connect(self._url, self._key)
                reason, hopeless = await self._communicate(self._socket)
            except UnreachableError as error:
                reason, hopeless = error.message, True
            finally:
                self._socket = None
            if self._registered.is_set() and not hopeless:
                pauses = self._pauses()
            self._registered.clear()
            self._disconnected()
            pause = next(pauses)
            self._listener(AgentDisconnected(reason, pause))
            await asyncio.sleep(pause)

    def _disconnected(self) -> None:
        loop = asyncio.get_running_loop()
        self._carry_out(self.protocol.disconnected(loop.time()))
        if (end := self.protocol.lease_end) is not None:
            loop.call_at(end, self._expire, end)

    def _expire(self, end: float) -> None:
        self._carry_out(self.protocol.lease_expired(end))

    async def _communicate(self, socket: ClientConnection) -> tuple[str, bool]:
        """Send and receive until the connection ends. Returns why, and whether it makes no sense to reconnect soon."""
        try:
            await self._run_until_first_ends(self._receive(socket), self._send(socket), self._beat(socket))
        except ConnectionClosed as closed:
            return explain_close(closed, self.protocol.refusal, self._shown_url, self._key)
        finally:
            await close_socket(socket)
        return "The connection ended.", False

    async def _send(self, socket: ClientConnection) -> None:
        while True:
            self._wake_sender.clear()
            while (frame := self.protocol.next_frame()) is not None:
                await socket.send(frame, text=True)
            self._check_drained()
            await self._wake_sender.wait()

    async def _receive(self, socket: ClientConnection) -> None:
        while True:
            self._carry_out(self.protocol.received(await socket.recv(decode=False)))

    async def _beat(self, socket: ClientConnection) -> None:
        try:
            async with asyncio.timeout(HANDSHAKE_SECONDS):
                await self._registered.wait()
        except TimeoutError:
            raise UnreachableError(f"What answers at {self._shown_url} takes no agents.") from None
        names = tuple(each.name for each in self._models)
        if self.protocol.needs_models and not names:
            raise UnreachableError(
                f"The server at {self._shown_url} sends any job to an agent without models, and there is no model here yet."
            )
        self._listener(AgentRegistered(self._shown_url, names, self._slots, self._was_registered))
        self._was_registered = True
        while True:
            await asyncio.sleep(self.protocol.heartbeat)
            self.protocol.beat(time.time() * 1000)
            self._wake_sender.set()

    def _carry_out(self, effects: Iterable[Effect]) -> None:
        for effect in effects:
            match effect:
                case StartJob(job) if not self._ending:
                    task = asyncio.create_task(self._run_job(job), name=f"job {job.job_id}")
                    self._jobs[job] = task
                    task.add_done_callback(partial(self._job_stopped, job))
                case StartJob():
                    pass
                case AbortJob(job):
                    # A job whose turn came while the agent was ending has no task.
                    if (running := self._jobs.get(job)) is not None:
                        running.cancel()
                case PreloadModel(model):
                    loading = asyncio.create_task(self._load(model))
                    self._loads.add(loading)
                    loading.add_done_callback(self._loads.discard)
                case RegistrationAccepted():
                    self._registered.set()
                case FrameIgnored(why):
                    logger.warning("not understood: %s", why)
        self._wake_sender.set()
        self._check_drained()

    def _check_drained(self) -> None:
        """Wake `_drain` if there may be nothing more to wait for."""
        if self.protocol.draining and self.protocol.idle:
            self._may_end.set()

    async def _run_job(self, job: AgentJob) -> None:
        try:
            writer = _JobWriter(self.protocol, job, self._wake_sender)
            if job.request.embed:
                outcome = await self._embed(job, writer)
            else:
                outcome = await self._engines.generate(job.request, writer)
            self.protocol.ended(job, outcome)
        except EngineError as error:
            self.protocol.broke(job, error)
        except Exception:
            logger.exception("job %s failed", job.job_id)
            self.protocol.failed(
                job, EngineError.code, "The engine failed in a way it should not. Try again."
            )

    async def _embed(self, job: AgentJob, writer: "_JobWriter") -> Outcome:
        found = await self._engines.embed(job.request)
        for vector in found.vectors:
            writer.vector(vector)
        return Outcome(
            "stop", found.model, Usage(found.tokens), Timings(found.load_ms, total_ms=found.total_ms)
        )

    def _job_stopped(self, job: AgentJob, _: object) -> None:
        # Called by the task and not in it: a task that is cancelled before its first step never runs.
        del self._jobs[job]
        self._carry_out(self.protocol.stopped(job))
        if any(each.name == job.request.model and not each.loaded for each in self._models):
            self._list_now.set()

    async def _load(self, model: str) -> None:
        self.protocol.loading(model)
        self._wake_sender.set()
        try:
            await self._engines.load(model)
        except EngineError as error:
            logger.warning("%s cannot be loaded: %s", model, error.message)
        self._list_now.set()


class _JobWriter:
    """The writer of one job. If the job writes too much, it cancels the task that it was created in."""

    __slots__ = ("_job", "_loop", "_protocol", "_task", "_wake_sender", "_written_at")

    def __init__(self, protocol: AgentProtocol, job: AgentJob, wake_sender: asyncio.Event) -> None:
        self._protocol = protocol
        self._job = job
        self._wake_sender = wake_sender
        self._task = asyncio.current_task()
        self._loop = asyncio.get_running_loop()
        self._written_at = float("-inf")

    def text(self, text: str) -> None:
        """Write text. Empty text is a sign of life, which is sent only if nothing else was written for a while."""
        if text or (
            self._protocol.sends_signs_of_life and self._loop.time() >= self._written_at + ALIVE_SECONDS
        ):
            self._write(Text(text))

    def reasoning(self, text: str) -> None:
        if text:
            self._write(Reasoning(text))

    def logprobs(self, tokens: tuple[TokenLogprob, ...]) -> None:
        if tokens:
            self._write(LogprobsTold(tokens))

    def tool_call(self, call: ToolCall) -> None:
        self._write(ToolCalled(call))

    def vector(self, vector: Vector) -> None:
        self._write(JobEmbedding(vector))

    def state(self, state: State) -> None:
        self._write(state)

    def mark(self) -> int:
        return 0

    def rewind(self, to: int = 0) -> bool:
        """Return False: what was sent to the gateway cannot be taken back."""
        return False

    def _write(self, event: Text | Reasoning | State | ToolCalled | LogprobsTold | JobEmbedding) -> None:
        self._written_at = self._loop.time()
        if not self._protocol.write(self._job, event) and self._task is not None:
            self._task.cancel()
        self._wake_sender.set()
