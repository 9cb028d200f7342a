"""What nobody vouches for costs little: before its hello a socket has small messages."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Literal

import msgspec
import pytest
import websockets
from tests.dialects.serving import AUTH, token
from websockets.asyncio.client import ClientConnection, connect

from legato.dialects.authentication import HELLO_BYTES
from legato.fleet.agent_registry import MAX_NAME
from legato.gateway.server import Server

from .server import calling, serving, settings_for

MESSAGE_BYTES = 1024 * 1024


@pytest.fixture(params=["direct", "asgi"])
async def server(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Server]:
    transport: Literal["direct", "asgi"] = request.param
    settings = settings_for(
        tmp_path,
        server={"max_frame_bytes": MESSAGE_BYTES, "websocket": transport},
        fleet={"agent_keys": ["k" * 32]},
        **AUTH,
    )
    async with serving(settings) as server:
        yield server


def opening(server: Server, path: str = "/ws", **headers: str) -> connect:
    address = server.address.replace("http", "ws", 1) + path
    return connect(address, subprotocols=[websockets.Subprotocol("legato.v1")], additional_headers=headers)


async def heard(client: ClientConnection, kind: str) -> dict[str, Any]:
    while (frame := msgspec.json.decode(await client.recv()))["type"] != kind:
        pass
    return frame  # type: ignore[no-any-return]


async def test_a_long_message_before_the_hello_closes_the_socket(server: Server) -> None:
    async with opening(server) as client:
        await client.send("x" * (HELLO_BYTES + 1))
        with pytest.raises(websockets.ConnectionClosed):
            await client.recv()
        assert client.close_code == 1009


async def test_behind_the_hello_a_message_may_be_as_long_as_the_server_says(server: Server) -> None:
    async with opening(server) as client:
        hello = {"type": "hello", "token": token("ada")}
        await client.send(msgspec.json.encode(hello).decode())
        long = {"type": "send", "id": "1", "text": "x" * (MESSAGE_BYTES - 1000)}
        await client.send(msgspec.json.encode(long).decode())
        assert (await heard(client, "welcome"))["max_frame_bytes"] == MESSAGE_BYTES
        assert (await heard(client, "error"))["code"] == "invalid"


async def test_a_rogue_agent_is_shown_within_limits(server: Server) -> None:
    rogue = "\x1b[2J\u202e" + "x" * 100_000
    async with opening(server, "/ws/agents", authorization=f"Bearer {'k' * 32}") as agent:
        register = {"type": "register", "protocol": 2, "models": ["m"], "name": rogue, "version": rogue}
        await agent.send(msgspec.json.encode(register).decode())
        await heard(agent, "registered")
        async with (
            calling(server, token("ada", scope="chat admin")) as http,
            http.get("/api/fleet") as response,
        ):
            body = await response.text()
    assert len(body) < 2000
    assert "\\u001b" not in body
    assert "\u202e" not in body
    assert "x" * (MAX_NAME + 1) not in body
