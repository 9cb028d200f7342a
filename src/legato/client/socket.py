"""A WebSocket connection that can be closed after it was lost."""

import asyncio
from typing import Any

from websockets.asyncio.client import ClientConnection


class ClientSocket(ClientConnection):
    """A connection of `websockets` that works around a failure of asyncio's transport.

    If the peer ends the connection while data is waiting to be written, `abort()` of an asyncio transport (not of uvloop's)
    raises an `AttributeError`, and `websockets` calls it before it closes the connection or sends on it.
    """

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.transport = _LostTransport(self.transport)


class _LostTransport(asyncio.Transport):
    """The transport of a lost connection: it still has its extra information, and every action does nothing."""

    def __init__(self, transport: asyncio.Transport) -> None:
        super().__init__()
        self._transport = transport

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._transport.get_extra_info(name, default)

    def is_closing(self) -> bool:
        return True

    def abort(self) -> None:
        pass

    def close(self) -> None:
        pass

    def write(self, data: bytes | bytearray | memoryview) -> None:
        pass

    def can_write_eof(self) -> bool:
        return False

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass
