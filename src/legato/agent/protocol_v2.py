"""Version 2 of the agent protocol: slots, leases, attempts, and events at offsets that the gateway acknowledges."""

import msgspec

from legato.agent.effects import Effect, FrameIgnored, PreloadModel
from legato.agent.job import AgentJob, UnknownJob
from legato.agent.protocol_adapter import ENDING, TOO_MUCH, AgentState
from legato.agent.replay_buffer import encoded
from legato.engines.base import Outcome, Request
from legato.fleet.protocol import (
    Acknowledged,
    Cancel,
    Cancelled,
    Drain,
    Job,
    JobEmbedding,
    JobEnded,
    JobFailed,
    Load,
    Loading,
    LogprobsTold,
    Models,
    PromptJob,
    Refused,
    ResumeAt,
    ToAgent,
    ToolCalled,
)
from legato.stream import Reasoning, State, Text

TOO_LONG = (
    "engine_broke",
    "The model said more at once than a message can hold. Ask for less, and try again.",
)

_decode = msgspec.json.Decoder(ToAgent).decode


class AgentProtocolV2:
    """Version 2 on one connection. While the agent has no connection it collects what jobs write: then it is not
    `connected`."""

    version = 2
    resumes = True
    sends_events = True
    announces_models = True

    def __init__(self, state: AgentState, *, connected: bool = True) -> None:
        self._state = state
        self._jobs = state.jobs
        self._outbox = state.outbox
        self._connected = connected
        self._cancelling: set[AgentJob] = set()

    def decode(self, frame: bytes | str) -> ToAgent | PromptJob:
        message: ToAgent | PromptJob = _decode(frame)
        return message

    def received(self, message: ToAgent | PromptJob) -> list[Effect]:
        match message:
            case Job():
                return self._start(message)
            case Acknowledged():
                return self._acknowledged(message)
            case Cancel():
                return self._cancel(message)
            case Load(model):
                return [PreloadModel(model)]
            case _:
                return []

    def resume(self, resume: list[ResumeAt]) -> list[Effect]:
        """Continue each job from the offset that the gateway names, and drop the jobs that it does not name."""
        effects: list[Effect] = []
        offsets = {(each.job_id, each.attempt): each.offset for each in resume}
        for job in self._jobs:
            offset = offsets.get((job.job_id, job.attempt))
            if offset is None or not job.buffer.resume(offset):
                effects += self._jobs.drop(job)
            else:
                self._settle(job)
        return effects

    def reject(self, job: UnknownJob, reason: str) -> None:
        self._outbox.put(Refused(job.job_id, job.attempt, reason))

    def announce(self) -> None:
        state = self._state
        if state.models != state.announced:
            state.announced = state.models
            self._outbox.put(Models(list(state.models)))

    def loading(self, model: str, progress: float | None) -> None:
        self._outbox.put(Loading(model, progress))

    def drain(self) -> None:
        self._outbox.put(Drain())

    def hand_back(self, job: AgentJob) -> None:
        self._outbox.put(Refused(job.job_id, job.attempt, ENDING))

    def write(
        self, job: AgentJob, event: Text | Reasoning | State | ToolCalled | LogprobsTold | JobEmbedding
    ) -> bool:
        if not job.buffer.write(event):
            self.failed(job, *TOO_LONG)
            return False
        if job.buffer.size > self._state.limit:
            self.failed(job, *TOO_MUCH)
            return False
        self._send(job)
        return True

    def ended(self, job: AgentJob, outcome: Outcome) -> None:
        self._finish(job, JobEnded(outcome.reason, outcome.model, outcome.usage, outcome.timings))

    def failed(self, job: AgentJob, code: str, message: str) -> None:
        self.broke(job, JobFailed(code, message))

    def broke(self, job: AgentJob, failure: JobFailed) -> None:
        self._finish(job, failure)

    def stopped(self, job: AgentJob) -> None:
        if job in self._cancelling:
            self._cancelling.discard(job)
            self._outbox.put(Cancelled(job.job_id, job.attempt))

    def _start(self, message: Job) -> list[Effect]:
        effects: list[Effect] = []
        before = self._jobs.get(message.job_id)
        if before is not None:
            if before.attempt == message.attempt:
                return []
            if before.attempt > message.attempt:
                return self._refuse(message, "A later attempt of this job is here.")
            effects += self._jobs.drop(before)
        if self._state.draining:
            return effects + self._refuse(message, ENDING)
        if self._jobs.running >= self._jobs.slots:
            return effects + self._refuse(message, f"All {self._jobs.slots} slots of this agent are taken.")
        if self._jobs.size > self._state.limit:
            return effects + self._refuse(message, "Too much that this agent wrote is not acknowledged yet.")
        return effects + self._jobs.add(AgentJob(message.job_id, message.attempt, request_of(message)))

    def _refuse(self, job: Job, reason: str) -> list[Effect]:
        self._outbox.put(Refused(job.job_id, job.attempt, reason))
        return []

    def _acknowledged(self, message: Acknowledged) -> list[Effect]:
        job = self._jobs.get(message.job_id)
        if job is None or job.attempt != message.attempt:
            return []
        if not job.buffer.acknowledge(message.offset):
            return [
                FrameIgnored(f"acknowledged {message.offset} of job {message.job_id}, which was never sent")
            ]
        self._settle(job)
        return []

    def _cancel(self, message: Cancel) -> list[Effect]:
        job = self._jobs.get(message.job_id)
        effects: list[Effect] = []
        if job is not None and job.attempt == message.attempt:
            effects = self._jobs.drop(job)
        busy = self._jobs.busy(message.job_id, message.attempt)
        if busy is None:
            self._outbox.put(Cancelled(message.job_id, message.attempt))
        else:
            self._cancelling.add(busy)
        return effects

    def _finish(self, job: AgentJob, event: JobEnded | JobFailed) -> None:
        if not job.over:
            job.over = True
            job.buffer.append(encoded(event))
            self._send(job)

    def _settle(self, job: AgentJob) -> None:
        """Forget a job that is over and acknowledged to its end. Send what is not sent of any other."""
        if job.buffer.first < job.buffer.next:
            self._send(job)
        elif job.over:
            self._jobs.forget(job)

    def _send(self, job: AgentJob) -> None:
        if self._connected:
            self._outbox.put_events(job)


def request_of(job: Job) -> Request:
    """The request of a job."""
    return Request(
        model=job.model,
        turns=job.turns,
        prefix=job.prefix,
        options=job.options,
        tools=job.tools,
        think=job.think,
        keep_alive=job.keep_alive,
        conversation=job.conversation,
        user=job.user,
        format=job.format,
        tool_choice=job.tool_choice,
        parallel_tools=job.parallel_tools,
        logprobs=job.logprobs,
        raw=job.raw,
        suffix=job.suffix,
        strict=job.strict,
        format_name=job.format_name,
        format_description=job.format_description,
        format_strict=job.format_strict,
        embed=job.embed,
        dimensions=job.dimensions,
    )
