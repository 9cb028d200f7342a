"""`curl`, as people type it: without a content type, with that of a form, streamed and not."""

import asyncio
import json
import shutil
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.doubles.engines import replace_demo
from tests.doubles.schema_engine import SchemaEngine
from tests.gateway.server import serving, settings_for

from legato.gateway.server import Server

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed.")

MESSAGES = [{"role": "user", "content": "hi"}]
CALLS: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": MESSAGES},
    "/v1/completions": {"prompt": "hi"},
    "/v1/responses": {"input": "hi"},
    "/v1/messages": {"messages": MESSAGES, "max_tokens": 100},
    "/api/chat": {"messages": MESSAGES},
    "/api/generate": {"prompt": "hi"},
}


@pytest.fixture
async def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AsyncIterator[Server]:
    replace_demo(monkeypatch, SchemaEngine(models=("demo:echo", "scripted")))
    async with serving(settings_for(tmp_path)) as server:
        yield server


async def curl(server: Server, path: str, *arguments: str) -> str:
    command = ["curl", "-sS", "--max-time", "30", *arguments, server.address + path]
    process = await asyncio.create_subprocess_exec(*command, stdout=PIPE, stderr=PIPE)
    printed, wrong = await process.communicate()
    assert process.returncode == 0, wrong
    return printed.decode()


async def test_every_call_with_every_content_type(server: Server) -> None:
    # `-d` alone sends the type of a form.
    for headers in ((), ("-H", "content-type:"), ("-H", "content-type: application/json")):
        for path, body in CALLS.items():
            body = {"model": "scripted", "stream": False, **body}
            said = json.loads(await curl(server, path, *headers, "-d", json.dumps(body)))
            assert "lazy dog." in json.dumps(said), path


async def test_every_stream(server: Server) -> None:
    for path, body in CALLS.items():
        body = {"model": "scripted", "stream": True, **body}
        lines = (await curl(server, path, "-N", "-d", json.dumps(body))).splitlines()
        assert len(lines) > 11, path


async def test_what_needs_no_body(server: Server) -> None:
    assert "Ollama is running" in await curl(server, "/")
    assert await curl(server, "/", "-I")
    assert json.loads(await curl(server, "/api/tags"))["models"]
    assert json.loads(await curl(server, "/api/version"))["version"]
    assert json.loads(await curl(server, "/v1/models"))["data"]
    assert (
        json.loads(await curl(server, "/v1/models", "-H", "anthropic-version: 2023-06-01"))["has_more"]
        is False
    )


async def test_an_error_is_read_with_a_status(server: Server) -> None:
    told = await curl(server, "/v1/chat/completions", "-d", "model=scripted", "-w", "\n%{http_code}")
    body, _, status = told.rpartition("\n")
    assert (status, "not JSON" in json.loads(body)["error"]["message"]) == ("400", True)
