"""The contract of a format: how the events of replies become the frames of one response."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from msgspec import Struct

from legato.engines.base import Outcome, TokenLogprob, ToolCall
from legato.errors import LegatoError


class Ending(Struct, frozen=True):
    """How one choice ended. `counted`: the engine told no usage, and the numbers are the server's own count. `measured`: the engine
    told no times, and they are the server's own.
    """

    outcome: Outcome
    counted: bool = False
    measured: bool = False


class ResponseCodec(Protocol):
    """Encodes one response, without I/O. Each call returns the frames that it adds: none, one or several.

    `choice` counts the replies of one request from 0 (`n` of OpenAI). The order of calls is: `begin`; any of the others for
    each choice; `end` once for each choice; `finish`. In place of what is left, `fail` ends the response.

    A codec of a response that is not streamed returns its one frame from `finish`. Such a response has no `fail`: its error
    has a status of its own.
    """

    @property
    def media_type(self) -> str:
        """The media type of the response."""
        ...

    @property
    def streams(self) -> bool:
        """Whether frames are sent as they come, and not as one body at the end."""
        ...

    @property
    def numbered(self) -> bool:
        """Whether frames are server-sent events, which have a place for an `id`."""
        ...

    def restore(self, frames: Sequence[bytes]) -> None:
        """Take up a response whose first frames another server wrote. It comes before all other calls, and in place of `begin`."""
        ...

    def document(self) -> object:
        """Return the object that the API stores of this response as it is now, as JSON values; None if it stores none."""
        ...

    def begin(self) -> Sequence[bytes]:
        """Return what comes before all text."""
        ...

    def text(self, choice: int, text: str) -> Sequence[bytes]:
        """Return more of the answer. `text` is not empty."""
        ...

    def reasoning(self, choice: int, text: str) -> Sequence[bytes]:
        """Return more of the reasoning. `text` is not empty."""
        ...

    def logprobs(self, choice: int, tokens: Sequence[TokenLogprob]) -> None:
        """Take the log probabilities of the tokens of the text that comes next. Called only if the request asks for them."""
        ...

    def tool_call(self, choice: int, call: ToolCall) -> Sequence[bytes]:
        """Return a whole tool call of the model."""
        ...

    def waiting(self) -> Sequence[bytes]:
        """Return a sign of life for a client that waits. It is a part of the response; formats without one return nothing."""
        ...

    def end(self, choice: int, ending: Ending) -> Sequence[bytes]:
        """Return the end of one choice."""
        ...

    def finish(self) -> Sequence[bytes]:
        """Return what follows when all choices have ended."""
        ...

    def fail(self, error: LegatoError) -> Sequence[bytes]:
        """Return the end of a response that broke off. It never looks like a complete one."""
        ...


@runtime_checkable
class ToolRunCodec(Protocol):
    """What a codec has besides if its format has a place for the tools that the server runs."""

    def tool_started(self, choice: int, call: ToolCall) -> Sequence[bytes]:
        """Return a call that the server runs."""
        ...

    def tool_finished(self, choice: int, call: ToolCall, output: str, *, failed: bool) -> Sequence[bytes]:
        """Return what a call came to."""
        ...


@runtime_checkable
class ToolRunWriter(Protocol):
    """A `ReplyWriter` that is also told of the tools that the server runs."""

    def tool_started(self, call: ToolCall) -> None:
        """Tell that a tool begins to run."""
        ...

    def tool_finished(self, call: ToolCall, output: str, *, failed: bool) -> None:
        """Tell what a call came to."""
        ...
