"""What users are told of the machines behind a server, and what those who run it are."""

import logging
from collections.abc import Callable
from typing import Any

import pytest
from tests.dialects.serving import AUTH, token
from tests.gateway.server import calling

from .conftest import connected

DEAD = "http://127.0.0.1:9"
HIDDEN = ("127.0.0.1", ":9", "http://", "ollama_url")


async def test_a_user_is_told_of_no_address(
    serve: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    engine = {"engine": "ollama", "model": "m", "timeout": 5}
    told: list[str] = []
    with caplog.at_level(logging.WARNING):
        async with (
            serve(assistants={"default": engine}, engines={"ollama": {"url": DEAD}}, **AUTH) as server,
            connected(server, Authorization=f"Bearer {token('ada')}") as ada,
            calling(server, token("ada")) as http,
        ):
            ack = await ada.ask("send", client_message_id="1", text="Hello")
            _, end = await ada.text(ack["reply"])
            assert end["type"] == "failed"
            told += [str(ada.frames), str(await ada.ask("send", client_message_id="2", text="/model"))]
            told.append(str(await ada.ask("send", client_message_id="3", text="/stat")))
            for path in ("/api/models", "/api/info", "/ready", "/api/fleet", "/api/agents/status"):
                async with http.get(path) as response:
                    told.append(await response.text())
            body = {"text": "Hello", "client_message_id": "4"}
            async with http.post(
                f"/api/conversations/{ack['conversation']}/messages/chat", json=body
            ) as response:
                told.append(await response.text())
    for text in told:
        assert not [each for each in HIDDEN if each in text], text
    assert "Ollama" in end["message"]
    assert DEAD in caplog.text


async def test_who_runs_the_server_is_told_the_address(serve: Callable[..., Any]) -> None:
    engine = {"engine": "ollama", "model": "m", "timeout": 5}
    async with (
        serve(assistants={"default": engine}, engines={"ollama": {"url": DEAD}}) as server,
        connected(server) as me,
    ):
        ack = await me.ask("send", client_message_id="1", text="Hello")
        _, end = await me.text(ack["reply"])
        assert DEAD in end["message"]
