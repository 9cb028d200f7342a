"""Tool calls out of the pieces of a stream, also where a server numbers or names them wrongly. Pure."""

import re
from collections.abc import Callable, Collection
from typing import Any, NamedTuple

from legato.domain.surrogates import join_surrogates
from legato.engines.base import ToolCall
from legato.engines.lenient_json import decode_values, encode_text, string

MOST_CHARACTERS = 1024 * 1024
MOST_CALLS = 1024

_MARK = re.compile(r'\\(?:.|\Z)|["{}\[\]]', re.DOTALL)


class TooManyCallsError(Exception):
    """The calls of a reply, or their arguments, are larger than they may be."""


class _Piece(NamedTuple):
    place: str | None
    id: str
    name: str
    arguments: str


class _JsonEnd:
    """Finds where the JSON value ends that a text begins with, while the text comes in pieces. Other text has no end."""

    __slots__ = ("_depth", "_escaped", "_first", "_string", "ended")

    def __init__(self) -> None:
        self._first = ""
        self._depth = 0
        self._string = self._escaped = False
        self.ended = False

    @property
    def open(self) -> bool:
        return not self.ended and (self._depth > 0 or self._string)

    def feed(self, text: str) -> int:
        """Return how much of `text` belongs to the value."""
        self._first = self._first or text.lstrip()[:1]
        if self._first not in tuple('{["'):
            return len(text)
        at = 1 if self._escaped else 0
        self._escaped = self._escaped and not text
        for mark in _MARK.finditer(text, at):
            sign = mark[0]
            if sign.startswith("\\"):
                self._escaped = len(sign) == 1
            elif sign == '"':
                self._string = not self._string
                self.ended = not self._string and not self._depth
            elif not self._string:
                self._depth += 1 if sign in "{[" else -1
                self.ended = self._depth <= 0
            if self.ended:
                return mark.end()
        return len(text)


class _PartialCall:
    """A call that is still coming. `again`: it began behind the end of another one's arguments, without a name."""

    __slots__ = ("again", "chunk", "end", "id", "name", "parts")

    def __init__(self, call_id: str, name: str, chunk: int, *, again: bool = False) -> None:
        self.id = call_id
        self.name = name
        self.chunk = chunk
        self.again = again
        self.parts: list[str] = []
        self.end = _JsonEnd()

    @property
    def arguments(self) -> str:
        if len(self.parts) > 1:
            self.parts = ["".join(self.parts)]
        return join_surrogates(self.parts[0]).strip() if self.parts else ""

    @property
    def empty(self) -> bool:
        return self.arguments in ("", "{}", "null")


class _Slot:
    """The calls that came under one index or one id, in order."""

    __slots__ = ("calls", "cumulative", "last", "pieces")

    def __init__(self) -> None:
        self.calls: list[_PartialCall] = []
        self.last = ""
        self.pieces = 0
        self.cumulative = True

    @property
    def call(self) -> _PartialCall:
        return self.calls[-1]

    def write(self, text: str, chunk: int) -> None:
        """Add arguments. An object behind a whole object begins another call."""
        if self.pieces and not (text.startswith(self.last) and len(text) >= len(self.last)):
            self.cumulative = False
        self.last, self.pieces = text, self.pieces + 1
        while text:
            call = self.call
            if call.end.ended:
                rest = text.lstrip()
                if not rest:
                    return
                if rest[0] not in '{"':
                    call.parts.append(text)
                    return
                self.calls.append(_PartialCall(call.id, call.name, chunk, again=True))
                text = rest
                continue
            length = call.end.feed(text)
            call.parts.append(text[:length])
            text = text[length:]


