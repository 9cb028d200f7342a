"""Encodes and decodes the messages of `legato.v1`."""

from collections.abc import Sequence
from itertools import count

import msgspec

from legato.domain.client_json import decode_client_json
from legato.domain.validation import check_id
from legato.errors import InvalidError
from legato.protocol.messages import PROTOCOL, ClientMessage, Delta, Fragment, ServerMessage
from legato.stream import Batch, Log

MAX_SENT_BYTES = 256 * 1024
"""The largest frame that the server sends. Common clients refuse one of more than 1 MiB."""

_FRAGMENT_BYTES = MAX_SENT_BYTES // 2 - 1024
"""JSON in JSON is up to twice as long: each quotation mark and backslash is escaped."""

_groups = count(1)
_decode = msgspec.json.Decoder(ClientMessage).decode


class _Identified(msgspec.Struct):
    id: str | None = None


_decode_id = msgspec.json.Decoder(_Identified).decode
_encode = msgspec.json.Encoder().encode


def encode(message: ServerMessage) -> bytes:
    return _encode(message)


def fragments(payload: bytes) -> Sequence[bytes]:
    """Return a frame as it is, or in fragments if it is longer than `MAX_SENT_BYTES`. A fragment is a frame of its own.

    The joined texts of the fragments of one `group` are the frame.
    """
    if len(payload) <= MAX_SENT_BYTES:
        return (payload,)
    group = f"{next(_groups):x}"
    pieces: list[bytes] = []
    start = 0
    while start < len(payload):
        stop = _character_start(payload, start + _FRAGMENT_BYTES)
        text = payload[start:stop].decode()
        pieces.append(_encode(Fragment(group=group, text=text, more=stop < len(payload))))
        start = stop
    return tuple(pieces)


def _character_start(text: bytes, at: int) -> int:
    """Return the last position up to `at` at which a character begins."""
    while at < len(text) and text[at] & 0xC0 == 0x80:
        at -= 1
    return min(at, len(text))


def delta(log: Log, batch: Batch) -> bytes:
    """Return the frame of a batch of a stream."""
    return _encode(Delta(log.stream, log.epoch, batch.first, batch.next, batch.events))


def decode(payload: bytes) -> ClientMessage:
    """Decode a frame from a client.

    :raises InvalidError: with a sentence that says what is wrong with it.
    """
    message: ClientMessage = decode_client_json(
        _decode, payload, misfit=f"This message does not fit {PROTOCOL}"
    )
    return message


def id_of(payload: bytes) -> str | None:
    """Return the `id` of a frame that `decode` refused, if it is readable: the client waits for an answer to it."""
    try:
        id_ = decode_client_json(_decode_id, payload).id
        return None if id_ is None else check_id(id_, "id")
    except InvalidError:
        return None
