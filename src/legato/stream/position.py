"""The position of a client in a reply, and the answer to a client that resumes.

Offsets alone are not enough. A server that lost a log and wrote it anew may again have offsets 1, 2, 3, 4. A client that
read 1, 2, 3 of the old log would then take the new 4 for a continuation, and join the text of two different replies. The
epoch names the incarnation of the log, so that such a client is told to start over.
"""

from typing import Literal

from msgspec import Struct

from legato.stream.log import Log

ResetReason = Literal["epoch", "trimmed", "future"]


class Position(Struct, frozen=True):
    """What a client stores and sends to resume: the next offset that it needs of this incarnation of a stream."""

    stream: str
    epoch: str
    offset: int


class Continue(Struct, frozen=True):
    """The log has everything from `offset` on: nothing is missing, and nothing comes twice."""

    offset: int


class Reset(Struct, frozen=True):
    """The client must discard what it has of this stream, which then comes again from offset 0."""

    reason: ResetReason


def resume(log: Log, position: Position) -> Continue | Reset:
    """Return whether a client continues exactly at its position, or starts over. There is nothing in between.

    :raises ValueError: the position belongs to another stream.
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
