"""The agent's side of the protocol, without its socket, its clock and its engines.

Frames come in through `received` and go out through `next_frame`; what is to be done meanwhile is returned as effects. Every job is
kept until its last event is acknowledged, so a connection may break at any point and no event is lost or doubled.
"""

import msgspec
from msgspec.structs import replace

from legato.agent.effects import Effect, FrameIgnored, RegistrationAccepted
from legato.agent.job import AgentJob, decode_unknown_job
from legato.agent.job_table import JobTable
from legato.agent.outbox import FRAME, Outbox
from legato.agent.protocol_adapter import AgentState, GatewayAdapter
from legato.agent.protocol_v1 import AgentProtocolV1
from legato.agent.protocol_v2 import AgentProtocolV2
from legato.engines.base import Outcome
from legato.errors import ContextExceededError, EngineError, UnsupportedOptionError
from legato.fleet.protocol import (
    HEARTBEAT,
    LEASE,
    REVISION,
    AgentWelcome,
    Heartbeat,
    HeldJob,
    JobEmbedding,
    JobFailed,
    LogprobsTold,
    ModelInfo,
    Register,
    Registered,
    RegistrationRefused,
    ToolCalled,
)
from legato.stream import Reasoning, State, Text

REQUESTED_VERSION = 2
"""The version of the protocol that is asked for."""

BUFFER_LIMIT = 16 * 1024 * 1024
"""Bytes of memory that one job may hold unacknowledged. An engine cannot be slowed down, so a job that has more fails."""

MIN_HEARTBEAT = 0.1
"""Seconds between two heartbeats, at least, whatever a gateway asks for."""


