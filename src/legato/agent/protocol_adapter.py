"""The contract of a version of the agent protocol on the side of the agent, and what all versions share."""

from typing import Protocol

from legato.agent.effects import Effect
from legato.agent.job import AgentJob, UnknownJob
from legato.agent.job_table import JobTable
from legato.agent.outbox import Outbox
from legato.engines.base import Outcome
from legato.fleet.protocol import (
    JobEmbedding,
    JobFailed,
    LogprobsTold,
    ModelInfo,
    PromptJob,
    ToAgent,
    ToolCalled,
)
from legato.stream import Reasoning, State, Text

ENDING = "This agent is about to end."

TOO_MUCH = (
    "engine_broke",
    "The server did not take what the agent wrote for so long that the agent had to give up. Try again.",
)


class AgentState:
    """What an agent has over all its connections. `limit` is how many bytes of memory one job may hold unacknowledged,
    `announced` are the models that the gateway was told of last."""

    __slots__ = ("announced", "draining", "jobs", "limit", "models", "outbox")

    def __init__(self, jobs: JobTable, outbox: Outbox, limit: int) -> None:
        self.jobs = jobs
        self.outbox = outbox
        self.limit = limit
        self.draining = False
        self.models: tuple[ModelInfo, ...] = ()
        self.announced: tuple[ModelInfo, ...] = ()


class GatewayAdapter(Protocol):
    """One version of the agent protocol on one connection. Nothing else depends on the version.

    `resumes`: jobs survive the connection. `sends_events`: what jobs write are events at offsets, and an event without text is
    a sign of life. `announces_models`: the gateway can be told that the models changed.
    """

    version: int
    resumes: bool
    sends_events: bool
    announces_models: bool

    def decode(self, frame: bytes | str) -> ToAgent | PromptJob: ...

    def received(self, message: ToAgent | PromptJob) -> list[Effect]:
        """Handle a message about jobs or models."""
        ...

    def reject(self, job: UnknownJob, reason: str) -> None:
        """Refuse a job that cannot be understood."""
        ...

    def announce(self) -> None:
        """Tell the gateway which models there are, if that changed and it can be told."""
        ...

    def loading(self, model: str, progress: float | None) -> None: ...

    def drain(self) -> None: ...

    def hand_back(self, job: AgentJob) -> None:
        """Tell the gateway that a job it gave to this agent is not run."""
        ...

    def write(
        self, job: AgentJob, event: Text | Reasoning | State | ToolCalled | LogprobsTold | JobEmbedding
    ) -> bool:
        """Write an event. False if this is too much: the job has failed, and its engine is to be cancelled."""
        ...

    def ended(self, job: AgentJob, outcome: Outcome) -> None: ...

    def failed(self, job: AgentJob, code: str, message: str) -> None: ...

    def broke(self, job: AgentJob, failure: JobFailed) -> None:
        """Write the failure of a job, with all that is known of it."""
        ...

    def stopped(self, job: AgentJob) -> None:
        """The engine of a job has returned."""
        ...
