"""Where a client stands in a reply, and the one answer to a client that comes back.

Offsets alone are not enough. A server that lost a log and wrote it anew may again have offsets 1, 2, 3, 4, and a client
that saw 1, 2, 3 of the old one would take the new 4 for a continuation: text of two different replies, joined without
a mark. The epoch names the incarnation of the log, so that such a client is told to begin again.
"""

from typing import Literal

from msgspec import Struct

from legato.stream.log import Log

ResetReason = Literal["epoch", "trimmed", "future"]


class Position(Struct, frozen=True):
    """What a client keeps and shows to go on: the next offset it wants of this incarnation of a stream."""

    stream: str
    epoch: str
    offset: int


class Continue(Struct, frozen=True):
    """Everything from `offset` on is there: nothing is missing, nothing comes twice."""

    offset: int


class Reset(Struct, frozen=True):
    """The client must forget what it has of this stream; it is told again from offset 0."""

    reason: ResetReason


def resume(log: Log, position: Position) -> Continue | Reset:
    """Answer a client that comes back: continue exactly there, or reset. Never something in between.

    :raises ValueError: where the position is of another stream.
    """
    if position.stream != log.stream:
        raise ValueError(f"a position of stream {position.stream} was held against {log.stream}")
    if position.epoch != log.epoch:
        return Reset("epoch")
    if position.offset < 0 or position.offset > log.next:
        return Reset("future")
    if not log.readable(position.offset):
        return Reset("trimmed")
    return Continue(position.offset)
