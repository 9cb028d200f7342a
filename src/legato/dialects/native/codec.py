"""Encodes and decodes the messages of `legato.v1`."""

import msgspec

from legato.domain.surrogates import decode_replacing_surrogates
from legato.domain.validation import check_id
from legato.errors import InvalidError
from legato.protocol.messages import PROTOCOL, ClientMessage, Delta, ServerMessage
from legato.stream import Batch, Log

ERROR_LENGTH = 200
"""Characters of the decoder's description of an error."""

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
    """Return the `id` of a frame that `decode` refused, if it is readable: the client waits for an answer to it."""
    try:
        id_ = decode_replacing_surrogates(_decode_id, payload).id
        return None if id_ is None else check_id(id_, "id")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, InvalidError):
        return None


def short(error: Exception) -> str:
    """Return the text of an error without its middle if it is long: it quotes a wrong value, whatever its length."""
    text = str(error)
    return (
        text if len(text) <= ERROR_LENGTH else f"{text[: ERROR_LENGTH // 2]} … {text[-ERROR_LENGTH // 2 :]}"
    )
