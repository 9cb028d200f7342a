"""Encodes and decodes the messages of `legato.v1`."""

import msgspec

from legato.domain.client_json import decode_client_json
from legato.domain.validation import check_id
from legato.errors import InvalidError
from legato.protocol.messages import PROTOCOL, ClientMessage, Delta, ServerMessage
from legato.stream import Batch, Log

_decode = msgspec.json.Decoder(ClientMessage).decode


class _Identified(msgspec.Struct):
    id: str | None = None


_decode_id = msgspec.json.Decoder(_Identified).decode
_encode = msgspec.json.Encoder().encode


def encode(message: ServerMessage) -> bytes:
    return _encode(message)


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
