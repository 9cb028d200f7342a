"""What the agent's protocol wants done, as values."""

from msgspec import Struct

from legato.agent.job import AgentJob


class StartJob(Struct, frozen=True):
    """Run this job with an engine, and call `stopped` when the engine has returned."""

    job: AgentJob


class AbortJob(Struct, frozen=True):
    """Cancel the engine that runs this job."""

    job: AgentJob


class PreloadModel(Struct, frozen=True):
    """Load a model ahead of its first job."""

    model: str


class RegistrationAccepted(Struct, frozen=True):
    """The gateway has accepted this agent, in this version of the protocol."""

    version: int


class FrameIgnored(Struct, frozen=True):
    """A frame could not be used. `why` is for the log."""

    why: str


Effect = StartJob | AbortJob | PreloadModel | RegistrationAccepted | FrameIgnored
"""What has to be done, in order."""
