"""How somebody comes in by any of the doors."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from legato.dialects import session, session_rules
from legato.gateway.auth import Authenticator
from legato.protocol.close_codes import CloseCode

from .serving import AUTH, token

DOORS = ["/ws/assistant", "/ws/sessions", "/ws/chat", "/ws/conversations/c"]


async def on_rejected(address: str, path: str) -> tuple[str, int]:
    """What one is told whom the server does not let in, and the code that closes the socket."""
    url = f"{address.replace('http', 'ws', 1)}{path}?token={token('ada')}"
    async with connect(url, proxy=None) as socket:
        frame = json.loads(await socket.recv())
        assert frame["type"] == "error"
        with pytest.raises(ConnectionClosed):
            await socket.recv()
        assert socket.close_code is not None
        return frame.get("message") or frame["error"], socket.close_code


@pytest.mark.parametrize("path", DOORS)
async def test_one_whom_the_server_fails_on_is_told_so_and_sent_away(
    serve: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, path: str
) -> None:
    async def fail(self: Authenticator, **shown: object) -> None:
        raise TypeError("a list is no name")

    async with serve(**AUTH) as server:
        monkeypatch.setattr(Authenticator, "__call__", fail)
        assert await on_rejected(server.address, path) == (session.FAILED, CloseCode.GOING_AWAY)
    assert "could not be authenticated" in caplog.text


@pytest.mark.parametrize("path", DOORS)
async def test_nobody_waits_for_ever_to_be_let_in(
    serve: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    async def hang(self: Authenticator, **shown: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(session, "AUTHENTICATION_SECONDS", 0.01)
    async with serve(**AUTH) as server:
        monkeypatch.setattr(Authenticator, "__call__", hang)
        assert await on_rejected(server.address, path) == (session_rules.LATE, CloseCode.GOING_AWAY)