class AgentProtocol:
    """One run of an agent, over all its connections. `instance` is a name that no other run has.

    `registered`: a gateway has accepted the agent on this connection. `refusal` is what the gateway said last of why it ends
    the connection. `heartbeat` is in seconds.
    """

    def __init__(
        self,
        instance: str,
        *,
        slots: int = 1,
        name: str | None = None,
        version: str | None = None,
        limit: int = BUFFER_LIMIT,
        frame: int = FRAME,
    ) -> None:
        self.registered = False
        self.refusal: str | None = None
        self.heartbeat = HEARTBEAT
        self._instance = instance
        self._name = name
        self._version = version
        self._secret: str | None = None
        self._lease_seconds = LEASE
        self._lease_end: float | None = None
        self._welcomed = False
        self._jobs = JobTable(slots)
        self._outbox = Outbox(frame)
        self._state = AgentState(self._jobs, self._outbox, limit)
        self._unregistered = AgentProtocolV1(self._state)
        self._adapter: GatewayAdapter = AgentProtocolV2(self._state, connected=False)

    @property
    def running(self) -> int:
        """The jobs that are still being written, or wait for a slot."""
        return self._jobs.running

    @property
    def idle(self) -> bool:
        """Whether no engine runs, everything that was written is acknowledged, and there is nothing to send."""
        return self._jobs.empty and self._outbox.empty

    @property
    def draining(self) -> bool:
        """Whether the agent takes no more jobs."""
        return self._state.draining

    @property
    def lease_end(self) -> float | None:
        """When the leases end, while there is no connection."""
        return self._lease_end

    @property
    def sends_signs_of_life(self) -> bool:
        """Whether an event without text is of use."""
        return self._adapter.sends_events

    @property
    def needs_models(self) -> bool:
        """Whether the gateway takes an agent without models for one that has any."""
        return not self._adapter.announces_models

    @property
    def is_outdated(self) -> bool:
        """Whether the gateway believes in other models than there are, and cannot be told."""
        return not self._adapter.announces_models and _names(self._state.models) != _names(
            self._state.announced
        )

    def received(self, frame: bytes | str) -> list[Effect]:
        """Handle a frame of the gateway."""
        adapter = self._adapter if self.registered else self._unregistered
        try:
            message = adapter.decode(frame)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            return [self._not_understood(frame, str(error))]
        match message:
            case AgentWelcome():
                return self._welcome()
            case Registered():
                return self._register(message)
            case RegistrationRefused():
                self.refusal = message.message
                return []
            case _:
                return adapter.received(message) if self.registered else []

    def next_frame(self) -> bytes | None:
        """The next frame to send, if there is one now. Events that were written meanwhile share a frame."""
        return self._outbox.next(events=self.registered and self._adapter.sends_events)

    def disconnected(self, now: float) -> list[Effect]:
        """Handle the end of the connection. Jobs continue for as long as their leases, if they have leases."""
        effects = [] if self._adapter.resumes else self._jobs.drop_all()
        if self.registered:
            self._lease_end = now + self._lease_seconds
        self.registered = False
        self.refusal = None
        self._welcomed = False
        self._outbox.clear(self._jobs)
        self._adapter = AgentProtocolV2(self._state, connected=False)
        return effects

    def lease_expired(self, now: float) -> list[Effect]:
        """Drop the jobs of a gateway that was away for longer than the lease: it has given them to other agents."""
        if self._lease_end is None or now < self._lease_end:
            return []
        self._lease_end = None
        return self._jobs.drop_all()

    def beat(self, timestamp: float) -> None:
        """Send a sign of life. `timestamp` is in milliseconds since the epoch."""
        if self.registered:
            self._outbox.put(Heartbeat(timestamp))

    def offer(self, models: tuple[ModelInfo, ...]) -> None:
        """Set the models that the agent has now."""
        self._state.models = models
        if self.registered:
            self._adapter.announce()

    def loading(self, model: str, progress: float | None = None) -> None:
        """Report that a model is being loaded."""
        if self.registered:
            self._adapter.loading(model, progress)

    def drain(self) -> None:
        """Take no more jobs."""
        if not self.draining:
            self._state.draining = True
            if self.registered:
                self._adapter.drain()

    def hand_back(self) -> list[Effect]:
        """Drop the jobs that are still being written, and tell the gateway, so that other agents continue them."""
        effects: list[Effect] = []
        for job in self._jobs:
            if not job.over:
                effects += self._jobs.drop(job)
                if self.registered:
                    self._adapter.hand_back(job)
        return effects

    def write(
        self, job: AgentJob, event: Text | Reasoning | State | ToolCalled | LogprobsTold | JobEmbedding
    ) -> bool:
        """Write an event of a job; nothing if the job is over. False if this is too much: cancel the engine."""
        return True if job.over else self._adapter.write(job, event)

    def ended(self, job: AgentJob, outcome: Outcome) -> None:
        """Write the last event of a job whose engine came to an end of its own."""
        self._adapter.ended(job, outcome)

    def failed(self, job: AgentJob, code: str, message: str) -> None:
        """Write the last event of a job whose engine raised an `EngineError` of this code."""
        self._adapter.failed(job, code, message)

    def broke(self, job: AgentJob, error: EngineError) -> None:
        """Write the last event of a job whose engine raised this error."""
        option = error.option if isinstance(error, UnsupportedOptionError) else ""
        failure = JobFailed(error.code, error.message, option)
        if isinstance(error, ContextExceededError):
            failure = replace(failure, too_long=True, limit=error.limit, asked=error.asked)
        self._adapter.broke(job, failure)

    def stopped(self, job: AgentJob) -> list[Effect]:
        """Handle the return of a job's engine: nothing of the job runs any more."""
        self.failed(job, "engine_broke", "The engine stopped in the middle of the reply. Try again.")
        self._adapter.stopped(job)
        return self._jobs.stopped(job)

    def _welcome(self) -> list[Effect]:
        if self._welcomed:
            return []
        self._welcomed = True
        models = self._state.announced = self._state.models
        self._outbox.put(
            Register(
                models=_names(models),
                protocol=REQUESTED_VERSION,
                slots=self._jobs.slots,
                facts=list(models),
                name=self._name,
                instance=self._instance,
                secret=self._secret,
                version=self._version,
                running=[
                    HeldJob(job.job_id, job.attempt, job.buffer.first, job.buffer.next) for job in self._jobs
                ],
                revision=REVISION,
            )
        )
        return []

    def _register(self, message: Registered) -> list[Effect]:
        if self.registered or not self._welcomed:
            return [FrameIgnored("registered, and nobody asked")]
        self.registered = True
        self._lease_end = None
        if message.protocol < REQUESTED_VERSION:
            self._adapter = AgentProtocolV1(self._state)
            return [RegistrationAccepted(1), *self._jobs.drop_all()]
        adapter = self._adapter = AgentProtocolV2(self._state)
        self._secret = message.secret or self._secret
        self._lease_seconds = LEASE if message.lease is None else message.lease
        self.heartbeat = max(MIN_HEARTBEAT, HEARTBEAT if message.heartbeat is None else message.heartbeat)
        effects: list[Effect] = [RegistrationAccepted(2), *adapter.resume(message.resume)]
        adapter.announce()
        if self.draining:
            adapter.drain()
        return effects + self._jobs.start_waiting()

    def _not_understood(self, frame: bytes | str, why: str) -> FrameIgnored:
        """Refuse a job that cannot be understood: otherwise the gateway would wait for it for ever."""
        unknown = decode_unknown_job(frame)
        if unknown is not None and self.registered:
            self._adapter.reject(unknown, f"This agent does not understand the job: {why}.")
        return FrameIgnored(why)


def _names(models: tuple[ModelInfo, ...]) -> list[str]:
    return [each.name for each in models]
