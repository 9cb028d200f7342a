"""The contract of an engine: something that generates replies.

An engine gets a `Request` and writes to a `ReplyWriter` with plain synchronous calls as soon as text arrives. It returns an
`Outcome` if the reply ended by itself, and raises an `EngineError` otherwise. Cancelling the task of `generate` cancels the
work, down to the processor: when the cancelled call has returned, nothing continues to run.
"""

from typing import Any, Literal, Protocol

from msgspec import Struct, field

from legato.domain.message import MessageRole, Part
from legato.stream import State, Timings, Usage


class Turn(Struct, frozen=True):
    """One message of the history, as an engine reads it.

    A picture or a recording has its `data`. One without `data` is not for this model, and the engine tells the model that it
    exists; otherwise the model would answer as if it had seen it.
    """

    role: MessageRole
    parts: tuple[Part, ...]


class ToolSpec(Struct, frozen=True, omit_defaults=True):
    """A tool that the model may call. `parameters` is a JSON Schema of an object. `strict`: the arguments must fit it; engines
    that cannot promise that leave it to the model.
    """

    name: str
    description: str
    parameters: dict[str, Any]
    strict: bool | None = None


class ToolCall(Struct, frozen=True):
    """A complete tool call of a model. `arguments` is JSON text; `call` is unique within the reply."""

    call: str
    name: str
    arguments: str


class TokenLogprob(Struct, frozen=True, omit_defaults=True):
    """The log probability of a token of the answer. `top` are the likeliest tokens in its place. `bytes` are those of its UTF-8,
    None if the engine does not tell them.
    """

    token: str
    logprob: float
    bytes: tuple[int, ...] | None = None
    top: "tuple[TokenLogprob, ...]" = ()


class Request(Struct, frozen=True):
    """A request for one reply.

    `turns` is the whole history: the system prompt first, the last user message last. `prefix` is the text that the reply
    already has: an engine whose `Capabilities.supports_prefill` is true continues it and writes only new text; other engines
    raise `EngineRefusedError` if it is not empty. `options` are the engine's own and passed on unchanged. `keep_alive` is as
    Ollama defines it. `conversation` and `user` are names for affinity and fairness only; so are `key`, an API key of the user, and
    `cache_key`, by which a client without a conversation tells which requests share a prompt.

    The other fields are what clients of other APIs ask for. An engine that cannot do one raises `UnsupportedOptionError` with
    the name of the field; it never ignores one. `format` is `json`, or a JSON Schema that the answer fits, which the client calls
    `format_name` and describes by `format_description`; `format_strict` is what it says of how strictly. `tool_choice` is
    `auto`, `none`, `required`, or the name of a tool after `function:`; None: `auto`. `parallel_tools`: whether one reply may call
    several tools. `logprobs`: how many alternatives to tell for each token; 0: only the token's own. `raw`: the text of the only
    turn is the whole prompt, without a template. `suffix` is the text behind the gap to fill: the text of the only user's turn is
    what comes before the gap, and there is no other turn but a system prompt. With `strict`, an engine never leaves out a part
    or an option that the model cannot do; without it, the person is told what was left out.

    `embed` are texts to embed in place of a reply, and `dimensions` the length of their vectors; only jobs of the fleet have them.
    """

    model: str
    turns: tuple[Turn, ...]
    prefix: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    tools: tuple[ToolSpec, ...] = ()
    think: bool | str | None = None
    keep_alive: str | float | None = None
    conversation: str = ""
    user: str = ""
    key: str = ""
    cache_key: str = ""
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


class Outcome(Struct, frozen=True):
    """How a reply ended by itself, which model wrote it, and what it cost."""

    reason: Literal["stop", "length", "tool_calls"]
    model: str
    usage: Usage | None = None
    timings: Timings | None = None


