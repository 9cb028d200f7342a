import asyncio

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request
from websockets.server import ServerProtocol

from legato.client.socket import ClientSocket


async def test_a_connection_that_the_peer_ended_with_unwritten_data_closes() -> None:
    """Of a plain `ClientConnection`, `abort()` then ends in an `AttributeError` out of asyncio."""
    end, read_on, over = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def half_close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        protocol = ServerProtocol()
        protocol.receive_data(await reader.readuntil(b"\r\n\r\n"))
        for request in protocol.events_received():
            assert isinstance(request, Request)
            protocol.send_response(protocol.accept(request))
        writer.write(b"".join(protocol.data_to_send()))
        await end.wait()
        writer.write_eof()
        await read_on.wait()
        while await reader.read(1 << 20):
            pass
        writer.close()
        await writer.wait_closed()
        over.set()

    async with await asyncio.start_server(half_close, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        client = await connect(f"ws://127.0.0.1:{port}", create_connection=ClientSocket)
        transport = client.transport
        saying = asyncio.create_task(client.send(b"x" * 50_000_000))
        await asyncio.sleep(0)
        end.set()
        while not transport.is_closing():
            await asyncio.sleep(0)
        assert transport.get_write_buffer_size()
        read_on.set()
        await client.wait_closed()
        await asyncio.wait([saying])
        assert isinstance(saying.exception(), ConnectionClosed | None)
        client.transport.abort()
        await over.wait()
        assert client.remote_address == ("127.0.0.1", port)
