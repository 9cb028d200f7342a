"""The tests on a real server run over both transports and on both loops."""

import asyncio
from collections.abc import Callable
from typing import Any, Literal

import pytest
import uvloop

REAL_SERVER = {"test_socket", "test_handshake", "test_stalled"}


def pytest_asyncio_loop_factories(item: Any) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    if item.module.__name__.rpartition(".")[2] in REAL_SERVER:
        return {"asyncio": asyncio.SelectorEventLoop, "uvloop": uvloop.new_event_loop}
    return {"asyncio": asyncio.SelectorEventLoop}


@pytest.fixture(params=["direct", "asgi"])
def transport(request: pytest.FixtureRequest) -> Literal["direct", "asgi"]:
    return request.param  # type: ignore[no-any-return]
