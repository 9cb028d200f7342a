"""The listening sockets of a server."""

import asyncio
import socket
from pathlib import Path

from tests.gateway.server import settings_for

from legato.gateway.sockets import listen


async def test_a_body_does_not_wait_behind_its_head(tmp_path: Path) -> None:
    """With Nagle's algorithm, the second write of an answer waits for the acknowledgement of the first: 40 ms."""
    delayed: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = writer.get_extra_info("socket")
        delayed.set_result(not connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        writer.close()

    listening = listen(settings_for(tmp_path), 0)
    server = await asyncio.start_server(accepted, sock=listening)
    _, writer = await asyncio.open_connection(*listening.getsockname()[:2])
    assert await delayed is False
    writer.close()
    server.close()
    await server.wait_closed()