class ToolCallCollector:
    """Collects tool calls, and gives them whole with `finish`.

    Calls are told apart by index, by id and, if a server gives neither or the same to all, by their names and by where
    one's arguments end. Calls and arguments that are told again are counted once. `names` are the tools that were
    offered; `new_id` gives an id to a call without one, or with one that is taken.
    """

    __slots__ = ("_by_id", "_by_index", "_chunk", "_names", "_new_id", "_size", "_slots", "_whole")

    def __init__(self, new_id: Callable[[], str], names: Collection[str] = ()) -> None:
        self._new_id = new_id
        self._names = frozenset(names)
        self._slots: list[_Slot] = []
        self._by_index: dict[str, _Slot] = {}
        self._by_id: dict[str, _Slot] = {}
        self._whole: dict[str, _Piece] = {}
        self._chunk = 0
        self._size = 0

    def add(self, value: object) -> bool:
        """Take the calls of a delta. Returns whether there are any.

        :raises TooManyCallsError: there are too many, or their arguments are too long.
        """
        pieces = _pieces(value)
        self._chunk += 1
        for piece in pieces:
            self._count(piece)
            slot = self._slot(piece)
            self._name(slot, piece)
            if piece.arguments:
                slot.write(piece.arguments, self._chunk)
        return bool(pieces)

    def add_whole(self, value: object) -> bool:
        """Take the calls of a whole message. Returns whether there are any.

        :raises TooManyCallsError: there are too many, or their arguments are too long.
        """
        pieces = _pieces(value)
        for place, piece in enumerate(pieces):
            key = f"{piece.place or place} {piece.name}" + (f" {piece.id}" if piece.id else "")
            if key in self._whole and len(piece.arguments) < len(self._whole[key].arguments):
                key = f"{key} {len(self._whole)}"
            self._count(piece)
            self._whole[key] = piece
        return bool(pieces)

    def finish(self) -> list[ToolCall]:
        """Return the calls that have a name, or arguments, in the order in which they began."""
        found: list[tuple[str, str, str]] = []
        kept: list[_PartialCall] = []
        began = [(call.chunk, n, slot, call) for n, slot in enumerate(self._slots) for call in _calls(slot)]
        for _, _, _, call in sorted(began, key=lambda each: each[:2]):
            if (call.name or call.arguments) and not any(_repeats(call, earlier) for earlier in kept):
                kept.append(call)
                found.append((call.id, call.name, call.arguments))
        told = [(name, _value(arguments)) for _, name, arguments in found]
        for piece in self._whole.values():
            key = (piece.name, _value(piece.arguments))
            if key in told:
                told.remove(key)
            elif piece.name or piece.arguments:
                found.append((piece.id, piece.name, piece.arguments))
        used: set[str] = set()
        calls: list[ToolCall] = []
        for call_id, name, arguments in found:
            unique = call_id if call_id and call_id not in used else self._new_id()
            used.add(unique)
            calls.append(ToolCall(unique, name, join_surrogates(arguments).strip() or "{}"))
        return calls

    def _count(self, piece: _Piece) -> None:
        self._size += len(piece.arguments) + len(piece.name) + len(piece.id)
        calls = sum(len(slot.calls) for slot in self._slots) if len(self._slots) < 2 else len(self._slots)
        if self._size > MOST_CHARACTERS or calls + len(self._whole) > MOST_CALLS:
            raise TooManyCallsError

    def _slot(self, piece: _Piece) -> _Slot:
        """Return the slot that a piece belongs to, a new one if it begins a call."""
        known = self._by_index.get(piece.place) if piece.place is not None else None
        same = self._by_id.get(piece.id) if piece.id else None
        last = self._slots[-1] if self._slots else None
        if piece.place is not None and known is None:
            if not piece.name and same is not None:
                return same
            # A server that counts pieces, not calls.
            if not piece.name and not piece.id and last is not None:
                return last
        elif known is None:
            known = same or (last if not (piece.id and piece.name) else None)
        elif piece.id and known.call.id and piece.id != known.call.id:
            if same is not None:
                known = same
            elif piece.name and not self._continues(known, piece):
                known = None
        if known is None:
            known = _Slot()
            known.calls.append(_PartialCall(piece.id, "", self._chunk))
            self._slots.append(known)
            if piece.place is not None:
                self._by_index[piece.place] = known
        if piece.id:
            known.call.id = known.call.id or piece.id
            self._by_id.setdefault(piece.id, known)
        return known

    @staticmethod
    def _continues(slot: _Slot, piece: _Piece) -> bool:
        """Whether a piece with another id goes on with the call: some servers make up an id for every piece."""
        call = slot.call
        begins = piece.arguments.lstrip()[:1] in ("", "{")
        return piece.name == call.name and call.end.open and not begins

    def _name(self, slot: _Slot, piece: _Piece) -> None:
        """Give the call of a slot its name, or begin another call with it."""
        name, call = piece.name, slot.call
        if not name:
            return
        if not call.name and not call.end.ended:
            call.name = name
            return
        if call.end.ended or self._is_other(call, piece):
            slot.calls.append(_PartialCall(piece.id, name, self._chunk))
            slot.cumulative = False
        elif not call.parts:
            call.name = self._joined(call.name, name)

    def _is_other(self, call: _PartialCall, piece: _Piece) -> bool:
        """Whether a name, while the arguments of a call are open or have not come, is that of another call."""
        if call.parts:
            return piece.name != call.name and piece.arguments.lstrip().startswith("{")
        if call.chunk == self._chunk:
            return True
        joined = self._joined(call.name, piece.name)
        return piece.name != call.name and piece.name in self._names and joined not in self._names

    def _joined(self, name: str, piece: str) -> str:
        """A name may come in pieces, whole every time, or longer every time."""
        if name + piece in self._names:
            return name + piece
        if piece == name:
            return name
        if piece.startswith(name) and (piece in self._names or not self._names):
            return piece
        return name + piece


