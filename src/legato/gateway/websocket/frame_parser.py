"""Frames in, messages out: the receiving half of RFC 6455, without I/O.

A text message in one frame, which is what clients send, and a pong take a few lines. Everything else (fragments, pings,
the close, and all errors) is passed to the sans-I/O protocol of `websockets`. It exists only while it has state: an idle
connection needs no memory for it.
"""

import codecs
import logging
from functools import lru_cache

from websockets.frames import CloseCode, Frame, Opcode
from websockets.protocol import State
from websockets.server import ServerProtocol

try:
    from websockets.speedups import apply_mask
except ImportError:  # pragma: no cover
    from websockets.utils import apply_mask

from legato.broker.rate_limit import RateLimiter
from legato.gateway.websocket import close_reasons

TEXT = 0x81
"""The first byte of a text message in one frame."""
PONG = 0x8A
CLOSE = 0x88
PING_FRAME = b"\x89\x00"

MAX_CONTROL = 125
MAX_REASON = 123

quiet_logger = logging.getLogger("legato.gateway.websocket.library")
quiet_logger.setLevel(logging.WARNING)
"""At DEBUG the library logs whole frames and headers. That must never happen, because they contain tokens."""

OPCODES = frozenset(Opcode)
_, OPEN, CLOSING, CLOSED = State
_utf8 = codecs.getincrementaldecoder("utf-8")


def text_frame(payload: bytes) -> bytes:
    """Return a text message as a server sends it: one frame, no mask, no compression (RFC 6455, 5.2)."""
    length = len(payload)
    if length < 126:
        return bytes((TEXT, length)) + payload
    if length < 65536:
        return b"\x81\x7e" + length.to_bytes(2, "big") + payload
    return b"\x81\x7f" + length.to_bytes(8, "big") + payload


@lru_cache(maxsize=256)
def truncate_reason(reason: str) -> str:
    """Return a reason that fits into a close frame: at most 123 bytes of UTF-8 (RFC 6455, 5.5)."""
    return reason.encode()[:MAX_REASON].decode(errors="ignore")


