"""An agent of the fleet, over the connections it makes, and what people are told of it."""

import secrets

from msgspec import Struct

from legato.fleet.agent_connection import AgentConnection
from legato.fleet.job_attempt import JobAttempt
from legato.fleet.protocol import ModelInfo, Register
from legato.fleet.scheduling import AgentSpec

MAX_SLOTS = 1024
MAX_NAME = 80


def called(register: Register, id: str) -> str:  # noqa: A002 (it is what it is called)
    """What an agent calls itself: one line, in logs and in terminals too."""
    name = "".join(each if each.isprintable() else " " for each in register.name or "")
    return " ".join(name.split())[:MAX_NAME].rstrip() or f"agent {id[:6]}"


class AgentRecord:
    """`link` is its connection, None while it is cut; then `kept` are its leases, should it come back. `frozen`: it is
    connected and was silent for longer than its lease. `name` is that by which people tell it from the others. `owner` is whose key it came in with. `counted` and `rate` are of its tokens."""

    __slots__ = (
        "called",
        "counted",
        "draining",
        "facts",
        "frozen",
        "generation",
        "id",
        "instance",
        "jobs",
        "kept",
        "link",
        "name",
        "owner",
        "rate",
        "secret",
        "slots",
        "tokens",
        "version",
    )

    def __init__(self, id: str, name: str, register: Register, owner: str = "") -> None:  # noqa: A002 (it is what it is called)
        self.id = id
        self.name = name
        self.called = called(register, id)
        self.owner = owner
        self.generation = 2 if register.protocol > 1 else 1
        self.instance = register.instance
        self.secret = secrets.token_hex(16)
        self.facts: dict[str, ModelInfo] = {}
        self.link: AgentConnection | None = None
        self.kept: dict[str, JobAttempt] = {}
        self.jobs = 0
        self.tokens = 0
        self.counted = 0
        self.rate = 0.0
        self.renew(register)

    def renew(self, register: Register) -> None:
        """It is here, as it says it is now."""
        self.slots = min(max(register.slots, 1), MAX_SLOTS) if self.generation > 1 else 1
        self.version = register.version
        self.frozen = False
        self.draining = False

    def count(self, elapsed: float) -> None:
        """So many seconds went by."""
        written = self.written
        self.rate = (written - self.counted) / elapsed if elapsed > 0 else 0.0
        self.counted = written

    @property
    def written(self) -> int:
        """Its tokens, on this connection and those before."""
        return self.tokens + (self.link.tokens if self.link is not None else 0)

    def agent(self) -> AgentSpec:
        """As the scheduler takes it."""
        unlisted: frozenset[str] | None = frozenset()
        if self.generation == 1 and not self.facts:
            unlisted = self.link.allowed if self.link is not None else None
        return AgentSpec(self.id, self.slots, self.facts, unlisted, resumes=self.generation > 1)


class ModelView(Struct, frozen=True, omit_defaults=True):
    name: str
    loaded: bool
    size: int | None = None
    context: int | None = None


class AgentView(Struct, frozen=True):
    """`status`: `idle`, `busy` (no slot is free), `working`, `draining`, or `lost` (cut or silent, and may come back)."""

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
    """As the first generation counts: `busy` are those without a free slot."""

    total: int
    idle: int
    busy: int
