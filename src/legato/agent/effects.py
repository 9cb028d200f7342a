"""What the agent's state wants done, as values."""

from typing import Literal

from msgspec import Struct

from legato.agent.job import AgentJob


class StartJob(Struct, frozen=True):
    """Let an engine write this job, and call `left` when it has returned."""

    lease: AgentJob


class AbortJob(Struct, frozen=True):
    """Cancel the engine that writes this job."""

    lease: AgentJob


class PreloadModel(Struct, frozen=True):
    """Load a model ahead of its first job."""

    model: str


class RegistrationAccepted(Struct, frozen=True):
    """The gateway has taken this agent, in this generation of the protocol."""

    generation: Literal[1, 2]


class FrameIgnored(Struct, frozen=True):
    """Something came that could not be used. `why` is for the log."""

    why: str


Effect = StartJob | AbortJob | PreloadModel | RegistrationAccepted | FrameIgnored
