"""Reply text whose surrogate pairs are split over chunks."""

from legato.domain.surrogates import SurrogateJoiner
from legato.engines.base import ReplyWriter


class ReplyTextJoiner:
    """Writes a reply's text and reasoning to `out`, with surrogate pairs joined across chunks."""

    __slots__ = ("_out", "_reasoning", "_text")

    def __init__(self, out: ReplyWriter) -> None:
        self._out = out
        self._text = SurrogateJoiner()
        self._reasoning = SurrogateJoiner()

    def text(self, chunk: str) -> None:
        """Write more of the answer. An empty chunk is passed on: it is a sign of life."""
        if chunk.isascii() and not self._text.waits:
            self._out.text(chunk)
        else:
            self._out.text(self._text.feed(chunk))

    def reasoning(self, chunk: str) -> None:
        if text := self._reasoning.feed(chunk):
            self._out.reasoning(text)

    def end(self) -> None:
        """Write what still waits. Call this once, after the last chunk."""
        if text := self._reasoning.flush():
            self._out.reasoning(text)
        if text := self._text.flush():
            self._out.text(text)
