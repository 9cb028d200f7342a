"""The messages of agent and gateway, on `/ws/agents`. JSON text frames, objects with a `type`; unknown fields are ignored.

Two generations speak here. The first is of the agents that exist: one job at a time, a prompt, a token a frame, no
numbers. The second is asked for by `"protocol": 2` in `register`, and granted by `"protocol": 2` in `registered`; an agent
that does not ask, or is not granted it, speaks the first.

Second generation: every job is a lease with an attempt, and what the agent writes for it are events at offsets 0, 1, 2 …
The agent keeps them until they are acknowledged, and sends again, after a cut, from the offset the gateway names. The
gateway takes each offset once, in order, and refuses what is of another attempt.
"""

from typing import Any, Literal

from msgspec import Struct, field

from legato.engines.base import Capabilities, ToolCall, ToolSpec, Turn
from legato.stream import Reasoning, State, Text, Timings, Usage

HEARTBEAT = 5.0
"""Seconds between two signs of life of an agent."""

MAX_FRAME_BYTES = 1024 * 1024
"""The largest message that an agent sends. It takes larger ones: a request may hold pictures."""

LEASE = 15.0
"""Seconds that a cut agent of the second generation has to come back and go on with its jobs."""


class ModelInfo(Struct, frozen=True, omit_defaults=True):
    """A model of an agent. `size` is in bytes, `context` in tokens; None where it does not tell."""

    name: str
    loaded: bool = True
    size: int | None = None
    context: int | None = None
    can: Capabilities | None = None


class Register(Struct, frozen=True, tag_field="type", tag="register", rename="camel"):
    """The first message of an agent. An empty list of models means any (first generation) or none yet (second). Blank names
    are none: they are what is left of an empty `MODELS`.

    `instance` names this run of the agent: one that comes back within its lease with the same instance and `secret` goes
    on with its jobs, `running`, each with the number of events that it still holds (`first` … `next`).
    """

    models: list[str] = field(default_factory=list)
    protocol: int = 1
    slots: int = 1
    facts: list[ModelInfo] = field(default_factory=list)
    name: str | None = None
    instance: str | None = None
    secret: str | None = None
    version: str | None = None
    running: "list[HeldJob]" = field(default_factory=list)


class HeldJob(Struct, frozen=True, rename="camel"):
    """A job that a returning agent still has: it can send the events `first` ≤ offset < `next` again."""

    job_id: str
    attempt: int
    first: int
    next: int


class Heartbeat(Struct, frozen=True, tag_field="type", tag="heartbeat"):
    """A sign of life. Agents put their time into it, in milliseconds or as they like: nobody reads a clock that may be wrong."""

    timestamp: Any = None


class Status(Struct, frozen=True, tag_field="type", tag="status"):
    """First generation: whether it takes a job. Believed only as far as the gateway's own books allow."""

    status: Any = None


class Token(Struct, frozen=True, tag_field="type", tag="token", rename="camel"):
    """First generation: one token of its job."""

    job_id: str
    token: str = ""
    done: bool = False


class JobComplete(Struct, frozen=True, tag_field="type", tag="job_complete", rename="camel"):
    job_id: str


class JobError(Struct, frozen=True, tag_field="type", tag="job_error", rename="camel"):
    job_id: str
    error: str = ""


class JobEnded(Struct, frozen=True, tag_field="type", tag="ended", omit_defaults=True):
    """The last event of a job that came to its own end."""

    reason: Literal["stop", "length", "tool_calls"]
    model: str
    usage: Usage | None = None
    timings: Timings | None = None


class JobFailed(Struct, frozen=True, tag_field="type", tag="broke"):
    """The last event of a job that did not. `code` is an `EngineError`'s."""

    code: str
    message: str


class ToolCalled(Struct, frozen=True, tag_field="type", tag="called"):
    call: ToolCall


JobEvent = Text | Reasoning | State | ToolCalled | JobEnded | JobFailed


class EventBatch(
    Struct, frozen=True, tag_field="type", tag="events", rename={"job_id": "jobId", "from_": "from"}
):
    """What a job wrote, from offset `from` on: as many events as came since the last frame."""

    job_id: str
    attempt: int
    from_: int
    events: list[JobEvent]


class Cancelled(Struct, frozen=True, tag_field="type", tag="cancelled", rename="camel"):
    """The answer to `cancel`: nothing of this job runs any more, and its slot is free."""

    job_id: str
    attempt: int


class Refused(Struct, frozen=True, tag_field="type", tag="refused", rename="camel"):
    """The agent cannot take this job now (it drains, or its slots are not what the gateway thinks), or hands one back that
    it has begun: nothing more of it comes, and it goes on elsewhere."""

    job_id: str
    attempt: int
    reason: str = ""


class Models(Struct, frozen=True, tag_field="type", tag="models"):
    """The models came or went."""

    facts: list[ModelInfo]


class Loading(Struct, frozen=True, tag_field="type", tag="loading", omit_defaults=True):
    """A model is being loaded, `progress` from 0 to 1 of it."""

    model: str
    progress: float | None = None


class Drain(Struct, frozen=True, tag_field="type", tag="drain"):
    """No more jobs, please: the agent ends once those it has are done."""


FromAgent = (
    Register
    | Heartbeat
    | Status
    | Token
    | JobComplete
    | JobError
    | EventBatch
    | Cancelled
    | Refused
    | Models
    | Loading
    | Drain
)


class AgentWelcome(Struct, frozen=True, tag_field="type", tag="welcome", rename="camel"):
    """`timestamp` is in milliseconds since the epoch."""

    agent_id: str
    timestamp: int


class Registered(Struct, frozen=True, tag_field="type", tag="registered", rename="camel", omit_defaults=True):
    """`resume` says from which offset on each held job goes on; a held job that is not in it is not the agent's any more."""

    agent_id: str
    timestamp: int
    protocol: int = 1
    secret: str | None = None
    heartbeat: float | None = None
    lease: float | None = None
    resume: "list[ResumeAt]" = field(default_factory=list)


class ResumeAt(Struct, frozen=True, rename="camel"):
    job_id: str
    attempt: int
    offset: int


class PromptJob(Struct, frozen=True, tag_field="type", tag="job", rename="camel"):
    """First generation. `parameters` is never null: an agent spreads it into Ollama's request."""

    job_id: str
    model: str
    prompt: str
    parameters: dict[str, Any] = field(default_factory=dict)


class Job(Struct, frozen=True, tag_field="type", tag="job", rename="camel", omit_defaults=True):
    """Second generation: an engine's request, leased for this attempt."""

    job_id: str
    attempt: int
    model: str
    turns: tuple[Turn, ...]
    prefix: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    tools: tuple[ToolSpec, ...] = ()
    think: bool | str | None = None
    keep_alive: str | float | None = None
    conversation: str = ""
    user: str = ""


class Acknowledged(Struct, frozen=True, tag_field="type", tag="ack", rename="camel"):
    """Everything below `offset` was taken and need not be kept."""

    job_id: str
    attempt: int
    offset: int


class Cancel(Struct, frozen=True, tag_field="type", tag="cancel", rename="camel"):
    """Stop this job down to the processor. Answered by `cancelled`, also where there is no such job."""

    job_id: str
    attempt: int


class Load(Struct, frozen=True, tag_field="type", tag="load"):
    """Load a model ahead of its first job."""

    model: str


class RegistrationRefused(Struct, frozen=True, tag_field="type", tag="error"):
    """Why the connection ends. `message` is a sentence."""

    message: str


ToAgent = AgentWelcome | Registered | Job | Acknowledged | Cancel | Load | RegistrationRefused
