"""What a gateway does for its own agents and replies: connections and reply assemblies report events to the coordination of the
fleet, and its decisions are carried out."""

import asyncio
import logging
import secrets
import time
from collections import deque
from collections.abc import Callable
from typing import assert_never

from msgspec.structs import replace

from legato.engines.base import Outcome
from legato.errors import EngineGaveUpError
from legato.fleet.agent_connection import AgentConnection
from legato.fleet.agent_registry import AgentIdentity
from legato.fleet.coordination import FleetCoordination
from legato.fleet.decisions import (
    AgentLeft,
    Assign,
    CancelAttempt,
    CloseConnection,
    Decision,
    QueuePosition,
    Refuse,
)
from legato.fleet.errors import RETRIED, error_of_agent, error_of_refusal
from legato.fleet.job_attempt import JobAttempt
from legato.fleet.job_queue import JobSpec
from legato.fleet.model_names import canonical_model_name
from legato.fleet.protocol import HEARTBEAT, JobEnded, JobFailed, ModelInfo, Register, ResumeAt
from legato.fleet.protocol_adapter import ProtocolAdapter
from legato.fleet.reply_assembly import ReplyAssembly
from legato.fleet.scheduling import AgentSpec
from legato.stream import State

logger = logging.getLogger(__name__)

TICK = 0.5
"""Seconds between two checks for silent agents, which also measure the rate of tokens."""

ACK_SECONDS = 1.0
"""Seconds for which an agent keeps events that arrived and are not acknowledged. Each job that an agent writes costs a frame in
this time. With a tenth of a second, at twenty tokens a second, every third frame of the server was one."""

REGISTER_SECONDS = 10.0
"""Seconds that an agent may take to register."""

GOING_AWAY = 1012

DISCONNECTED = "The machine that writes this was disconnected. The reply goes on as soon as it is back, or on another one."


