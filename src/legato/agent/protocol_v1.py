"""Version 1 of the agent protocol: one job at a time, a prompt, a token a frame. Jobs do not survive a connection."""

from collections.abc import Mapping
from typing import Any

import msgspec

from legato.agent.effects import Effect
from legato.agent.job import NO_ATTEMPT, AgentJob, UnknownJob
from legato.agent.protocol_adapter import TOO_MUCH, AgentState
from legato.domain.message import TextPart
from legato.engines.base import Outcome, Request, Turn
from legato.fleet.protocol import (
    AgentWelcome,
    JobComplete,
    JobEmbedding,
    JobError,
    JobFailed,
    LogprobsTold,
    PromptJob,
    Registered,
    RegistrationRefused,
    Status,
    ToAgent,
    Token,
    ToolCalled,
)
from legato.stream import Reasoning, State, Text

REQUEST_FIELDS = frozenset(
    {"model", "prompt", "stream", "suffix", "images", "format", "template", "context", "raw"}
)
"""Fields of Ollama's `/api/generate` that are no options and have no use with a prompt alone."""

_decode = msgspec.json.Decoder(AgentWelcome | Registered | PromptJob | RegistrationRefused).decode


class AgentProtocolV1:
    """Version 1 on one connection."""

    version = 1
    resumes = False
    sends_events = False
    announces_models = False

    def __init__(self, state: AgentState) -> None:
        self._state = state
        self._outbox = state.outbox

    def decode(self, frame: bytes | str) -> ToAgent | PromptJob:
        message: ToAgent | PromptJob = _decode(frame)
        return message

    def received(self, message: ToAgent | PromptJob) -> list[Effect]:
        if not isinstance(message, PromptJob):
            return []
        jobs = self._state.jobs
        if jobs.get(message.job_id) is not None:
            return []
        if self._state.draining or jobs.running >= 1:
            self._outbox.put(JobError(message.job_id, "This agent takes no job now. Try again."))
            return []
        self._outbox.put(Status("busy"))
        return jobs.add(AgentJob(message.job_id, NO_ATTEMPT, request_of(message)))

    def reject(self, job: UnknownJob, reason: str) -> None:
        self._outbox.put(JobError(job.job_id, reason))

    def announce(self) -> None:
        """Models are told in `register` alone."""

    def loading(self, model: str, progress: float | None) -> None:
        """The gateway cannot be told."""

    def drain(self) -> None:
        """The gateway cannot be told: jobs are refused one by one."""

    def hand_back(self, job: AgentJob) -> None:
        """The gateway cannot be told: the connection ends."""

    def write(
        self, job: AgentJob, event: Text | Reasoning | State | ToolCalled | LogprobsTold | JobEmbedding
    ) -> bool:
        if isinstance(event, Text):
            self._outbox.put(Token(job.job_id, event.text))
        if self._outbox.full:
            self.failed(job, *TOO_MUCH)
        return not job.over

    def ended(self, job: AgentJob, outcome: Outcome) -> None:
        self._finish(job, JobComplete(job.job_id))

    def failed(self, job: AgentJob, code: str, message: str) -> None:
        self._finish(job, JobError(job.job_id, message))

    def broke(self, job: AgentJob, failure: JobFailed) -> None:
        self.failed(job, failure.code, failure.message)

    def stopped(self, job: AgentJob) -> None:
        if not self._state.jobs.running:
            self._outbox.put(Status("idle"))

    def _finish(self, job: AgentJob, message: JobComplete | JobError) -> None:
        if not job.over:
            job.over = True
            self._state.jobs.forget(job)
            self._outbox.put(message)


def request_of(job: PromptJob) -> Request:
    """The request of a job whose `parameters` are the top level of a request to Ollama's `/api/generate`."""
    parameters: Mapping[str, Any] = job.parameters
    nested = parameters.get("options")
    options = {
        name: value
        for name, value in parameters.items()
        if name not in REQUEST_FIELDS and name not in ("options", "system", "think", "keep_alive")
    }
    system, think, keep_alive = (parameters.get(name) for name in ("system", "think", "keep_alive"))
    turns = [Turn("user", (TextPart(job.prompt),))]
    if isinstance(system, str) and system:
        turns.insert(0, Turn("system", (TextPart(system),)))
    return Request(
        model=job.model,
        turns=tuple(turns),
        options={**options, **(nested if isinstance(nested, dict) else {})},
        think=think if isinstance(think, bool | str) else None,
        keep_alive=keep_alive if isinstance(keep_alive, str | int | float) else None,
    )
