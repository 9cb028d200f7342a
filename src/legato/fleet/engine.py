"""The fleet, seen as an engine: an assistant names a model and never knows where it runs."""

import asyncio
import secrets
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from itertools import count
from typing import Any

from msgspec.structs import replace

from legato.domain.message import text_of
from legato.engines.base import SILENT, Capabilities, Health, Model, NullWriter, Outcome, ReplyWriter, Request
from legato.engines.embedding import Embedding, Vector, check_vectors
from legato.engines.message_format import drop_unsupported_media, has_media
from legato.engines.model_kind import is_chat_model
from legato.errors import UnsupportedOptionError
from legato.fleet.agent_connection import AgentConnection
from legato.fleet.coordinator import LocalCoordinator
from legato.fleet.decisions import SchedulerConfig
from legato.fleet.dispatcher import Dispatcher
from legato.fleet.job_fields import PARTS, needed_field
from legato.fleet.job_queue import PLAIN, JobSpec
from legato.fleet.model_names import canonical_model_name
from legato.fleet.prompt_prefixes import answered_prefix, prompt_prefixes
from legato.fleet.protocol import REVISION, ModelInfo
from legato.fleet.protocol_v1 import options_of
from legato.fleet.reply_assembly import ReplyAssembly
from legato.fleet.scheduling import SchedulerAgent
from legato.fleet.views import AgentCount, AgentView, FleetView, ModelView

TEXTS = 32
"""Texts that one job embeds."""

STOP_SECONDS = 4.0
"""How long a cancelled reply waits for its agent to say that nothing runs any more."""


SETTLING = 10.0
"""Seconds after the start in which agents of an earlier server are still on their way back."""