class Dispatcher:
    """Connects the agents of this gateway with its replies. Nothing here waits: timers do what is to happen later.

    `connections` has the last connection of each agent by the agent's id. A connection that is not `registered` any more has
    the attempts that the agent may continue. `done` and `lost` count jobs. `listeners` are called when something changed.
    `rate` is how many tokens the agents write per second. `clock` is in seconds and never goes backwards.
    """

    def __init__(self, coordination: FleetCoordination, clock: Callable[[], float]) -> None:
        self.coordination = coordination
        self.connections: dict[str, AgentConnection] = {}
        self.listeners: set[Callable[[], None]] = set()
        self.done = 0
        self.lost = 0
        self.rate = 0.0
        self._clock = clock
        self._tick_seconds = min(TICK, coordination.config.lease / 4)
        self._sockets: set[AgentConnection] = set()
        self._replies: dict[str, ReplyAssembly] = {}
        self._stopping: dict[str, asyncio.Future[None]] = {}
        self._unacknowledged: set[AgentConnection] = set()
        self._decisions: deque[Decision] = deque()
        self._deciding = False
        self._former_tokens = 0
        self._counted_tokens = 0
        self._ticked = 0.0
        self._ticking: asyncio.TimerHandle | None = None
        coordination.start(self._carry_out)

    @property
    def tokens(self) -> int:
        """All tokens that agents wrote since the server started."""
        return self._former_tokens + sum(each.tokens for each in self.connections.values())

    # Replies.

    def submit(self, reply: ReplyAssembly, spec: JobSpec) -> None:
        """Schedule the reply. `reply.done` completes when it is written."""
        self._replies[reply.id] = reply
        self.coordination.submit(spec)

    def withdraw(self, reply: ReplyAssembly, *, silent: bool = False) -> None:
        """Stop a reply that is not wanted any more; `silent`: because its agent wrote nothing for too long. If its agent was told
        to stop and will confirm it, `reply.stopped` completes when nothing of the reply runs any more."""
        if self._replies.pop(reply.id, None) is None:
            return
        connection = self.connections.get(reply.agent or "")
        attempt = connection.attempts.get(reply.id) if connection is not None else None
        writing = attempt is not None and attempt.wanted
        if connection is not None and not connection.registered:
            connection.attempts.pop(reply.id, None)
        self.coordination.withdraw(reply.id, silent=silent)
        if connection is None or attempt is None or not writing or attempt.wanted:
            return
        if connection.protocol is not None and connection.protocol.confirms_cancel:
            reply.stopped = asyncio.get_running_loop().create_future()
            self._stopping[reply.id] = reply.stopped

    # Connections.

    def connect(
        self,
        send: Callable[[bytes], None],
        close: Callable[[int, str], None],
        allowed: frozenset[str] | None = None,
        owner: str = "",
    ) -> AgentConnection:
        """Welcome an agent that has shown a key, if one is needed. `allowed` are the models that the key is good for (None: any),
        `owner` names the key."""
        connection = AgentConnection(
            self, secrets.token_hex(8), send, close, allowed=allowed, owner=owner, now=self._clock()
        )
        self._sockets.add(connection)
        connection.welcome(_milliseconds())
        if self._ticking is None:
            self._ticked = self._clock()
            self._ticking = asyncio.get_running_loop().call_later(self._tick_seconds, self._tick)
        return connection

    def received(self, connection: AgentConnection, payload: bytes) -> None:
        """Handle a frame."""
        connection.received(payload, self._clock())
        if connection.suspended and connection.registered:
            connection.suspended = False
            self.coordination.resumed(connection.id)

    def disconnected(self, connection: AgentConnection) -> None:
        """Handle the end of a connection."""
        connection.open = False
        self._sockets.discard(connection)
        self._unacknowledged.discard(connection)
        if connection.registered:
            self._detach(connection)

    def close(self) -> None:
        """Close all connections. The agents come back to the next server."""
        self.coordination.close()
        if self._ticking is not None:
            self._ticking.cancel()
            self._ticking = None
        for connection in list(self._sockets):
            connection.close(GOING_AWAY, "The server is going away: connect again.")

    def _detach(self, connection: AgentConnection) -> None:
        """Report that an agent lost its connection. The attempts that are wanted stay there for as long as its lease lasts."""
        attempts = connection.attempts
        connection.registered = False
        connection.attempts = {job: attempt for job, attempt in attempts.items() if attempt.wanted}
        for job in attempts:
            self._has_stopped(job)
        for attempt in connection.attempts.values():
            attempt.sink.state(State("loading", detail=DISCONNECTED))
        self.coordination.disconnected(connection.id)

    # What connections report.

    def register(self, connection: AgentConnection, register: Register, models: dict[str, ModelInfo]) -> None:
        protocol = connection.protocol
        if protocol is None:
            return
        known = self.coordination.recognise(register) if protocol.resumes else None
        former = self.connections.get(known.id) if known is not None else None
        if known is not None and former is not None and former.registered:
            self._detach(former)
            former.close(1000, "This agent has connected again.")
        if known is not None and former is not None and known.id in self.coordination.agents:
            self._continue(known, former, connection, protocol, register, models)
            return
        agent = self.coordination.admit(
            register,
            connection.id,
            connection.owner,
            protocol=protocol.version,
            resumes=protocol.resumes,
        )
        for held in register.running:
            connection.remember(held.job_id, held.attempt)
        self._grant(connection, protocol, agent, [])
        self.connections[agent.id] = connection
        spec = self._spec(agent, connection, protocol, register, models)
        logger.info("%s has joined the fleet; slots: %d", agent.name, spec.slots)
        self.coordination.joined(agent, spec)

    def register_again(
        self, connection: AgentConnection, register: Register, models: dict[str, ModelInfo]
    ) -> None:
        protocol = connection.protocol
        if protocol is None or not connection.registered:
            return
        agent = self.coordination.identity(connection.id)
        held = [ResumeAt(each.job, each.attempt, each.taken) for each in connection.attempts.values()]
        self._grant(connection, protocol, agent, held)
        self.coordination.registered_again(self._spec(agent, connection, protocol, register, models))

    def _continue(
        self,
        agent: AgentIdentity,
        former: AgentConnection,
        connection: AgentConnection,
        protocol: ProtocolAdapter,
        register: Register,
        models: dict[str, ModelInfo],
    ) -> None:
        """Let an agent that came back continue the jobs of which it still has everything that was not taken."""
        resume: list[ResumeAt] = []
        attempts: dict[str, JobAttempt] = {}
        for held in register.running:
            attempt = former.attempts.get(held.job_id)
            if (
                attempt is not None
                and attempt.attempt == held.attempt
                and held.first <= attempt.taken <= held.next
            ):
                attempt.received = attempt.acknowledged = attempt.taken
                resume.append(ResumeAt(held.job_id, held.attempt, attempt.taken))
                attempts[held.job_id] = attempt
                attempt.sink.state(State("answering"))
            else:
                connection.remember(held.job_id, held.attempt)
        agent = replace(agent, version=register.version)
        connection.count_on_from(former)
        self._grant(connection, protocol, agent, resume, attempts)
        self.connections[agent.id] = connection
        logger.info("%s is back in the fleet; jobs it goes on with: %d", agent.name, len(attempts))
        spec = self._spec(agent, connection, protocol, register, models)
        self.coordination.reconnected(agent, spec, [(each.job_id, each.attempt) for each in resume])

    def _grant(
        self,
        connection: AgentConnection,
        protocol: ProtocolAdapter,
        agent: AgentIdentity,
        resume: list[ResumeAt],
        attempts: dict[str, JobAttempt] | None = None,
    ) -> None:
        lease = self.coordination.config.lease
        heartbeat = min(HEARTBEAT, lease / 3)
        registered = protocol.registered(agent.id, _milliseconds(), agent.secret, heartbeat, lease, resume)
        connection.grant(registered, attempts)

    def _spec(
        self,
        agent: AgentIdentity,
        connection: AgentConnection,
        protocol: ProtocolAdapter,
        register: Register,
        models: dict[str, ModelInfo],
    ) -> AgentSpec:
        unlisted = protocol.unlisted(models, connection.allowed)
        return AgentSpec(
            agent.id,
            protocol.slots(register),
            models,
            unlisted,
            protocol.resumes,
            protocol.revision(register),
        )

    def ended(self, connection: AgentConnection, attempt: JobAttempt, end: JobEnded | JobFailed) -> None:
        self._has_stopped(attempt.job)
        if not connection.registered:
            return
        reply = self._replies.get(attempt.job) if attempt.wanted else None
        report = self.coordination.ended
        if reply is not None and isinstance(end, JobEnded):
            connection.jobs += 1
            self.done += 1
            models = self.coordination.agents[connection.id].models
            model = end.model if canonical_model_name(end.model) in models else attempt.model
            reply.finish(Outcome(end.reason, model, end.usage, end.timings))
        elif reply is not None and isinstance(end, JobFailed):
            error = error_of_agent(end)
            if isinstance(error, RETRIED):
                reply.failure, report = error, self.coordination.failed
            else:
                reply.fail(error)
        report(connection.id, attempt.job, attempt.attempt)

    def cancelled(self, connection: AgentConnection, attempt: JobAttempt) -> None:
        """Nothing of the attempt runs any more. If it is wanted, the agent gave it up by itself."""
        self._has_stopped(attempt.job)
        if connection.registered:
            report = self.coordination.failed if attempt.wanted else self.coordination.ended
            report(connection.id, attempt.job, attempt.attempt)

    def returned(self, connection: AgentConnection, attempt: JobAttempt, reason: str) -> None:
        self._has_stopped(attempt.job)
        if connection.registered:
            agent = self.coordination.identity(connection.id)
            logger.info("Agent %s takes no job: %.200s", agent.name, reason)
            self.coordination.returned(connection.id, attempt.job, attempt.attempt)

    def has_models(self, connection: AgentConnection, models: dict[str, ModelInfo]) -> None:
        if connection.registered:
            self.coordination.has_models(connection.id, models)

    def drains(self, connection: AgentConnection) -> None:
        if connection.registered:
            self.coordination.drains(connection.id)

    def took(self, connection: AgentConnection) -> None:
        if connection not in self._unacknowledged:
            self._unacknowledged.add(connection)
            asyncio.get_running_loop().call_later(ACK_SECONDS, self._acknowledge, connection)

    def expelled(self, connection: AgentConnection) -> None:
        """Take back what an agent that violated the protocol wrote in its running jobs. Other agents write them."""
        if not connection.registered:
            return
        name = self.coordination.identity(connection.id).name
        logger.warning("Agent %s broke the rules of the protocol and is hung up on", name)
        connection.registered = False
        for job, attempt in connection.attempts.items():
            self._has_stopped(job)
            reply = self._replies.get(job)
            if reply is not None and attempt.wanted:
                reply.discard_attempt()
        self.coordination.left(connection.id)

    def _acknowledge(self, connection: AgentConnection) -> None:
        if connection in self._unacknowledged:
            self._unacknowledged.remove(connection)
            connection.acknowledge()

    # What the coordination decides.

    def _carry_out(self, decisions: list[Decision]) -> None:
        """Carry out decisions in order. Those that follow from carrying them out come behind them."""
        self._decisions.extend(decisions)
        if self._deciding:
            return
        self._deciding = True
        try:
            while self._decisions:
                self._do(self._decisions.popleft())
        finally:
            self._deciding = False
        self._changed()

    def _do(self, decision: Decision) -> None:
        match decision:
            case Assign(job, agent, attempt):
                if self.coordination.is_current(job, agent, attempt):
                    self._assign(self._replies[job], self.connections[agent], attempt)
            case QueuePosition(job, position):
                if (reply := self._replies.get(job)) is not None:
                    reply.queued(position)
            case Refuse(job):
                self._refuse(self._replies[job], decision)
            case CancelAttempt(job, agent, attempt):
                if (connection := self.connections.get(agent)) is not None and connection.registered:
                    connection.cancel(job, attempt)
            case CloseConnection(agent):
                if (connection := self.connections.get(agent)) is not None and connection.registered:
                    self._close(connection)
            case AgentLeft(agent):
                if (connection := self.connections.pop(agent, None)) is not None:
                    self._former_tokens += connection.tokens
            case _:
                assert_never(decision)

    def _assign(self, reply: ReplyAssembly, connection: AgentConnection, number: int) -> None:
        before = self.connections.get(reply.agent or "")
        if before is not None and not before.registered:
            before.attempts.pop(reply.id, None)
        reply.agent = connection.id
        protocol = connection.protocol
        model = self.coordination.agents[connection.id].models.get(canonical_model_name(reply.request.model))
        can = model.can if model is not None and protocol is not None and protocol.carries_prefix else None
        prefix = reply.begin(
            self.coordination.identity(connection.id).name,
            loaded=model is None or model.loaded,
            continues=can is not None and can.supports_prefill,
        )
        if prefix is None:
            self.coordination.ended(connection.id, reply.id, number)
        elif protocol is not None and connection.registered:
            request = reply.request if model is None else replace(reply.request, model=model.name)
            attempt = protocol.attempt(reply.id, number, request, reply)
            revision = self.coordination.agents[connection.id].revision
            job = protocol.job(attempt, request, prefix, reply.parameters, revision)
            connection.start(attempt, job)

    def _refuse(self, reply: ReplyAssembly, refusal: Refuse) -> None:
        if refusal.reason == "lost":
            self.lost += 1
        agents, waited = bool(self.coordination.agents), self.coordination.config.queue_seconds
        error = reply.failure or error_of_refusal(refusal, reply.request.model, agents=agents, waited=waited)
        # If several agents failed at it, that was all the retrying that makes sense.
        reply.fail(EngineGaveUpError(error.message) if reply.failure and reply.attempts > 1 else error)

    def _close(self, connection: AgentConnection) -> None:
        name = self.coordination.identity(connection.id).name
        self._detach(connection)
        logger.warning("Agent %s does not stop what nobody wants; it is hung up on", name)
        connection.close(1000, "A job that nobody wants did not end: connect again.")

    def _has_stopped(self, job: str) -> None:
        waiting = self._stopping.pop(job, None)
        if waiting is not None and not waiting.done():
            waiting.set_result(None)

    # Time.

    def _tick(self) -> None:
        now = self._clock()
        late = now - self._ticked > 3 * self._tick_seconds
        elapsed, self._ticked = now - self._ticked, now
        self._measure(elapsed)
        for connection in [each for each in self._sockets if each.open and each.protocol is None]:
            if now - connection.heard >= REGISTER_SECONDS:
                connection.refuse("An agent begins with `register`.")
        # Frames that arrived while this loop stood still were not read yet: that is no silence.
        for connection in [] if late else list(self.connections.values()):
            self._check_silence(connection, now)
        self._ticking = (
            asyncio.get_running_loop().call_later(self._tick_seconds, self._tick)
            if self._sockets or self.connections
            else None
        )

    def _check_silence(self, connection: AgentConnection, now: float) -> None:
        if (
            connection.registered
            and not connection.suspended
            and connection.protocol is not None
            and connection.protocol.resumes
            and now - connection.heard >= self.coordination.config.lease
        ):
            connection.suspended = True
            name = self.coordination.identity(connection.id).name
            logger.warning("Agent %s gives no sign of life; its jobs go elsewhere", name)
            self.coordination.suspended(connection.id)

    def _measure(self, elapsed: float) -> None:
        for connection in self.connections.values():
            connection.measure(elapsed)
        tokens, before = self.tokens, self.rate
        self.rate = (tokens - self._counted_tokens) / elapsed if elapsed > 0 else 0.0
        self._counted_tokens = tokens
        if self.rate != before:
            self._changed()

    def _changed(self) -> None:
        for listener in self.listeners:
            listener()


def _milliseconds() -> int:
    return time.time_ns() // 1_000_000
