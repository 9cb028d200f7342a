"""The events of a reply. Each has one offset in a log; on the wire it is an object with a `type`."""

from typing import Literal

from msgspec import Struct

Phase = Literal["queued", "loading", "reading", "answering"]


class Usage(Struct, frozen=True, omit_defaults=True):
    """Tokens that the model read and wrote, as the engine counts them. `at_limit`: a stored reply ended at its length limit."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    at_limit: bool = False


class Timings(Struct, frozen=True, omit_defaults=True):
    """Milliseconds, measured where the reply was generated, and tokens a second."""

    queued_ms: float | None = None
    load_ms: float | None = None
    first_token_ms: float | None = None
    total_ms: float | None = None
    tokens_per_second: float | None = None


class Span(Struct, frozen=True, gc=False, omit_defaults=True):
    """The model and agent that wrote the characters `start` ≤ n < `end` of a reply's text."""

    start: int
    end: int
    model: str | None = None
    agent: str | None = None


class Text(Struct, frozen=True, gc=False, tag_field="type", tag="text"):
    """More of the answer."""

    text: str


class Reasoning(Struct, frozen=True, gc=False, tag_field="type", tag="reasoning"):
    """More of the model's reasoning, before or between parts of the answer. Never a part of the answer."""

    text: str


class ToolAsked(Struct, frozen=True, gc=False, tag_field="type", tag="tool_asked"):
    """A tool waits for a person's approval. `arguments` is JSON text.

    If it is allowed, `ToolStarted` of the same `call` follows; if it is refused, `ToolFinished` with `failed`.
    """

    call: str
    name: str
    arguments: str


class ToolStarted(Struct, frozen=True, gc=False, tag_field="type", tag="tool_started"):
    """A tool begins to run. `arguments` is JSON text."""

    call: str
    name: str
    arguments: str


class ToolFinished(Struct, frozen=True, gc=False, tag_field="type", tag="tool_finished", omit_defaults=True):
    """The tool of `call` returned. `output` is text; structured output is JSON text."""

    call: str
    output: str
    failed: bool = False


class State(Struct, frozen=True, gc=False, tag_field="type", tag="state", omit_defaults=True):
    """What the reply is waiting for.

    `place` counts from 1, the next in the queue. `progress` is a share from 0 to 1 of the loading or reading.
    `detail` is a sentence for the person, for example that another model answers. A state replaces the one before it.
    """

    phase: Phase
    model: str | None = None
    agent: str | None = None
    place: int | None = None
    progress: float | None = None
    detail: str | None = None


class Rewound(Struct, frozen=True, gc=False, tag_field="type", tag="rewound"):
    """The reply goes back to what it was at offset `to`, because the next attempt does not continue the text of the last one.

    `text` and `reasoning` are all that is kept, so a reader that received joined events needs no more than this.
    A rewind never crosses a tool's event.
    """

    to: int
    text: str = ""
    reasoning: str = ""


class Finished(Struct, frozen=True, tag_field="type", tag="finished", omit_defaults=True):
    """The reply is complete (`stop`), reached its length limit (`length`), or was stopped by a person (`stopped`)."""

    reason: Literal["stop", "length", "stopped"]
    usage: Usage | None = None
    timings: Timings | None = None


class Failed(Struct, frozen=True, gc=False, tag_field="type", tag="failed"):
    """The reply broke off. `message` is a sentence that a person can act on."""

    code: str
    message: str


Terminal = Finished | Failed
Event = Text | Reasoning | ToolAsked | ToolStarted | ToolFinished | State | Rewound | Finished | Failed