class FleetEngine:
    """Gives a job to a free agent in the call that asks for it, and writes a token from the agent's socket to the reply in the
    call in which it arrives.

    Agents connect to `dispatcher`. `clock` is in seconds and never goes backwards.
    """

    name = "fleet"

    def __init__(self, config: SchedulerConfig | None = None, *, clock: Callable[[], float]) -> None:
        self._coordination = LocalCoordinator(config or SchedulerConfig(), clock)
        self.dispatcher = Dispatcher(self._coordination, clock)
        self._clock = clock
        self._settled = clock() + SETTLING
        self._numbers = count(1)

    async def generate(
        self,
        request: Request,
        out: ReplyWriter,
        parameters: dict[str, Any] | None = None,
        on_final: Callable[[], None] = lambda: None,
    ) -> Outcome:
        """Write one reply; a request that names no model gets one that an agent has. `parameters` are those of a request on the browser endpoint of version 1, instead of the options. `on_final` is called before the last text, if the agent marks it.

        :raises UnsupportedOptionError: the request asks for what no agent with its model knows, or what its engine cannot do.
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
        field = needed_field(request)
        if field in PARTS and self._can_all_parts(request):
            field = None
        if field is not None:
            self._check_known(request.model, field)
        job = f"{next(self._numbers):x}-{secrets.token_hex(8)}"
        reply = ReplyAssembly(
            job, request, out, asyncio.get_running_loop().create_future(), self._clock, parameters, on_final
        )
        size = sum(len(text_of(turn.parts)) for turn in request.turns)
        patience = max(0.0, self._settled - self._clock()) if parameters is None else 0.0
        prefixes = () if request.conversation else prompt_prefixes(request)
        spec = JobSpec(
            job,
            request.model,
            request.user,
            request.conversation or _cache_name(request),
            bool(request.prefix),
            size,
            patience,
            prefixes,
            request.key,
            0 if field is None else REVISION,
        )
        outcome = await self._written(reply, spec)
        if prefixes and reply.agent is not None:
            answered = answered_prefix(prefixes[-1], request.prefix + reply.said, reply.calls)
            self._coordination.has_read(reply.agent, request.model, answered)
        return outcome

    async def embed(self, model: str, texts: Sequence[str], dimensions: int | None = None) -> Embedding:
        """Embed texts, a few in one job. A job that loses its agent begins anew on another.

        :raises UnsupportedOptionError: the agents that have the model are too old to embed.
        :raises EngineError: as `generate` does.
        """
        self._check_known(model, "input")
        vectors: list[Vector] = []
        tokens: int | None = 0
        for begin in range(0, len(texts), TEXTS):
            request = Request(model, (), embed=tuple(texts[begin : begin + TEXTS]), dimensions=dimensions)
            job = f"{next(self._numbers):x}-{secrets.token_hex(8)}"
            done: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
            reply = ReplyAssembly(job, request, NullWriter(), done, self._clock)
            patience = max(0.0, self._settled - self._clock())
            outcome = await self._written(reply, JobSpec(job, model, patience=patience, revision=REVISION))
            vectors += check_vectors(reply.vectors, len(request.embed), dimensions, "The agent")
            told = outcome.usage.prompt_tokens if outcome.usage is not None else None
            tokens = None if tokens is None or told is None else tokens + told
        return Embedding(tuple(vectors), model, tokens)

    async def _written(self, reply: ReplyAssembly, spec: JobSpec) -> Outcome:
        """Give a job to an agent, and wait for its end. Cancelling stops the agent."""
        silent = False
        try:
            self.dispatcher.submit(reply, spec)
            return await reply.done
        except asyncio.CancelledError as cancelled:
            silent = SILENT in cancelled.args
            raise
        finally:
            if not reply.done.cancel() and not reply.done.cancelled():
                reply.done.exception()  # if it failed in the moment of the cancellation, asyncio must not report that
            self.dispatcher.withdraw(reply, silent=silent)
            if reply.stopped is not None:
                await asyncio.wait([reply.stopped], timeout=STOP_SECONDS)

    async def capabilities(self, model: str) -> Capabilities:
        """What one of the agents can do with it; the context is the smallest of all. Right after the start it waits for one."""
        await self._settle(model)
        infos = self._infos(model or self._any_model())
        known = [each.can for each in infos if each.can is not None]
        contexts = [each.context for each in infos if each.context is not None]
        contexts += [each.context for each in known if each.context is not None]
        kinds = [set(each.image_types) for each in known if each.image_types]
        return Capabilities(
            supports_prefill=any(each.supports_prefill for each in known),
            tools=any(each.tools for each in known),
            # A job may go to any of them, and one that cannot see would answer as if there were nothing to be seen.
            images=bool(infos) and all(each.can is not None and each.can.images for each in infos),
            audio=bool(infos) and all(each.can is not None and each.can.audio for each in infos),
            thinks=any(each.thinks for each in known),
            context=min(contexts, default=None),
            image_types=tuple(sorted(set.intersection(*kinds))) if kinds else (),
        )

    async def models(self) -> tuple[Model, ...]:
        """What the agents have, each model once."""
        return tuple(
            self._model(name)
            for name in dict.fromkeys(name for agent in self._agents for name in agent.models)
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
        self.dispatcher.close()

    @property
    def queues(self) -> bool:
        """Whether a request waits where all agents are busy."""
        return self._coordination.config.queue_seconds > 0

    def counted(self) -> AgentCount:
        """The agents that are connected."""
        free = [
            self._coordination.agents[connection.id].free
            for connection in self.dispatcher.connections.values()
            if connection.registered
        ]
        busy = sum(each <= 0 for each in free)
        return AgentCount(len(free), len(free) - busy, busy)

    def view(self) -> FleetView:
        """The fleet as it is now."""
        dispatcher = self.dispatcher
        agents = [self._view(agent, dispatcher.connections[agent.id]) for agent in self._agents]
        return FleetView(
            agents=agents,
            slots=sum(agent.slots for agent in agents),
            running=sum(agent.running for agent in agents),
            queue=self._coordination.waiting,
            queue_size=self._coordination.config.queue_size,
            jobs=dispatcher.done,
            lost=dispatcher.lost,
            tokens=dispatcher.tokens,
            tokens_per_second=round(dispatcher.rate, 1),
        )

    def listen(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Call `listener` whenever `view` has changed; the answer ends it."""
        self.dispatcher.listeners.add(listener)
        return lambda: self.dispatcher.listeners.discard(listener)

    @property
    def _agents(self) -> Collection[SchedulerAgent]:
        return self._coordination.agents.values()

    def _view(self, agent: SchedulerAgent, connection: AgentConnection) -> AgentView:
        running, identity = len(agent.assignments), self._coordination.identity(agent.id)
        status = "idle" if not running else "working" if agent.free > 0 else "busy"
        if not agent.present:
            status = "lost"
        elif agent.draining:
            status = "draining"
        return AgentView(
            id=agent.id,
            name=identity.name,
            generation=identity.protocol,
            status=status,
            slots=agent.slots,
            running=running,
            models=[
                ModelView(each.name, each.loaded, each.size, each.context) for each in agent.models.values()
            ],
            tokens=connection.tokens,
            tokens_per_second=round(connection.rate, 1),
            jobs=connection.jobs,
            version=identity.version,
        )

    def _model(self, name: str) -> Model:
        infos = self._infos(name)
        return Model(
            name,
            self.name,
            loaded=any(each.loaded for each in infos),
            size=next((each.size for each in infos if each.size is not None), None),
            context=min((each.context for each in infos if each.context is not None), default=None),
            detail=f"Agents that have it: {len(infos)}.",
            chats=is_chat_model(name) and all(each.chats for each in infos),
        )

    async def _settle(self, model: str) -> None:
        """Right after the start, wait for an agent that has the model: one of an earlier server may be on its way back."""
        news = asyncio.Event()
        stop = self.listen(news.set)
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._settled - self._clock()):
                    while not (self._infos(model) if model else self._any_model()):
                        news.clear()
                        await news.wait()
        finally:
            stop()

    def _can_all_parts(self, request: Request) -> bool:
        """Return whether each agent that may get the job can do its tools and media, so that none leaves them out."""
        name = canonical_model_name(request.model)
        media = has_media(request.turns)
        for agent in self._agents:
            if agent.revision < REVISION and agent.could((name, *PLAIN)):
                info = agent.models.get(name)
                can = Capabilities() if info is None or info.can is None else info.can
                if (request.tools and not can.tools) or (
                    media and drop_unsupported_media(request.turns, can) != request.turns
                ):
                    return False
        return True

    def _check_known(self, model: str, field: str) -> None:
        """Check that an agent with the model knows a field of the job.

        :raises UnsupportedOptionError: agents have the model, and none knows the field.
        """
        plain = (canonical_model_name(model), *PLAIN)
        able = [agent.revision for agent in self._agents if agent.could(plain)]
        if able and max(able) < REVISION:
            raise UnsupportedOptionError(
                "The agents that have this model are too old for this option. Update them, or leave it out.",
                field,
            )

    def _any_model(self) -> str:
        """The first model of the agents that chats, one that is loaded before the others."""
        infos = [
            each
            for agent in self._agents
            for each in agent.models.values()
            if each.chats and is_chat_model(each.name)
        ]
        return min(infos, key=lambda each: not each.loaded).name if infos else ""

    def _infos(self, model: str) -> list[ModelInfo]:
        name = canonical_model_name(model)
        return [info for agent in self._agents if (info := agent.models.get(name)) is not None]


def _cache_name(request: Request) -> str:
    """Return the name under which requests of a user with one cache key go to one agent, or nothing without a key."""
    return f"{len(request.user)} {request.user} {request.cache_key}" if request.cache_key else ""
