"""The messages of agent and gateway, on `/ws/agents`. JSON text frames, objects with a `type`; unknown fields are ignored.

There are two versions. Version 1 has one job at a time, a prompt, and a token a frame, without offsets. An agent asks for version 2
by `"protocol": 2` in `register`, and the gateway grants it by `"protocol": 2` in `registered`. Otherwise they use version 1.

Version 2 has grown: `revision` in `register` tells which fields of a job an agent knows. A job with fields that an agent does not
know goes to another agent, or is refused with the name of the field.

In version 2 every job has a lease and an attempt, and what the agent writes are events at offsets 0, 1, 2 … The agent keeps them
until they are acknowledged. After a disconnect it sends again from the offset that the gateway names. The gateway takes each offset
once, in order, and refuses events of another attempt.
"""

from typing import Any, Literal

from msgspec import Struct, field

from legato.engines.base import Capabilities, TokenLogprob, ToolCall, ToolSpec, Turn
from legato.stream import Reasoning, State, Text, Timings, Usage

HEARTBEAT = 5.0
"""Seconds between two heartbeats of an agent."""

MAX_FRAME_BYTES = 1024 * 1024
"""The largest message that an agent sends. It takes larger ones: a request may hold pictures."""

LEASE = 15.0
"""Seconds in which a disconnected agent of version 2 may reconnect and continue its jobs."""


REVISION = 1
"""The revision of version 2. 1: a job may have `format`, `tool_choice`, `parallel_tools`, `logprobs`, `raw`, `suffix`
and `strict`, and `embed` in place of turns.
"""


class ModelInfo(Struct, frozen=True, omit_defaults=True):
    """A model of an agent. `size` is in bytes, `context` in tokens; None if unknown. If `chats` is false, it only embeds."""

    name: str
    loaded: bool = True
    size: int | None = None
    context: int | None = None
    can: Capabilities | None = None
    chats: bool = True


