"""The fleet, seen as an engine: an assistant names a model and never knows where it runs."""

import asyncio
import secrets
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from typing import Any

from msgspec.structs import replace

from legato.domain.message import text_of
from legato.engines.base import SILENT, Capabilities, Health, Model, Outcome, ReplyWriter, Request
from legato.engines.model_kind import is_chat_model
from legato.fleet.agent_record import AgentCount, AgentRecord, AgentView, FleetView, ModelView
from legato.fleet.decisions import SchedulerConfig
from legato.fleet.dispatcher import Dispatcher
from legato.fleet.job_queue import JobSpec
from legato.fleet.model_names import canonical_model_name
from legato.fleet.protocol import ModelInfo
from legato.fleet.protocol_v1 import options_of
from legato.fleet.reply_assembly import ReplyAssembly

STOP_SECONDS = 4.0
"""How long a cancelled reply waits for its agent to say that nothing runs any more."""


SETTLING = 10.0
"""Seconds after the start in which agents of an earlier server are still on their way back."""


class FleetEngine:
    """A job goes to an agent in the same call in which it is wanted, and a token from the agent's socket into the reply in
    the same call in which it came.

    `desk` is where agents come in. `clock` is in seconds and never goes backwards.
    """

    name = "fleet"

    def __init__(self, rules: SchedulerConfig | None = None, *, clock: Callable[[], float]) -> None:
        self.desk = Dispatcher(rules or SchedulerConfig(), clock)
        self._clock = clock
        self._settled = clock() + SETTLING
        self._numbers = count(1)

    async def generate(
        self, request: Request, out: ReplyWriter, parameters: dict[str, Any] | None = None
    ) -> Outcome:
        """Write one reply; a request that names no model gets one that an agent has. `parameters` are those of a browser of the first generation, instead of options.

        :raises EngineBusyError: there is no room for it, or was none for too long.
        :raises ModelNotFoundError: no agent has the model.
        :raises EngineGaveUpError: agents were lost writing it, and no other can or may go on.
        """
        if not request.model:
            if parameters is None:
                await self._settle("")
            request = replace(request, model=self._any_model())
        if parameters is not None:
            request = replace(request, options=options_of(parameters))
        job = f"{next(self._numbers):x}-{secrets.token_hex(8)}"
        run = ReplyAssembly(
            job, request, out, asyncio.get_running_loop().create_future(), self._clock, parameters
        )
        size = sum(len(text_of(turn.parts)) for turn in request.turns)
        patience = max(0.0, self._settled - self._clock()) if parameters is None else 0.0
        ticket = JobSpec(
            job, request.model, request.user, request.conversation, bool(request.prefix), size, patience
        )
        silent = False
        try:
            self.desk.submit(run, ticket)
            return await run.end
        except asyncio.CancelledError as cancelled:
            silent = SILENT in cancelled.args
            raise
        finally:
            if not run.end.cancel() and not run.end.cancelled():
                run.end.exception()  # it may have failed in the moment in which it was cancelled, and nobody is to miss that
            self.desk.withdraw(run, silent=silent)
            if run.stopped is not None:
                await asyncio.wait([run.stopped], timeout=STOP_SECONDS)

    async def capabilities(self, model: str) -> Capabilities:
        """What one of the agents can do with it; the context is the smallest of all. Right after the start it waits for one."""
        await self._settle(model)
        facts = self._facts(model or self._any_model())
        known = [each.can for each in facts if each.can is not None]
        contexts = [each.context for each in facts if each.context is not None]
        contexts += [each.context for each in known if each.context is not None]
        kinds = [set(each.image_types) for each in known if each.image_types]
        return Capabilities(
            supports_prefill=any(each.supports_prefill for each in known),
            tools=any(each.tools for each in known),
            # A job may go to any of them, and one that cannot see would answer as if there were nothing to be seen.
            images=bool(facts) and all(each.can is not None and each.can.images for each in facts),
            audio=bool(facts) and all(each.can is not None and each.can.audio for each in facts),
            thinks=any(each.thinks for each in known),
            context=min(contexts, default=None),
            image_types=tuple(sorted(set.intersection(*kinds))) if kinds else (),
        )

    async def models(self) -> tuple[Model, ...]:
        """What the agents have, each model once."""
        return tuple(
            self._model(name)
            for name in dict.fromkeys(name for member in self.desk.members.values() for name in member.facts)
        )

    async def health(self) -> Health:
        counted = self.counted()
        if not counted.total:
            return Health(False, "No agent is connected. Start one with `legato agent` beside your models.")
        loaded = tuple(model.name for model in await self.models() if model.loaded)
        return Health(
            True, f"Agents connected: {counted.total}, of them busy: {counted.busy}.", loaded=loaded
        )

    async def close(self) -> None:
        """Hang up. Agents come back to the next server."""
        self.desk.close()

    @property
    def queues(self) -> bool:
        """Whether a request waits where all agents are busy."""
        return self.desk.scheduler.config.queue_seconds > 0

    def counted(self) -> AgentCount:
        """The agents that are connected."""
        seats = self.desk.scheduler.agents
        free = [seats[member.id].free for member in self.desk.members.values() if member.link is not None]
        busy = sum(each <= 0 for each in free)
        return AgentCount(len(free), len(free) - busy, busy)

    def view(self) -> FleetView:
        """The fleet as it is now."""
        desk = self.desk
        agents = [self._view(member) for member in desk.members.values()]
        return FleetView(
            agents=agents,
            slots=sum(agent.slots for agent in agents),
            running=sum(agent.running for agent in agents),
            queue=len(desk.scheduler.queue),
            queue_size=desk.scheduler.config.queue_size,
            jobs=desk.done,
            lost=desk.lost,
            tokens=desk.members.tokens,
            tokens_per_second=round(desk.members.rate, 1),
        )

    def listen(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Call `listener` whenever `view` has changed; the answer ends it."""
        self.desk.listeners.add(listener)
        return lambda: self.desk.listeners.discard(listener)

    def _view(self, member: AgentRecord) -> AgentView:
        seat = self.desk.scheduler.agents[member.id]
        running = len(seat.assignments)
        status = "idle" if not running else "working" if seat.free > 0 else "busy"
        if not seat.present:
            status = "lost"
        elif member.draining:
            status = "draining"
        return AgentView(
            id=member.id,
            name=member.name,
            generation=member.generation,
            status=status,
            slots=seat.slots,
            running=running,
            models=[
                ModelView(each.name, each.loaded, each.size, each.context) for each in member.facts.values()
            ],
            tokens=member.written,
            tokens_per_second=round(member.rate, 1),
            jobs=member.jobs,
            version=member.version,
        )

    def _model(self, name: str) -> Model:
        facts = self._facts(name)
        return Model(
            name,
            self.name,
            loaded=any(each.loaded for each in facts),
            size=next((each.size for each in facts if each.size is not None), None),
            context=min((each.context for each in facts if each.context is not None), default=None),
            detail=f"Agents that have it: {len(facts)}.",
            chats=is_chat_model(name),
        )

    async def _settle(self, model: str) -> None:
        """Right after the start, wait for an agent that has the model: one of an earlier server may be on its way back."""
        news = asyncio.Event()
        stop = self.listen(news.set)
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._settled - self._clock()):
                    while not (self._facts(model) if model else self._any_model()):
                        news.clear()
                        await news.wait()
        finally:
            stop()

    def _any_model(self) -> str:
        """The first model of the agents that chats, one that is loaded before the others."""
        members = self.desk.members.values()
        facts = [each for member in members for each in member.facts.values() if is_chat_model(each.name)]
        return min(facts, key=lambda each: not each.loaded).name if facts else ""

    def _facts(self, model: str) -> list[ModelInfo]:
        name = canonical_model_name(model)
        return [
            facts for member in self.desk.members.values() if (facts := member.facts.get(name)) is not None
        ]
