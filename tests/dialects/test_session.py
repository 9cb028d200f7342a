"""Authentication on the endpoints of the dialects."""

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

PATHS = ["/ws/assistant", "/ws/sessions", "/ws/chat", "/ws/conversations/c"]


async def rejection(address: str, path: str) -> tuple[str, int]:
    """Connect, and return the error and the close code."""
    url = f"{address.replace('http', 'ws', 1)}{path}?token={token('ada')}"
    async with connect(url, proxy=None) as socket:
        frame = json.loads(await socket.recv())
        assert frame["type"] == "error"
        with pytest.raises(ConnectionClosed):
            await socket.recv()
        assert socket.close_code is not None
        return frame.get("message") or frame["error"], socket.close_code


@pytest.mark.parametrize("path", PATHS)
async def test_a_failure_of_authentication_is_an_error_and_closes_the_socket(
    serve: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, path: str
) -> None:
    async def fail(self: Authenticator, **shown: object) -> None:
        raise TypeError("a list is no name")

    async with serve(**AUTH) as server:
        monkeypatch.setattr(Authenticator, "__call__", fail)
        assert await rejection(server.address, path) == (session.FAILED, CloseCode.GOING_AWAY)
    assert "could not be authenticated" in caplog.text


@pytest.mark.parametrize("path", PATHS)
async def test_authentication_that_takes_too_long_closes_the_socket(
    serve: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    async def hang(self: Authenticator, **shown: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(session, "AUTHENTICATION_SECONDS", 0.01)
    async with serve(**AUTH) as server:
        monkeypatch.setattr(Authenticator, "__call__", hang)
        assert await rejection(server.address, path) == (session_rules.LATE, CloseCode.GOING_AWAY)
