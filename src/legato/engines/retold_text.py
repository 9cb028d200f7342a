"""Text in fields that hold a piece with some servers, and all text so far with others. Pure."""

ECHO = 4
"""Characters from which on a text that repeats all text so far is taken for a repetition."""


class RetoldText:
    """Tells new text from repeated text. `piece` takes what is certainly new, `retold` what may repeat what was there.

    Text is never dropped if it may be new: a second text that continues the first one literally waits for a third.
    """

    __slots__ = ("_held", "_own", "_pieces", "_size", "_whole")

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._size = 0
        self._own = False
        self._whole: bool | None = None
        self._held = ""

    def piece(self, text: str) -> str:
        """Note new text and return it."""
        if text:
            self._pieces.append(text)
            self._size += len(text)
        return text

    def retold(self, text: str, last: bool = False) -> str:
        """Return what of `text` is new. `last`: the reply ends with it, so that it may be the whole reply once more."""
        if not text:
            return ""
        said = self._said()
        if not said:
            self._own = True
            return self.piece(text)
        if not self._own:
            return self.piece(_behind(said, text))
        if self._held:
            held, self._held = self._held, ""
            self._whole = text.startswith(held)
            return self.piece(text[len(said) :] if self._whole else held + text)
        if self._whole:
            return self.piece(_behind(said, text))
        if text == said and last and len(text) >= ECHO:
            return ""
        if self._whole is None and text.startswith(said) and text != said:
            self._held = text
            return ""
        self._whole = False
        return self.piece(text)

    def end(self) -> str:
        """Return the text that still waits. Call this once, at the end of the reply."""
        held, self._held = self._held, ""
        said = self._said()
        return held[len(said) :] if held and len(said) >= ECHO else held

    def _said(self) -> str:
        if len(self._pieces) > 1:
            self._pieces = ["".join(self._pieces)]
        return self._pieces[0] if self._pieces else ""


def _behind(said: str, text: str) -> str:
    """Return what `text` adds to `said`, of which it is a repetition, wholly or of its end, or to which it is new."""
    if text.startswith(said):
        return text[len(said) :]
    if said.endswith(text) or text.strip() == said.strip():
        return ""
    return text
