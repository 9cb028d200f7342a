"""A conversation of many megabytes is sent in slices: a client that reads nothing costs little, and others do not wait."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from msgspec.structs import replace
from tests.storage.made import NOW, OWNER, conversation, ended, exchange

from legato.domain.message import TextPart
from legato.gateway import sliced_response
from legato.gateway.server import Server
from legato.storage.sql import SqlStorage

from .server import calling, serving, settings_for

MESSAGES = 10
TEXT = ('"' + "x" * 1000 + "\\n漢🎵 ") * 600
"""0.6 MB in JSON: 12 MB in all, because a message has its text twice."""


async def stored(folder: Path) -> None:
    """Store a conversation `big` with `MESSAGES` turns, and one with two."""
    storage = SqlStorage(f"sqlite:///{folder}/legato.db")
    await storage.open()
    for name, turns, text in (("big", MESSAGES, TEXT), ("small", 2, "Short.")):
        await storage.create_conversation(conversation(name, "local"))
        parent = None
        for number in range(turns):
            turn = exchange(number, of=name, parent=parent)
            assert turn.question is not None
            asked = replace(turn.question, id=f"{name}-q{number}", parent=parent, author="local")
            reply = replace(turn.reply, id=f"{name}-r{number}", parent=asked.id)
            turn = replace(turn, user="local", question=asked, reply=reply)
            await storage.begin(turn, NOW)
            whole = ended(reply.id, text, name, asked.id)
            await storage.finish(replace(whole, parts=(TextPart(text),)), OWNER, NOW)
            parent = reply.id
    await storage.close()


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    await stored(tmp_path)
    async with serving(settings_for(tmp_path)) as server:
        yield server


@pytest.fixture
async def http(server: Server) -> AsyncIterator[aiohttp.ClientSession]:
    async with calling(server) as http:
        yield http


async def got(http: aiohttp.ClientSession, path: str) -> Any:
    async with http.get(path) as response:
        assert response.status == 200, await response.text()
        return await response.json()


async def test_whole_in_slices_and_by_pages(http: aiohttp.ClientSession) -> None:
    whole = await got(http, "/api/conversations/big")
    assert [each["text"] for each in whole["messages"]] == ["Why?", TEXT] * MESSAGES
    assert whole["messages"][-1]["parts"] == [{"type": "text", "text": TEXT}]
    listed = await got(http, "/api/conversations/big/messages")
    assert listed["messages"] == whole["messages"]
    assert listed["conversation"] == {key: value for key, value in whole.items() if key != "messages"}
    exported = await got(http, "/api/conversations/big/export")
    assert exported == whole
    async with http.get("/api/conversations/big/export?format=markdown") as response:
        assert (await response.text()).count(TEXT.strip("\n")) == MESSAGES


async def test_a_page_precedes_a_message(http: aiohttp.ClientSession) -> None:
    pages: list[list[str]] = []
    before = ""
    while True:
        page = await got(http, f"/api/conversations/small?limit=3{before}")
        pages.append([each["id"] for each in page["messages"]])
        if len(pages[-1]) < 3:
            break
        before = f"&before={pages[-1][0]}"
    assert pages == [["small-r0", "small-q1", "small-r1"], ["small-q0"]]
    listed = await got(http, "/api/conversations/small/messages?limit=2&before=small-q1")
    assert [each["id"] for each in listed["messages"]] == ["small-q0", "small-r0"]
    async with http.get("/api/conversations/small?before=nothing") as response:
        assert response.status == 404


async def test_readers_that_stall_hold_no_conversation_and_delay_nobody(
    server: Server, http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, longest = 0, 0
    chain = sliced_response.SlicedResponse.__init__

    def counted(self: Any, content: Iterator[bytes], **more: Any) -> None:
        def pieces() -> Iterator[bytes]:
            nonlocal made, longest
            for piece in content:
                made += len(piece)
                longest = max(longest, len(piece))
                yield piece

        chain(self, pieces(), **more)

    monkeypatch.setattr(sliced_response.SlicedResponse, "__init__", counted)
    host, port = server.address.removeprefix("http://").split(":")
    stalled = []
    for _ in range(4):
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.setblocking(False)
        await asyncio.get_running_loop().sock_connect(client, (host, int(port)))
        request = f"GET /api/conversations/big HTTP/1.1\r\nhost: {host}:{port}\r\n\r\n"
        await asyncio.get_running_loop().sock_sendall(client, request.encode())
        stalled.append(client)
    before = -1
    while not made or made != before:
        before = made
        for _ in range(10):
            assert (await got(http, "/health")) == {"status": "ok"}
    size = len(json.dumps(TEXT, ensure_ascii=False).encode()) * 2 * MESSAGES
    assert made < 0.8 * len(stalled) * size, "what the kernel takes, and not all of it"
    assert longest <= 256 * 1024
    for client in stalled:
        client.close()
