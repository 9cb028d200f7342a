"""What people are shown of the fleet."""

from msgspec import Struct


class ModelView(Struct, frozen=True, omit_defaults=True):
    name: str
    loaded: bool
    size: int | None = None
    context: int | None = None


class AgentView(Struct, frozen=True):
    """`generation` is the version of the protocol. `status`: `idle`, `busy` (no slot is free), `working`, `draining`, or `lost`
    (disconnected or silent, and may come back)."""

    id: str
    name: str
    generation: int
    status: str
    slots: int
    running: int
    models: list[ModelView]
    tokens: int
    tokens_per_second: float
    jobs: int
    version: str | None


class FleetView(Struct, frozen=True):
    """The fleet as it is now. `queue` is how many jobs wait, `jobs` how many were done since the server started."""

    agents: list[AgentView]
    slots: int
    running: int
    queue: int
    queue_size: int
    jobs: int
    lost: int
    tokens: int
    tokens_per_second: float


class AgentCount(Struct, frozen=True):
    """The connected agents, as version 1 counts them: those without a free slot are `busy`."""

    total: int
    idle: int
    busy: int
