"""The codec of every response that is not streamed: it collects what the choices say, and its API makes one body of that."""

from collections.abc import Callable, Sequence
from typing import Literal

from legato.api.codec import Ending
from legato.engines.base import TokenLogprob, ToolCall
from legato.errors import LegatoError

PieceKind = Literal["text", "reasoning"]

JSON = "application/json"


class CollectedChoice:
    """One choice as it is now."""

    __slots__ = ("_ending", "_runs", "calls", "tokens")

    def __init__(self) -> None:
        self._runs: list[tuple[PieceKind, list[str]]] = []
        self.calls: list[ToolCall] = []
        self.tokens: list[TokenLogprob] = []
        self._ending: Ending | None = None

    @property
    def text(self) -> str:
        """The answer."""
        return self._joined("text")

    @property
    def reasoning(self) -> str:
        """The reasoning."""
        return self._joined("reasoning")

    @property
    def ending(self) -> Ending:
        """How it ended."""
        if self._ending is None:
            raise AssertionError("the choice has not ended")
        return self._ending

    def runs(self) -> list[tuple[PieceKind, str]]:
        """Return the text and the reasoning, in the order in which they came."""
        return [(kind, "".join(texts)) for kind, texts in self._runs]

    def add(self, kind: PieceKind, text: str) -> None:
        """Append to the text or to the reasoning."""
        if not self._runs or self._runs[-1][0] != kind:
            self._runs.append((kind, []))
        self._runs[-1][1].append(text)

    def end(self, ending: Ending) -> None:
        self._ending = ending

    def _joined(self, kind: PieceKind) -> str:
        return "".join(text for each, texts in self._runs if each == kind for text in texts)


class WholeCodec:
    """Returns one frame at the end: what `render` makes of all choices."""

    streams = False
    numbered = False

    def __init__(
        self,
        render: Callable[[Sequence[CollectedChoice]], bytes],
        *,
        choices: int = 1,
        media_type: str = JSON,
    ) -> None:
        self.media_type = media_type
        self._render = render
        self._choices = [CollectedChoice() for _ in range(choices)]

    def restore(self, frames: Sequence[bytes]) -> None:
        """Do nothing: a response that is not streamed has no frames before its end."""

    def document(self) -> object:
        return None

    def begin(self) -> Sequence[bytes]:
        return ()

    def text(self, choice: int, text: str) -> Sequence[bytes]:
        self._choices[choice].add("text", text)
        return ()

    def reasoning(self, choice: int, text: str) -> Sequence[bytes]:
        self._choices[choice].add("reasoning", text)
        return ()

    def logprobs(self, choice: int, tokens: Sequence[TokenLogprob]) -> None:
        self._choices[choice].tokens += tokens

    def tool_call(self, choice: int, call: ToolCall) -> Sequence[bytes]:
        self._choices[choice].calls.append(call)
        return ()

    def waiting(self) -> Sequence[bytes]:
        return ()

    def end(self, choice: int, ending: Ending) -> Sequence[bytes]:
        self._choices[choice].end(ending)
        return ()

    def finish(self) -> Sequence[bytes]:
        return (self._render(self._choices),)

    def fail(self, error: LegatoError) -> Sequence[bytes]:
        """Return nothing: the error has a status of its own."""
        return ()