class Register(Struct, frozen=True, tag_field="type", tag="register", rename="camel"):
    """The first message of an agent. An empty list of models means any (version 1) or none yet (version 2). Blank names
    are ignored: they come from an empty `MODELS`.

    `revision`: which fields of a job the agent knows beyond the first ones of version 2 (`REVISION`).

    `instance` names this run of the agent. An agent that reconnects within its lease with the same instance and `secret`
    continues its jobs, `running`, each with the events that it still has (`first` … `next`).
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
    revision: int = 0


class HeldJob(Struct, frozen=True, rename="camel"):
    """A job that an agent still has when it reconnects: it can send the events `first` ≤ offset < `next` again."""

    job_id: str
    attempt: int
    first: int
    next: int


class Heartbeat(Struct, frozen=True, tag_field="type", tag="heartbeat"):
    """A sign of life. Agents may put any time into it: the gateway ignores it, because their clock may be wrong."""

    timestamp: Any = None


class Status(Struct, frozen=True, tag_field="type", tag="status"):
    """Version 1: whether the agent takes a job. The gateway goes by its own count of jobs."""

    status: Any = None


class Token(Struct, frozen=True, tag_field="type", tag="token", rename="camel"):
    """Version 1: one token of its job."""

    job_id: str
    token: str = ""
    done: bool = False


class JobComplete(Struct, frozen=True, tag_field="type", tag="job_complete", rename="camel"):
    job_id: str


class JobError(Struct, frozen=True, tag_field="type", tag="job_error", rename="camel"):
    job_id: str
    error: str = ""


class JobEnded(Struct, frozen=True, tag_field="type", tag="ended", omit_defaults=True):
    """The last event of a job that ended by itself."""

    reason: Literal["stop", "length", "tool_calls"]
    model: str
    usage: Usage | None = None
    timings: Timings | None = None


class JobFailed(Struct, frozen=True, tag_field="type", tag="broke", omit_defaults=True):
    """The last event of a job that failed. `code` is that of an `EngineError`. `option` is the field of the job that an engine cannot
    do. `too_long`: the prompt has more tokens than the context; `limit` and `asked` are in tokens.
    """

    code: str
    message: str
    option: str = ""
    too_long: bool = False
    limit: int | None = None
    asked: int | None = None


class ToolCalled(Struct, frozen=True, tag_field="type", tag="called"):
    call: ToolCall


class LogprobsTold(Struct, frozen=True, tag_field="type", tag="logprobs"):
    """The log probabilities of the tokens of the text that follows. Only a job that asks for them has such events."""

    tokens: tuple[TokenLogprob, ...]


class JobEmbedding(Struct, frozen=True, tag_field="type", tag="embedding"):
    """The vector of the next text of a job that embeds."""

    vector: tuple[float, ...]


JobEvent = Text | Reasoning | State | ToolCalled | LogprobsTold | JobEmbedding | JobEnded | JobFailed


class EventBatch(
    Struct, frozen=True, tag_field="type", tag="events", rename={"job_id": "jobId", "from_": "from"}
):
    """What a job wrote, from offset `from` on: all events since the last frame."""

    job_id: str
    attempt: int
    from_: int
    events: list[JobEvent]


class Cancelled(Struct, frozen=True, tag_field="type", tag="cancelled", rename="camel"):
    """The answer to `cancel`: nothing of this job runs any more, and its slot is free."""

    job_id: str
    attempt: int


class Refused(Struct, frozen=True, tag_field="type", tag="refused", rename="camel"):
    """The agent cannot take this job now (it drains, or has fewer slots than the gateway thinks), or hands back a job that
    it has started. No more events of the job follow, and another agent continues it."""

    job_id: str
    attempt: int
    reason: str = ""


class Models(Struct, frozen=True, tag_field="type", tag="models"):
    """The models changed."""

    facts: list[ModelInfo]


class Loading(Struct, frozen=True, tag_field="type", tag="loading", omit_defaults=True):
    """A model is being loaded. `progress` is from 0 to 1."""

    model: str
    progress: float | None = None


class Drain(Struct, frozen=True, tag_field="type", tag="drain"):
    """The agent takes no more jobs, and ends when those that it has are done."""


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
    """`resume` is the offset from which each held job continues. A held job that is not in it is not the agent's any more."""

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
    """Version 1. `parameters` is never null: an agent spreads it into Ollama's request."""

    job_id: str
    model: str
    prompt: str
    parameters: dict[str, Any] = field(default_factory=dict)


class Job(Struct, frozen=True, tag_field="type", tag="job", rename="camel", omit_defaults=True):
    """Version 2: the request of an engine, with a lease for this attempt. The fields from `format` on are of revision 1."""

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
    format: str | dict[str, Any] | None = None
    tool_choice: str | None = None
    parallel_tools: bool | None = None
    logprobs: int | None = None
    raw: bool = False
    suffix: str = ""
    strict: bool = False
    format_name: str = ""
    format_description: str = ""
    format_strict: bool | None = None
    embed: tuple[str, ...] = ()
    dimensions: int | None = None


class Acknowledged(Struct, frozen=True, tag_field="type", tag="ack", rename="camel"):
    """All events below `offset` were taken. The agent may drop them."""

    job_id: str
    attempt: int
    offset: int


class Cancel(Struct, frozen=True, tag_field="type", tag="cancel", rename="camel"):
    """Stop this job, including its computation. The agent answers `cancelled`, even if it has no such job."""

    job_id: str
    attempt: int


class Load(Struct, frozen=True, tag_field="type", tag="load"):
    """Load a model ahead of its first job."""

    model: str


class RegistrationRefused(Struct, frozen=True, tag_field="type", tag="error"):
    """The connection is closed. `message` is a sentence that says why."""

    message: str


ToAgent = AgentWelcome | Registered | Job | Acknowledged | Cancel | Load | RegistrationRefused