class Capabilities(Struct, frozen=True):
    """What a model can do on an engine.

    `audio`: it accepts recordings (WAV and MP3). `context` is in tokens, None if unknown. `image_types` are the only media types
    of pictures that it accepts; empty: all.
    """

    supports_prefill: bool = field(default=False, name="continues")
    tools: bool = False
    images: bool = False
    audio: bool = False
    thinks: bool = False
    context: int | None = None
    image_types: tuple[str, ...] = ()

    def sees(self, media_type: str) -> bool:
        """Return whether it accepts a picture of this media type."""
        return self.images and (not self.image_types or media_type in self.image_types)


class Model(Struct, frozen=True, omit_defaults=True):
    """A model that an engine offers. `size` is in bytes. If `chats` is false, it only embeds or ranks."""

    name: str
    engine: str
    loaded: bool | None = None
    size: int | None = None
    context: int | None = None
    detail: str | None = None
    chats: bool = True


class Health(Struct, frozen=True):
    """Whether requests can succeed now, and a sentence that says what was found and, if they cannot, what to do."""

    ok: bool
    detail: str
    version: str | None = None
    loaded: tuple[str, ...] = ()


class ReplyWriter(Protocol):
    """Where an engine writes. Calls are plain, synchronous and cheap, and never raise; their order is kept.

    Text is written as soon as it arrives. It is never held back to make larger pieces.
    """

    def text(self, text: str) -> None:
        """Append to the answer. Empty text appends nothing: it says that the model generates something that cannot be shown yet,
        such as the arguments of a tool call.
        """
        ...

    def reasoning(self, text: str) -> None:
        """Append to the reasoning."""
        ...

    def logprobs(self, tokens: tuple[TokenLogprob, ...]) -> None:
        """Tell the log probabilities of the tokens of the text that is written next. Called only if the request asks for them."""
        ...

    def tool_call(self, call: ToolCall) -> None:
        """Request a tool. Only complete calls are written."""
        ...

    def state(self, state: State) -> None:
        """Report what the reply waits for. Engines report `loading` and `reading` if they know it; the first text implies `answering`."""
        ...

    def mark(self) -> int:
        """Return the current position of the reply, for `rewind`. A mark is valid until a rewind to an earlier position."""
        ...

    def rewind(self, to: int = 0) -> bool:
        """Remove all text and reasoning after the mark `to`; 0: everything of this call of `generate`, to start again.

        Return False, and do nothing, if that is impossible: the reader cannot remove it, or a tool was requested in between.
        """
        ...


class NullWriter:
    """Discards everything. It cannot rewind."""

    def text(self, text: str) -> None: ...

    def reasoning(self, text: str) -> None: ...

    def logprobs(self, tokens: tuple[TokenLogprob, ...]) -> None: ...

    def tool_call(self, call: ToolCall) -> None: ...

    def state(self, state: State) -> None: ...

    def mark(self) -> int:
        return 0

    def rewind(self, to: int = 0) -> bool:
        return False


SILENT = "it was silent for too long"
"""The message with which the task of an engine is cancelled because of silence. Without it, the reply is not wanted any more."""


class Engine(Protocol):
    """Generates replies. One object serves any number of requests at once."""

    @property
    def name(self) -> str:
        """Its name in settings and in sentences: `demo`, `ollama`, …"""
        ...

    async def generate(self, request: Request, out: ReplyWriter) -> Outcome:
        """Generate one reply.

        :raises EngineUnavailableError: it cannot be reached or has no capacity.
        :raises ModelNotFoundError: it has no such model.
        :raises EngineRefusedError: it does not accept this request.
        :raises EngineTimeoutError: it was silent for too long.
        :raises EngineBrokeError: it ended without an ending, also if its protocol hides that.
        """
        ...

    async def capabilities(self, model: str) -> Capabilities:
        """Return what this model can do. It never raises: what cannot be found out is false."""
        ...

    async def models(self) -> tuple[Model, ...]:
        """Return the available models, within 5 s.

        :raises EngineUnavailableError: it cannot be reached, or does not answer.
        """
        ...

    async def health(self) -> Health:
        """Return whether it can answer, within 5 s. It never raises."""
        ...

    async def close(self) -> None:
        """Release connections and child processes. Running requests were cancelled before."""
        ...
