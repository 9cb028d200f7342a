"""The contract of a version of the agent protocol on the side of the gateway, and of the connection that it works for."""

from collections.abc import Mapping
from typing import Any, Protocol

from legato.engines.base import Request
from legato.fleet.job_attempt import JobAttempt, JobSink
from legato.fleet.protocol import (
    FromAgent,
    Job,
    JobEnded,
    JobFailed,
    ModelInfo,
    PromptJob,
    Register,
    Registered,
    ResumeAt,
    ToAgent,
)


class AdapterConnection(Protocol):
    """The connection of an agent, as an adapter sees it. `tokens` counts what the agent wrote, `stale` the events that came
    too late."""

    attempts: dict[str, JobAttempt]
    tokens: int
    stale: int

    def send(self, message: ToAgent | PromptJob) -> None: ...

    def refuse(self, message: str) -> None:
        """Close the connection of an agent that violates the protocol. `message` is a sentence that says how."""
        ...

    def had(self, job: str, attempt: int) -> bool:
        """Whether this attempt was the agent's once."""
        ...

    def finished(self, attempt: JobAttempt, end: JobEnded | JobFailed) -> None:
        """Nothing of this attempt runs any more, and `end` was its last event."""
        ...

    def cancelled(self, attempt: JobAttempt) -> None:
        """Nothing of this attempt runs any more, because it was cancelled."""
        ...

    def returned(self, attempt: JobAttempt, reason: str) -> None:
        """The agent does not run this attempt and gives it back."""
        ...

    def took(self) -> None:
        """There are events that were taken and not acknowledged."""
        ...


class ProtocolAdapter(Protocol):
    """One version of the agent protocol. Nothing else depends on the version.

    `resumes`: an agent may reconnect within its lease and continue its jobs, and its silence has a meaning.
    `confirms_cancel`: it says when nothing of a cancelled job runs any more. `carries_prefix`: a job can tell it to continue
    a text.
    """

    version: int
    resumes: bool
    confirms_cancel: bool
    carries_prefix: bool

    def revision(self, register: Register) -> int:
        """Which fields of a job the agent knows."""
        ...

    def slots(self, register: Register) -> int:
        """How many jobs the agent runs at once."""
        ...

    def unlisted(
        self, models: Mapping[str, ModelInfo], allowed: frozenset[str] | None
    ) -> frozenset[str] | None:
        """Models that the agent may be asked for although it does not list them; None: any. `allowed` are those that its key
        is good for."""
        ...

    def registered(
        self, agent: str, timestamp: int, secret: str, heartbeat: float, lease: float, resume: list[ResumeAt]
    ) -> Registered:
        """The answer to `register`. `timestamp` is in milliseconds since the epoch, `heartbeat` and `lease` are in seconds."""
        ...

    def attempt(self, job: str, attempt: int, request: Request, sink: JobSink) -> JobAttempt:
        """The record of an attempt that begins."""
        ...

    def job(
        self,
        attempt: JobAttempt,
        request: Request,
        prefix: str,
        parameters: dict[str, Any] | None,
        revision: int,
    ) -> Job | PromptJob:
        """The message that starts an attempt. `prefix` is the text to continue; `parameters` are those of a request on the
        browser endpoint of version 1, instead of the options; `revision` is the agent's."""
        ...

    def cancel(self, attempt: JobAttempt) -> None:
        """Tell the agent to stop an attempt, if it can be told."""
        ...

    def acknowledge(self, attempt: JobAttempt) -> None:
        """Tell the agent which events were taken, if that is news."""
        ...

    def received(self, message: FromAgent) -> None:
        """Handle a message about a job."""
        ...
