"""Dialects whose frames are JSON objects with a `type`: decoding, and the handler that an author writes."""

from typing import Any, Protocol

import msgspec

from legato.dialects.session import DialectSession
from legato.dialects.session_rules import Close, close_with
from legato.domain.client_json import decode_client_json
from legato.domain.user import User
from legato.domain.validation import check_id
from legato.errors import InvalidError, LegatoError
from legato.protocol.close_codes import CloseCode

BINARY = b"\xff"
"""Stands for a binary message among the frames that wait; no text has this byte."""

Frame = dict[str, Any]

encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


class FrameHandler(Protocol):
    """What a dialect of JSON objects makes of one socket.

    All calls are made on the event loop's thread. `start` and `handle` run one at a time, in the order of the frames.
    """

    def encode_error(self, message: str) -> bytes:
        """Return the frame for an error."""
        ...

    def on_authenticated(self, user: User) -> None:
        """Greet the client."""
        ...

    async def start(self, user: User) -> None:
        """Do what precedes the first frame of the client.

        :raises LegatoError: it is sent as an error of the dialect.
        """
        ...

    async def handle(self, user: User, kind: str, frame: Frame) -> None:
        """Handle a frame of the client. `kind` is its `type`.

        :raises LegatoError: it is sent as an error of the dialect.
        """
        ...

    def on_writable(self) -> None:
        """The socket is writable again: mark the subscribers."""
        ...

    def on_closed(self) -> None:
        """The socket is gone: unsubscribe."""
        ...


class JsonHandler:
    """The `SessionHandler` of a `FrameHandler`. Frames wait as they came and are decoded in their turn, so that their size in
    memory is bounded and the answers keep their order.
    """

    __slots__ = ("_handler", "_max_frame_bytes")

    def __init__(self, session: DialectSession[bytes], handler: FrameHandler) -> None:
        self._handler = handler
        self._max_frame_bytes = session.context.max_frame_bytes

    def receive(self, payload: bytes) -> bytes:
        return payload

    def receive_binary(self) -> bytes:
        return BINARY

    def credentials(self, command: bytes) -> None:
        return None

    def on_authenticated(self, user: User, command: bytes | None) -> None:
        self._handler.on_authenticated(user)

    async def start(self, user: User) -> None:
        await self._handler.start(user)

    async def handle(self, user: User, command: bytes) -> None:
        if len(command) > self._max_frame_bytes:
            raise InvalidError(
                f"A frame can have {self._max_frame_bytes:,} bytes at most; this one has {len(command):,}."
            )
        if command is BINARY:
            raise InvalidError("Frames are text here, and this one was binary. Send it as text.")
        frame = decode(command)
        kind = frame.get("type")
        if not isinstance(kind, str):
            raise InvalidError("A frame needs a type.")
        await self._handler.handle(user, kind, frame)

    def encode_error(self, error: LegatoError, command: bytes | None) -> bytes:
        return self._handler.encode_error(error.message)

    def on_writable(self) -> None:
        self._handler.on_writable()

    def on_closed(self) -> None:
        self._handler.on_closed()


def decode(payload: bytes) -> Frame:
    """Return the JSON object in a frame.

    :raises InvalidError: the frame is something else.
    """
    frame = decode_client_json(_decode, payload, misfit="This is not JSON")
    if not isinstance(frame, dict):
        raise InvalidError("A frame is a JSON object with a type.")
    return frame


def text_in(frame: Frame, *names: str) -> str:
    """Return the first of these fields that is present.

    :raises InvalidError: none is present, or it is not a text.
    """
    for name in names:
        value = frame.get(name)
        if value is not None:
            if not isinstance(value, str):
                raise InvalidError(f"`{name}` must be a text.")
            return value
    raise InvalidError(f"This frame needs `{names[0]}`.")


def id_in(frame: Frame, *names: str) -> str | None:
    """Return the id in the first of these fields that is present, or None if none is, or it is empty.

    :raises InvalidError: it is not an id.
    """
    for name in names:
        value = frame.get(name)
        if value is not None and value != "":
            if not isinstance(value, str):
                raise InvalidError(f"`{name}` must be a text.")
            return check_id(value, f"`{name}`")
    return None


def unknown_type(kind: str) -> InvalidError:
    """Return the error for a `type` that the dialect does not have."""
    return InvalidError(f"There is no message of type {kind[:40]!r} here.")


def entry_refused(error: LegatoError) -> Close:
    """Return how to close a socket whose address names a conversation that the user cannot enter."""
    wrong = isinstance(error, InvalidError)
    return close_with(CloseCode.BAD_REQUEST if wrong else CloseCode.FORBIDDEN)
