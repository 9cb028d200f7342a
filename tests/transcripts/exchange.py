"""An exchange of frames between people and a server, written down as it happens, and held against how it went before.

What is compared is every frame, in the order in which its socket brought it, field for field, with three things replaced:
the ids that the server made (`<id 1>`, `<id 2>` … in the order in which they are first seen), times (`<time>`; only in the
form that the notes give), and durations (`<ms>`). What
a person sends in more than 400 characters is shortened. How many tokens share a frame depends on how fast the machine is, so
frames that follow one another and differ in nothing but their piece of text are written as one, with the pieces joined.
What such a frame says of itself, the text so far or its position, is checked before it is joined.
"""

import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from difflib import unified_diff
from pathlib import Path
from typing import Any

GOLDEN = Path(__file__).parent / "golden"

RECORD = "LEGATO_RECORD"
"""With this variable set, exchanges are written to their files instead of being compared with them."""

Frame = dict[str, Any]

_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
_ID = re.compile(
    r"\b(?:[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}|[0-9a-f]{32}|(?:[0-9a-f]+-)?[0-9a-f]{16}|(?<=agent )[0-9a-f]{6})\b"
)
_DURATIONS = re.compile(r"_ms$|^(?:duration|elapsed)$")
_PIECES = {"message_chunk": "content", "token": "content", "chunk": "data"}


@dataclass
class Exchange:
    """What was said so far. `name` is that of its file. `hide` is the address of the model, written as `<model>`."""

    name: str
    hide: str = ""
    lines: list[str] = field(default_factory=list)
    _ids: dict[str, str] = field(default_factory=dict)
    _open: tuple[str, Frame] | None = None

    def note(self, words: str) -> None:
        """Something that is no frame: a connection made, cut or closed."""
        self._write()
        self.lines.append(self._without_ids(words))

    def sent(self, who: str, frame: Frame | str) -> None:
        self._write()
        said = frame if isinstance(frame, str) else self._text(frame)
        if len(said) > 400:
            said = f"{said[:40]} … ({len(said)} characters)"
        self.lines.append(f"{who}> {said}")

    def heard(self, who: str, frame: Frame) -> None:
        """Something from the server. A frame that goes on where the one before it ended is written with it."""
        if self._open is not None and self._open[0] == who and (joined := join(self._open[1], frame)):
            self._open = (who, joined)
            return
        self._write()
        self._open = (who, frame)

    def finish(self) -> None:
        """Compare with the file, or write it.

        :raises AssertionError: it went otherwise than before, or never went before.
        """
        self._write()
        path = GOLDEN / f"{self.name}.txt"
        said = "".join(f"{line}\n" for line in self.lines)
        if os.environ.get(RECORD):
            path.write_text(said)
            return
        assert path.exists(), f"{path.name} was never recorded. Run these tests once with {RECORD}=1."
        kept = path.read_text()
        if said != kept:
            told = "\n".join(
                unified_diff(kept.splitlines(), said.splitlines(), "before", "now", n=0, lineterm="")
            )
            raise AssertionError(f"{path.name} went otherwise:\n{told}")

    def _write(self) -> None:
        if self._open is not None:
            who, frame = self._open
            self.lines.append(f"{who}< {self._text(frame)}")
            self._open = None

    def _text(self, frame: Frame) -> str:
        said = json.dumps(_without_times(frame), ensure_ascii=False)
        return self._without_ids(said.replace(self.hide, "<model>") if self.hide else said)

    def _without_ids(self, text: str) -> str:
        return _ID.sub(lambda found: self._ids.setdefault(found[0], f"<id {len(self._ids) + 1}>"), text)


def join(first: Frame, second: Frame) -> Frame | None:
    """Both frames as one, if they are pieces of one text, the second right behind the first. Else nothing.

    :raises AssertionError: they are, but what they say of themselves does not agree.
    """
    piece = _PIECES.get(first["type"]) if "type" in first else "token"
    if piece is None or piece not in first or piece not in second:
        return None
    own = {piece, "timestamp", "accumulated_content", "from", "to"}
    if {k: v for k, v in first.items() if k not in own} != {k: v for k, v in second.items() if k not in own}:
        return None
    assert first.keys() == second.keys()
    joined = {**first, piece: first[piece] + second[piece]}
    if "accumulated_content" in first:
        assert second["accumulated_content"] == first["accumulated_content"] + second[piece]
        joined["accumulated_content"] = second["accumulated_content"]
    if "to" in first:
        if second["from"] != first["to"]:
            return None
        joined["to"] = second["to"]
    return joined


def _without_times(value: Any, key: str = "") -> Any:
    match value:
        case dict() if key in {"timing", "timings"}:
            return "<ms>"
        case dict():
            return {name: _without_times(each, name) for name, each in value.items()}
        case list():
            return [_without_times(each) for each in value]
        case str() if key == "epoch" and value:
            return "<id of the log>"
        case str():
            return _TIME.sub("<time>", value)
        case bool():
            return value
        case int() | float() if _DURATIONS.search(key):
            return "<ms>"
        case int() if key == "timestamp" and value > 1_000_000_000_000:
            return "<time>"
        case _:
            return value


Until = str | Callable[[Frame], bool]
