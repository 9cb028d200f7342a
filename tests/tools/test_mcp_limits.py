"""What an MCP server over HTTP says is bounded while it arrives, and so is what it says about its tools."""

import gzip
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
from aiohttp import web
from mcp_types import Tool as Described
from tests.tools.test_mcp import run

from legato.errors import ToolError
from legato.tools.mcp import tool_limits
from legato.tools.mcp.stdio import MAX_MESSAGE_BYTES
from legato.tools.mcp.tool_limits import MAX_SCHEMA_BYTES, MAX_TOOLS, within_limits
from legato.tools.mcp.toolset import MAX_ERROR_BYTES, McpTools

SAY = {"name": "say", "inputSchema": {"type": "object"}}
BLOCK = b"x" * 65536
FLOOD = 100 * 2**20
"""Bytes that a rogue server would send."""

Calling = Callable[[web.Request, Any], Awaitable[web.StreamResponse]]


class RogueServer:
    """A server over streamable HTTP whose answers to `tools/call` the test writes. `sent` counts their bytes."""

    def __init__(self, calling: Calling, tools: list[dict[str, Any]], cursor: str | None) -> None:
        self._calling = calling
        self._tools = tools
        self._cursor = cursor
        self.listed = 0

    async def post(self, request: web.Request) -> web.StreamResponse:
        asked = await request.json()
        if "id" not in asked:
            return web.Response(status=202)
        match asked["method"]:
            case "initialize":
                result = {
                    "protocolVersion": asked["params"]["protocolVersion"],
                    "capabilities": {"tools": {}},
                    "serverInfo": {"name": "rogue", "version": "1"},
                }
            case "tools/list":
                self.listed += 1
                result = {"tools": self._tools, "nextCursor": self._cursor}
            case "tools/call":
                return await self._calling(request, asked["id"])
            case _:
                missing = {"code": -32601, "message": "There is no such method"}
                return web.json_response({"jsonrpc": "2.0", "id": asked["id"], "error": missing})
        return web.json_response({"jsonrpc": "2.0", "id": asked["id"], "result": result})


@asynccontextmanager
async def rogue(
    calling: Calling, tools: list[dict[str, Any]] | None = None, cursor: str | None = None
) -> AsyncIterator[tuple[McpTools, RogueServer]]:
    server = RogueServer(calling, tools or [SAY], cursor)
    app = web.Application()
    app.router.add_post("/mcp", server.post)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    made = McpTools("rogue", url=f"http://127.0.0.1:{port}/mcp", max_bytes=1000)
    try:
        await made.open()
        yield made, server
    finally:
        await made.close()
        await runner.cleanup()


async def flood(request: web.Request, call: Any, media_type: str, opening: bytes, encoding: str = "") -> Any:
    response = web.StreamResponse(headers={"content-type": media_type})
    if encoding:
        response.headers["content-encoding"] = encoding
    await response.prepare(request)
    try:
        await response.write(opening)
        for _ in range(FLOOD // len(BLOCK)):
            await response.write(BLOCK)
    except ConnectionError:
        request.app.setdefault("ended", True)
    return response


@pytest.mark.parametrize(
    ("media_type", "opening"),
    [("application/json", b'{"jsonrpc":"2.0","result":"'), ("text/event-stream", b"id: 1\ndata: ")],
)
async def test_an_endless_result_ends_the_connection_and_costs_little(
    media_type: str, opening: bytes
) -> None:
    async def calling(request: web.Request, call: Any) -> web.StreamResponse:
        answered: web.StreamResponse = await flood(request, call, media_type, opening)
        return answered

    async with rogue(calling) as (tools, _):
        tracemalloc.start()
        with pytest.raises(ToolError, match=f"more at once than {MAX_MESSAGE_BYTES // 2**20} MiB"):
            await run(tools, "say")
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert most < 8 * MAX_MESSAGE_BYTES


async def test_a_small_body_that_expands_is_bounded_too() -> None:
    bomb = gzip.compress(b'{"jsonrpc":"2.0","result":"' + b"x" * FLOOD, 1)

    async def calling(request: web.Request, call: Any) -> web.StreamResponse:
        headers = {"content-type": "application/json", "content-encoding": "gzip"}
        return web.Response(body=bomb, headers=headers)

    async with rogue(calling) as (tools, _):
        tracemalloc.start()
        with pytest.raises(ToolError, match="more at once than"):
            await run(tools, "say")
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert most < 8 * MAX_MESSAGE_BYTES


async def test_a_compressed_result_and_many_events_are_read() -> None:
    said = {"content": [{"type": "text", "text": "So."}]}

    async def calling(request: web.Request, call: Any) -> web.StreamResponse:
        done = msgspec.json.encode({"jsonrpc": "2.0", "id": call, "result": said})
        if calls:
            body = gzip.compress(done)
            headers = {"content-type": "application/json", "content-encoding": "gzip"}
            return web.Response(body=body, headers=headers)
        calls.append(call)
        log = {"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": "x"}}
        log["params"]["data"] = "x" * 2**20  # type: ignore[index]
        event = b"data: " + msgspec.json.encode(log) + b"\r\n\r\n"
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        for _ in range(6):
            await response.write(event)
        await response.write(b"data: " + done + b"\n\n")
        return response

    calls: list[Any] = []
    async with rogue(calling) as (tools, _):
        assert await run(tools, "say") == "So."
        assert await run(tools, "say") == "So."


async def test_a_long_error_is_cut() -> None:
    async def calling(request: web.Request, call: Any) -> web.StreamResponse:
        error = {"code": -1, "message": "No. " * 100_000}
        return web.json_response({"jsonrpc": "2.0", "id": call, "error": error})

    async with rogue(calling) as (tools, _):
        with pytest.raises(ToolError) as failed:
            await run(tools, "say")
        assert len(failed.value.message) <= MAX_ERROR_BYTES


async def test_schemas_names_and_pages_are_bounded(caplog: pytest.LogCaptureFixture) -> None:
    async def calling(request: web.Request, call: Any) -> web.StreamResponse:
        return web.Response(status=500)

    huge = {"type": "object", "description": "x" * MAX_SCHEMA_BYTES}
    listed = [SAY, {"name": "huge", "inputSchema": huge}, {**SAY, "name": "n" * 300}]
    async with rogue(calling, listed, "more") as (tools, server):
        assert [tool.spec.name for tool in tools.tools] == ["say"]
        assert server.listed < 50
    assert "huge" in caplog.text


def test_a_deep_schema_and_too_many_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    deep: dict[str, Any] = {}
    for _ in range(10_000):
        deep = {"properties": deep}
    tools = [Described.model_construct(name="deep", description=None, input_schema=deep)]
    tools += [Described(name=f"t{each}", input_schema={"type": "object"}) for each in range(MAX_TOOLS + 1)]
    assert [each.name for each in within_limits("x", tools)] == [f"t{each}" for each in range(MAX_TOOLS)]
    monkeypatch.setattr(tool_limits, "MAX_SCHEMAS_BYTES", 100)
    assert len(within_limits("x", tools)) == 100 // len(b'{"type":"object"}')
