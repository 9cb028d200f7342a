"""A WebSocket connection that can still be closed when it is lost."""

import asyncio
from typing import Any

from websockets.asyncio.client import ClientConnection


class ClientSocket(ClientConnection):
    """What `websockets` makes of a connection, with asyncio's transport kept from failing.

    A peer that ends the connection while there is something to write leaves a transport of asyncio (not of uvloop) that
    answers `abort()` with an `AttributeError`, and `websockets` aborts what it is about to close or to send on.
    """

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.transport = _LostTransport(self.transport)


class _LostTransport(asyncio.Transport):
    """The transport of a lost connection: it knows what it knew, and nothing that is asked of it does anything."""

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
