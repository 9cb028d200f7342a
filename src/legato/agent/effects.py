"""What the agent's state wants done, as values."""

from typing import Literal

from msgspec import Struct

from legato.agent.lease import Lease


class Start(Struct, frozen=True):
    """Let an engine write this job, and call `left` when it has returned."""

    lease: Lease


class Abort(Struct, frozen=True):
    """Cancel the engine that writes this job."""

    lease: Lease


class Preload(Struct, frozen=True):
    """Load a model ahead of its first job."""

    model: str


class Joined(Struct, frozen=True):
    """The gateway has taken this agent, in this generation of the protocol."""

    generation: Literal[1, 2]


class Ignored(Struct, frozen=True):
    """Something came that could not be used. `why` is for the log."""

    why: str


Effect = Start | Abort | Preload | Joined | Ignored
