"""Bytes of `legato.v1` and its messages, both ways."""

import msgspec

from legato.domain.surrogates import decode_replacing_surrogates
from legato.domain.validation import check_id
from legato.errors import InvalidError
from legato.protocol.messages import PROTOCOL, ClientMessage, Delta, ServerMessage
from legato.stream import Batch, Log

SAID = 200
"""Characters of a complaint."""

_decode = msgspec.json.Decoder(ClientMessage).decode


class _Named(msgspec.Struct):
    id: str | None = None


_decode_id = msgspec.json.Decoder(_Named).decode
_encode = msgspec.json.Encoder().encode


def encode(message: ServerMessage) -> bytes:
    return _encode(message)


def delta(log: Log, batch: Batch) -> bytes:
    """The `Encoding` of a stream."""
    return _encode(Delta(log.stream, log.epoch, batch.first, batch.next, batch.events))


def decode(payload: bytes) -> ClientMessage:
    """One frame from a client.

    :raises InvalidError: with a sentence that says what is wrong with it.
    """
    try:
        message: ClientMessage = decode_replacing_surrogates(_decode, payload)
        return message
    except msgspec.ValidationError as error:
        raise InvalidError(f"This message does not fit {PROTOCOL}: {short(error)}.") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidError(f"This is not JSON: {short(error)}.") from None
    except RecursionError:
        raise InvalidError("This JSON is nested too deeply.") from None


def id_of(payload: bytes) -> str | None:
    """The `id` of a frame that `decode` refused, where it can be read: whoever sent it waits for an answer to it."""
    try:
        name = decode_replacing_surrogates(_decode_id, payload).id
        return None if name is None else check_id(name, "id")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, InvalidError):
        return None


def short(error: Exception) -> str:
    """What is wrong, without all that was sent: a wrong value is quoted, however long it is."""
    said = str(error)
    return said if len(said) <= SAID else f"{said[: SAID // 2]} … {said[-SAID // 2 :]}"