def _pieces(value: object) -> list[_Piece]:
    if isinstance(value, dict):
        value = [value] if value else []
    if not isinstance(value, list):
        return []
    return [_piece(item) for item in value if isinstance(item, dict)]


def _piece(item: dict[str, Any]) -> _Piece:
    function = item.get("function")
    inner: dict[str, Any] = function if isinstance(function, dict) else item
    name = string(function) if isinstance(function, str) else string(inner.get("name"))
    arguments = next(
        (found for key in ("arguments", "parameters", "input") if (found := inner.get(key)) is not None), ""
    )
    index = string(item.get("index", inner.get("index")))
    index = index.removesuffix(".0") if index else index
    return _Piece(
        index or None,
        string(item.get("id")) or string(item.get("call_id")) or string(item.get("tool_call_id")),
        name,
        arguments if isinstance(arguments, str) else encode_text(arguments),
    )


def _calls(slot: _Slot) -> list[_PartialCall]:
    """The calls of a slot. Arguments that came longer every time, from their beginning, are those of one call."""
    first = slot.calls[0]
    if (
        slot.cumulative
        and slot.pieces > 1
        and _value(first.arguments) is None
        and _value(slot.last) is not None
    ):
        first.parts = [slot.last]
        return [first]
    kept: list[_PartialCall] = []
    for call in slot.calls:
        before = kept[-1] if kept else None
        if before is not None and before.empty and call.again and before.parts:
            before.parts = call.parts
        elif not any(_repeats(call, earlier, slot=True) for earlier in kept):
            kept.append(call)
    return kept


def _repeats(call: _PartialCall, earlier: _PartialCall, *, slot: bool = False) -> bool:
    """Whether a call is an earlier one, told again in a later chunk: in the same slot, or under the same id."""
    if call.name != earlier.name or call.chunk == earlier.chunk:
        return False
    if call.id and earlier.id and call.id != earlier.id:
        return False
    if not slot and not (call.id and earlier.id):
        return False
    return call.empty or _value(call.arguments) == _value(earlier.arguments)


def _value(arguments: str) -> str | None:
    """The arguments in one spelling, to compare them; None if they are no JSON."""
    try:
        values = decode_values((arguments or "{}").encode("utf-8", "replace"))
    except ValueError:
        return None
    return (
        encode_text(values[0], ordered=True)
        if len(values) == 1 and isinstance(values[0], dict | list | str)
        else None
    )
