"""The agent's side of the protocol, without its socket, its clock and its engines.

Frames go in by `received` and out by `next_frame`; what is to be done meanwhile are values, the effects. Every job is
kept until its last event is acknowledged, so a connection may break anywhere and nothing is lost or doubled.
"""

from typing import Literal

import msgspec

from legato.agent.effects import Effect, FrameIgnored, PreloadModel, RegistrationAccepted
from legato.agent.job import AgentJob, agent_job, bare_job, prompt_job
from legato.agent.job_table import JobTable
from legato.agent.outbox import FRAME, Outbox
from legato.agent.replay_buffer import encoded
from legato.engines.base import Outcome
from legato.fleet.protocol import (
    HEARTBEAT,
    LEASE,
    Acknowledged,
    AgentWelcome,
    Cancel,
    Cancelled,
    Drain,
    Heartbeat,
    HeldJob,
    Job,
    JobComplete,
    JobEnded,
    JobError,
    JobEvent,
    JobFailed,
    Load,
    Loading,
    ModelInfo,
    Models,
    PromptJob,
    Refused,
    Register,
    Registered,
    RegistrationRefused,
    Status,
    ToAgent,
    Token,
    ToolCalled,
)
from legato.stream import Reasoning, Text
from legato.stream import State as Waiting

PROTOCOL = 2
"""The generation that is asked for."""

KEPT = 16 * 1024 * 1024
"""Bytes of memory that one job may hold unacknowledged. An engine cannot be slowed down, so one that has more breaks."""

SOONEST = 0.1
"""Seconds between two heartbeats, at least, whatever a gateway asks for."""


_ENDING = "This agent is about to end."

_TOO_LONG = (
    "engine_broke",
    "The model said more at once than a message can hold. Ask for less, and try again.",
)

_TOO_MUCH = (
    "engine_broke",
    "The server did not take what the agent wrote for so long that the agent had to give up. Try again.",
)

_FirstToAgent = AgentWelcome | Registered | PromptJob | RegistrationRefused
_decode = msgspec.json.Decoder(ToAgent).decode
_decode_first = msgspec.json.Decoder(_FirstToAgent).decode


