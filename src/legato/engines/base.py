"""The contract of an engine: something that writes replies.

An engine is asked with a `Request` and writes to an `ReplyWriter`, by plain synchronous calls, as the words come. It returns an
`Outcome` when the reply has an end of its own, and raises an `EngineError` when it has not. Cancelling the task of
`generate` cancels the work, down to the processor that does it: when the cancelled call has returned, nothing runs on.
"""

from typing import Any, Literal, Protocol

from msgspec import Struct, field

from legato.domain.message import MessageRole, Part
from legato.stream import State, Timings, Usage


class Turn(Struct, frozen=True):
    """One message of the history as an engine reads it.

    A picture or a recording is here with its `data`. One without is not for this model, and the engine tells it that there
    is one: a model that knows of none answers as if it had seen it.
    """

    role: MessageRole
    parts: tuple[Part, ...]


class ToolSpec(Struct, frozen=True):
    """A tool the model may ask for. `parameters` is a JSON Schema of an object."""

    name: str
    description: str
    parameters: dict[str, Any]


class ToolCall(Struct, frozen=True):
    """What a model asked for, whole. `arguments` is JSON text; `call` is unique within the reply."""

    call: str
    name: str
    arguments: str


class Request(Struct, frozen=True):
    """One reply to be written.

    `turns` is the whole history, the system prompt first, the last user message last. `prefix` is what this reply
    already says: an engine whose `Capabilities.supports_prefill` is true goes on behind it and writes only what is new; the
    others raise `EngineRefusedError` where it is not empty. `options` are the engine's own, passed through as they are.
    `keep_alive` is as Ollama defines it. `conversation` and `user` are names for affinity and fairness, nothing else.
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


class Outcome(Struct, frozen=True):
    """How a reply ended by itself, who wrote it, and what it cost."""

    reason: Literal["stop", "length", "tool_calls"]
    model: str
    usage: Usage | None = None
    timings: Timings | None = None


class Capabilities(Struct, frozen=True):
    """What a model on an engine can do.

    `audio`: it hears recordings (WAV and MP3). `context` is in tokens; None where it does not tell. `image_types` are the
    only media types of pictures that it takes; empty: all of them.
    """

    supports_prefill: bool = field(default=False, name="continues")
    tools: bool = False
    images: bool = False
    audio: bool = False
    thinks: bool = False
    context: int | None = None
    image_types: tuple[str, ...] = ()

    def sees(self, media_type: str) -> bool:
        """Whether it takes a picture of this kind."""
        return self.images and (not self.image_types or media_type in self.image_types)


class Model(Struct, frozen=True, omit_defaults=True):
    """A model that an engine offers. `size` is in bytes. One that does not chat only embeds, or ranks."""

    name: str
    engine: str
    loaded: bool | None = None
    size: int | None = None
    context: int | None = None
    detail: str | None = None
    chats: bool = True


class Health(Struct, frozen=True):
    """Whether requests can succeed now, and a sentence that says what was seen (and, if not, what to do)."""

    ok: bool
    detail: str
    version: str | None = None
    loaded: tuple[str, ...] = ()


class ReplyWriter(Protocol):
    """Where an engine writes. Calls are plain and synchronous, never raise, and are cheap; order is kept.

    Text is written as it comes, never held back to make larger pieces.
    """

    def text(self, text: str) -> None:
        """More of the answer. Empty text adds nothing to it: it says that the model is at work on what cannot be read yet,
        such as the arguments of a tool."""
        ...

    def reasoning(self, text: str) -> None:
        """More of the thinking."""
        ...

    def tool_call(self, call: ToolCall) -> None:
        """The model asks for a tool; whole calls only."""
        ...

    def state(self, state: State) -> None:
        """What the reply is waiting for. Engines tell `loading` and `reading` where they know; the first word is `answering` by itself."""
        ...

    def mark(self) -> int:
        """Where this reply stands now, to `rewind` to. A mark is good until what stands before it is taken back."""
        ...

    def rewind(self, to: int = 0) -> bool:
        """Take back every word and thought behind the mark `to`; 0: all of this call of `generate`, to begin anew.

        False, and nothing is done, where that cannot be: who reads cannot unread it, or a tool was asked for in between.
        """
        ...


class NullWriter:
    """Takes whatever an engine writes where nobody reads. What was read by nobody cannot be taken back."""

    def text(self, text: str) -> None: ...

    def reasoning(self, text: str) -> None: ...

    def tool_call(self, call: ToolCall) -> None: ...

    def state(self, state: State) -> None: ...

    def mark(self) -> int:
        return 0

    def rewind(self, to: int = 0) -> bool:
        return False


SILENT = "it was silent for too long"
"""What the task of an engine is cancelled with where this is why; where nobody wants the reply any more, with nothing."""


class Engine(Protocol):
    """Something that writes replies. One object serves any number of requests at once."""

    @property
    def name(self) -> str:
        """The word for it in settings and in what a person reads: `demo`, `ollama`, …"""
        ...

    async def generate(self, request: Request, out: ReplyWriter) -> Outcome:
        """Write one reply.

        :raises EngineUnavailableError: it cannot be reached or has no room.
        :raises ModelNotFoundError: it has no such model.
        :raises EngineRefusedError: it does not take this request.
        :raises EngineTimeoutError: it was silent for too long.
        :raises EngineBrokeError: it ended without an ending, also where its protocol hides that.
        """
        ...

    async def capabilities(self, model: str) -> Capabilities:
        """What this model can do here. Never raises: what cannot be found out is not promised."""
        ...

    async def models(self) -> tuple[Model, ...]:
        """The models on offer now. Takes 5 s at most.

        :raises EngineUnavailableError: it cannot be reached, or does not answer.
        """
        ...

    async def health(self) -> Health:
        """Whether it can answer. Never raises; takes 5 s at most."""
        ...

    async def close(self) -> None:
        """End what it holds: connections, child processes. Requests under way are cancelled by their owners first."""
        ...