class FrameParser:
    """Parses the bytes that `feed` receives, and calls `on_text`, `on_reply` and `on_end`, which a subclass implements.

    `frame_bytes` limits a message, `rate_limiter` the frames of every kind. `at_fault`: it ended because of what the client sent.
    """

    __slots__ = (
        "_decoder",
        "_library",
        "_message",
        "_need",
        "_partial",
        "_state",
        "at_fault",
        "frame_bytes",
        "rate_limiter",
    )

    def __init__(self, frame_bytes: int = 65536, rate_limiter: RateLimiter | None = None) -> None:
        self.frame_bytes = frame_bytes
        self.rate_limiter = rate_limiter
        self.at_fault = False
        self._state = OPEN
        self._partial: bytearray | None = None
        self._need = 0
        self._message: bytearray | None = None
        self._decoder: codecs.IncrementalDecoder | None = None
        self._library: ServerProtocol | None = None

    @property
    def pending(self) -> bool:
        """Whether a part of a message has come, and its rest has not."""
        return self._partial is not None or self._message is not None

    def on_text(self, payload: bytes) -> None:
        """Handle a whole text message, valid UTF-8."""
        raise NotImplementedError

    def on_binary(self) -> bool:
        """Return whether a binary message that begins is ignored; if not, the connection ends."""
        return False

    def on_reply(self, data: bytes) -> None:
        """Send bytes with which the protocol answers."""
        raise NotImplementedError

    def on_end(self, code: int) -> None:
        """Handle the end: a close was received, or `code` was sent because of what the client sent. Called once; nothing more is read."""
        raise NotImplementedError

    def feed(self, data: bytes, now: float) -> None:
        """Parse bytes from the network. `now` is in seconds, of a clock that never goes backwards."""
        if self._partial is not None:
            self._partial += data
            if len(self._partial) < self._need:
                return
            data, self._partial = bytes(self._partial), None
        position, end = 0, len(data)
        while position < end:
            if self._state is not OPEN:
                if self._state is CLOSING:
                    self._feed_library(data[position:])
                return
            left = end - position
            if left < 2:
                self._keep_partial(data, position, 2)
                return
            first, second = data[position], data[position + 1]
            if second < 0x80 or first & 0x70 or first & 0x0F not in OPCODES:
                self.fail(close_reasons.PROTOCOL_ERROR, close_reasons.NO_FRAME)
                return
            length = second & 0x7F
            header = 6 if length < 126 else 8 if length == 126 else 14
            if left < header:
                self._keep_partial(data, position, header)
                return
            if length >= 126:
                length = int.from_bytes(data[position + 2 : position + header - 4], "big")
            message = self._message
            room = (
                MAX_CONTROL if first & 0x08 else self.frame_bytes - (0 if message is None else len(message))
            )
            if length > room:
                self._too_big(first)
                return
            start = position + header
            stop = start + length
            if stop > end:
                self._keep_partial(data, position, stop - position)
                return
            if self.rate_limiter is not None and not self.rate_limiter.allows(now):
                self.fail(close_reasons.POLICY, close_reasons.TOO_MANY)
                return
            if first == TEXT and message is None:
                payload = apply_mask(data[start:stop], data[start - 4 : start])
                if payload.isascii() or _is_utf8(payload):
                    self.on_text(payload)
                else:
                    self.fail(close_reasons.NOT_UTF8, close_reasons.NO_TEXT)
                    return
            elif first != PONG:
                if first == CLOSE:
                    # A close may come between the fragments of a message (RFC 6455, 5.4); the library would report an error.
                    self._library = self._message = self._decoder = None
                self._feed_library(data[position:stop])
            position = stop

    def fail(self, code: int, reason: str) -> None:
        """Close because of what the client sent, and read no more."""
        if self._state is OPEN:
            self.at_fault = True
            self.on_reply(self.close_frame(code, reason))
            self._end(code)

    def close_frame(self, code: int, reason: str) -> bytes:
        """Return the frame that begins a close from this side; empty if the connection is closing already. Everything until the
        client's own close frame is dropped.
        """
        if self._state is not OPEN:
            return b""
        library = self._open_library()
        library.send_close(code, truncate_reason(reason))
        self._state = CLOSING
        self._message = self._decoder = None
        frame = b"".join(library.data_to_send())
        if self._partial is not None:
            rest, self._partial = bytes(self._partial), None
            self._feed_library(rest)
        return frame

    def _too_big(self, first: int) -> None:
        if first & 0x08:
            self.fail(close_reasons.PROTOCOL_ERROR, f"Control frames hold {MAX_CONTROL} bytes at most.")
        else:
            self.fail(close_reasons.TOO_BIG, close_reasons.too_big(self.frame_bytes))

    def _keep_partial(self, data: bytes, position: int, need: int) -> None:
        self._partial = bytearray(data[position:] if position else data)
        self._need = need

    def _open_library(self) -> ServerProtocol:
        if self._library is None:
            self._library = ServerProtocol(state=OPEN, max_size=self.frame_bytes, logger=quiet_logger)
        return self._library

    def _end(self, code: int) -> None:
        if self._state is not CLOSED:
            self._state = CLOSED
            self._partial = self._message = self._decoder = self._library = None
            self.on_end(code)

    def _feed_library(self, data: bytes) -> None:
        """Let the library parse: one frame that is not plain or, if the connection is closing, everything."""
        library = self._open_library()
        library.receive_data(data)
        for event in library.events_received():
            if self._state is CLOSED:
                return
            if not isinstance(event, Frame):  # pragma: no cover
                continue
            if event.opcode is Opcode.CLOSE:
                self._reply(library)
                self._end(library.close_rcvd.code if library.close_rcvd else CloseCode.NO_STATUS_RCVD)
                return
            if self._state is OPEN:
                match event.opcode:
                    case Opcode.BINARY if self.on_binary():
                        # A message without a decoder is ignored.
                        self._message = None if event.fin else bytearray()
                    case Opcode.BINARY:
                        self.fail(close_reasons.UNSUPPORTED, close_reasons.TEXT_ONLY)
                        return
                    case Opcode.CONT if self._message is not None and self._decoder is None:
                        self._message = None if event.fin else self._message
                    case Opcode.TEXT | Opcode.CONT:
                        self._fragment(bytes(event.data), event.fin)
        self._reply(library)
        if library.parser_exc is not None:
            sent = library.close_sent
            self.at_fault |= self._state is OPEN
            self._end(int(sent.code) if sent is not None else CloseCode.ABNORMAL_CLOSURE)
        elif self._state is OPEN and self._message is None:
            self._library = None

    def _reply(self, library: ServerProtocol) -> None:
        data = b"".join(library.data_to_send())
        if data:
            self.on_reply(data)

    def _fragment(self, data: bytes, final: bool) -> None:
        if self._message is None or self._decoder is None:
            self._message, self._decoder = bytearray(), _utf8()
        try:
            self._decoder.decode(data, final)
        except UnicodeDecodeError:
            self.fail(close_reasons.NOT_UTF8, close_reasons.NO_TEXT)
            return
        self._message += data
        if final:
            payload = bytes(self._message)
            self._message = self._decoder = None
            self.on_text(payload)


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