class AgentProtocol:
    """One run of an agent, over all its connections. `instance` is a name that no other run has.

    `generation` is None while no gateway has taken it. `complaint` is what the gateway said last of why it ends the
    connection.
    """

    def __init__(
        self,
        instance: str,
        *,
        slots: int = 1,
        name: str | None = None,
        version: str | None = None,
        kept: int = KEPT,
        frame: int = FRAME,
    ) -> None:
        self.generation: Literal[1, 2] | None = None
        self.complaint: str | None = None
        self.heartbeat = HEARTBEAT
        self.draining = False
        self._instance = instance
        self._name = name
        self._version = version
        self._limit = kept
        self._secret: str | None = None
        self._lease_seconds = LEASE
        self._until: float | None = None
        self._facts: tuple[ModelInfo, ...] = ()
        self._told: tuple[ModelInfo, ...] = ()
        self._greeted = False
        self._book = JobTable(slots)
        self._unanswered: set[AgentJob] = set()
        self._out = Outbox(frame)

    @property
    def running(self) -> int:
        """The jobs that are still being written, or wait for a slot to become free."""
        return self._book.running

    @property
    def idle(self) -> bool:
        """Whether no engine runs, everything that was written is acknowledged, and there is nothing to say."""
        return self._book.empty and self._out.silent

    @property
    def until(self) -> float | None:
        """When the leases end, as long as the gateway is away."""
        return self._until

    def received(self, frame: bytes | str) -> list[Effect]:
        """Take a frame of the gateway."""
        message: ToAgent | PromptJob
        try:
            message = _decode(frame) if self.generation == 2 else _decode_first(frame)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            return [self._not_understood(frame, str(error))]
        match message:
            case AgentWelcome():
                return self._welcomed()
            case Registered():
                return self._registered(message)
            case RegistrationRefused():
                self.complaint = message.message
                return []
            case PromptJob():
                return self._prompt_job(message) if self.generation == 1 else []
            case Job():
                return self._job(message)
            case Acknowledged():
                return self._acknowledged(message)
            case Cancel():
                return self._cancel(message)
            case Load():
                return [PreloadModel(message.model)]

    def next_frame(self) -> bytes | None:
        """The next frame to be sent, if there is one now. What was written meanwhile goes out together."""
        return self._out.next(events=self.generation == 2)

    def lost(self, now: float) -> list[Effect]:
        """The connection ended. Jobs go on for as long as their leases; those of the first generation have none."""
        first = self.generation == 1
        if self.generation is not None:
            self._until = now + self._lease_seconds
        self.generation = None
        self.complaint = None
        self._greeted = False
        self._out.clear(self._book)
        self._unanswered.clear()
        return self._book.drop_all() if first else []

    def expired(self, now: float) -> list[Effect]:
        """Give up the jobs of a gateway that was away for too long: it has given them to others."""
        if self._until is None or now < self._until:
            return []
        self._until = None
        return self._book.drop_all()

    def beat(self, timestamp: float) -> None:
        """Give a sign of life. `timestamp` is in milliseconds since the epoch."""
        if self.generation is not None:
            self._out.say(Heartbeat(timestamp))

    def offer(self, facts: tuple[ModelInfo, ...]) -> None:
        """These are the models now."""
        self._facts = facts
        if self.generation == 2 and facts != self._told:
            self._told = facts
            self._out.say(Models(list(facts)))

    @property
    def stale(self) -> bool:
        """Whether a gateway of the first generation, which cannot be told, believes in other models than there are."""
        return self.generation == 1 and _names(self._facts) != _names(self._told)

    def loading(self, model: str, progress: float | None = None) -> None:
        """A model is being loaded."""
        if self.generation == 2:
            self._out.say(Loading(model, progress))

    def drain(self) -> None:
        """Take no more jobs."""
        if not self.draining:
            self.draining = True
            if self.generation == 2:
                self._out.say(Drain())

    def give_up(self) -> list[Effect]:
        """Hand back what is still being written: the gateway has it go on elsewhere."""
        effects: list[Effect] = []
        for lease in self._book:
            if not lease.over:
                effects += self._book.drop(lease)
                if self.generation == 2:
                    self._out.say(Refused(lease.job_id, lease.attempt, _ENDING))
        return effects

    def write(self, lease: AgentJob, event: Text | Reasoning | Waiting | ToolCalled) -> bool:
        """Write an event of a job; of one that is over, nothing. False: with this it is too much, cancel the engine."""
        if lease.over:
            return True
        if self.generation == 1:
            if isinstance(event, Text):
                self._out.say(Token(lease.job_id, event.text))
            if self._out.full:
                self.broke(lease, *_TOO_MUCH)
            return not lease.over
        if not lease.kept.write(event):
            self.broke(lease, *_TOO_LONG)
            return False
        if lease.kept.size > self._limit:
            self.broke(lease, *_TOO_MUCH)
            return False
        self._mark(lease)
        return True

    def ended(self, lease: AgentJob, outcome: Outcome) -> None:
        """The engine came to an end of its own."""
        if self.generation == 1:
            self._last(lease, JobComplete(lease.job_id))
        else:
            self._last(lease, JobEnded(outcome.reason, outcome.model, outcome.usage, outcome.timings))

    def broke(self, lease: AgentJob, code: str, message: str) -> None:
        """The engine raised an `EngineError` of this code."""
        if self.generation == 1:
            self._last(lease, JobError(lease.job_id, message))
        else:
            self._last(lease, JobFailed(code, message))

    def left(self, lease: AgentJob) -> list[Effect]:
        """The engine has returned: nothing of this job runs any more."""
        self.broke(lease, "engine_broke", "The engine stopped in the middle of the reply. Try again.")
        if lease in self._unanswered:
            self._unanswered.discard(lease)
            self._out.say(Cancelled(lease.job_id, lease.attempt))
        if self.generation == 1 and not self.running:
            self._out.say(Status("idle"))
        return self._book.left(lease)

    def _welcomed(self) -> list[Effect]:
        if self._greeted:
            return []
        self._greeted = True
        self._told = self._facts
        self._out.say(
            Register(
                models=_names(self._facts),
                protocol=PROTOCOL,
                slots=self._book.slots,
                facts=list(self._facts),
                name=self._name,
                instance=self._instance,
                secret=self._secret,
                version=self._version,
                running=[
                    HeldJob(lease.job_id, lease.attempt, lease.kept.first, lease.kept.next)
                    for lease in self._book
                ],
            )
        )
        return []

    def _registered(self, message: Registered) -> list[Effect]:
        if self.generation is not None or not self._greeted:
            return [FrameIgnored("registered, and nobody asked")]
        self._until = None
        if message.protocol < PROTOCOL:
            self.generation = 1
            return [RegistrationAccepted(1), *self._book.drop_all()]
        self.generation = 2
        self._secret = message.secret or self._secret
        self._lease_seconds = LEASE if message.lease is None else message.lease
        self.heartbeat = max(SOONEST, HEARTBEAT if message.heartbeat is None else message.heartbeat)
        effects: list[Effect] = [RegistrationAccepted(2)]
        resume = {(each.job_id, each.attempt): each.offset for each in message.resume}
        for lease in self._book:
            offset = resume.get((lease.job_id, lease.attempt))
            if offset is None or not lease.kept.resume(offset):
                effects += self._book.drop(lease)
            else:
                self._settle(lease)
        self.offer(self._facts)
        if self.draining:
            self._out.say(Drain())
        return effects + self._book.begin()

    def _job(self, job: Job) -> list[Effect]:
        effects: list[Effect] = []
        before = self._book.get(job.job_id)
        if before is not None:
            if before.attempt == job.attempt:
                return []
            if before.attempt > job.attempt:
                return self._refuse(job, "A later attempt of this job is here.")
            effects += self._book.drop(before)
        if self.draining:
            return effects + self._refuse(job, _ENDING)
        if self.running >= self._book.slots:
            return effects + self._refuse(job, f"All {self._book.slots} slots of this agent are taken.")
        if self._book.size > self._limit:
            return effects + self._refuse(job, "Too much that this agent wrote is not acknowledged yet.")
        return effects + self._book.take(agent_job(job))

    def _prompt_job(self, job: PromptJob) -> list[Effect]:
        if self._book.get(job.job_id) is not None:
            return []
        if self.draining or self.running >= 1:
            self._out.say(JobError(job.job_id, "This agent takes no job now. Try again."))
            return []
        self._out.say(Status("busy"))
        return self._book.take(prompt_job(job))

    def _refuse(self, job: Job, reason: str) -> list[Effect]:
        self._out.say(Refused(job.job_id, job.attempt, reason))
        return []

    def _acknowledged(self, message: Acknowledged) -> list[Effect]:
        lease = self._book.get(message.job_id)
        if lease is None or lease.attempt != message.attempt:
            return []
        if not lease.kept.acknowledge(message.offset):
            return [
                FrameIgnored(f"acknowledged {message.offset} of job {message.job_id}, which was never sent")
            ]
        self._settle(lease)
        return []

    def _cancel(self, message: Cancel) -> list[Effect]:
        lease = self._book.get(message.job_id)
        effects: list[Effect] = []
        if lease is not None and lease.attempt == message.attempt:
            effects = self._book.drop(lease)
        ending = self._book.ending(message.job_id, message.attempt)
        if ending is None:
            self._out.say(Cancelled(message.job_id, message.attempt))
        else:
            self._unanswered.add(ending)
        return effects

    def _last(self, lease: AgentJob, event: JobEvent | JobComplete | JobError) -> None:
        if lease.over:
            return
        lease.over = True
        if isinstance(event, JobComplete | JobError):
            self._book.forget(lease)
            self._out.say(event)
        else:
            lease.kept.append(encoded(event))
            self._mark(lease)

    def _settle(self, lease: AgentJob) -> None:
        """Forget a job that is over and acknowledged to its end, and send what is not sent of any other."""
        if lease.kept.first < lease.kept.next:
            self._mark(lease)
        elif lease.over:
            self._book.forget(lease)

    def _mark(self, lease: AgentJob) -> None:
        if self.generation == 2:
            self._out.mark(lease)

    def _not_understood(self, frame: bytes | str, why: str) -> FrameIgnored:
        """A job that cannot be understood is refused: the gateway would wait for it for ever."""
        bare = bare_job(frame)
        if bare is not None and self.generation is not None:
            reason = f"This agent does not understand the job: {why}."
            first = self.generation == 1
            self._out.say(
                JobError(bare.job_id, reason) if first else Refused(bare.job_id, bare.attempt, reason)
            )
        return FrameIgnored(why)


def _names(facts: tuple[ModelInfo, ...]) -> list[str]:
    return [each.name for each in facts]
