"""The tools of an MCP server, over the official SDK: a program with pipes, or a URL (streamable HTTP).

Needs the extra `legato[mcp]`.
"""

import asyncio
import logging
import re
from collections.abc import Collection, Mapping
from contextlib import AsyncExitStack
from itertools import chain, repeat
from typing import Any
from urllib.parse import urlsplit

import msgspec
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client
from mcp_types import CallToolResult, TextContent
from mcp_types import Tool as Described
from msgspec import Struct

from legato.engines.base import ToolSpec
from legato.errors import SettingsError, ToolError
from legato.tools.base import Context, truncate
from legato.tools.mcp.bounded_http import bounded_client
from legato.tools.mcp.connection import CONNECTION_CLOSED, McpConnection, reason_of
from legato.tools.mcp.stdio import MAX_MESSAGE_BYTES, StdioTransport
from legato.tools.mcp.tool_limits import within_limits

logger = logging.getLogger(__name__)

MAX_ERROR_BYTES = 4096
"""Bytes of a tool's error that the model gets."""

RETRY_SECONDS = (1.0, 2.0, 5.0, 10.0, 30.0)
"""The delays before an unavailable server is tried again; the last one repeats."""


class _McpTool(Struct, frozen=True):
    spec: ToolSpec
    approval: bool
    seconds: float
    server: "McpTools"
    original: str

    async def run(self, arguments: dict[str, Any], context: Context) -> str:
        return await self.server.call(self.original, arguments, self.seconds)


class McpTools:
    """A `Toolset` of the tools of one server, or of `only` some of them.

    `approval` names the tools that need a person's approval; None means all, because what a server says about its own tools
    proves nothing. A server that died is started or connected again when it is next needed; the failed call is never repeated.
    A server that was unavailable from the start is tried until it answers, because no model calls unknown tools. A server may
    change its tools. `max_bytes` of an output are returned.
    """

    def __init__(
        self,
        name: str,
        *,
        command: Collection[str] = (),
        env: Mapping[str, str] | None = None,
        url: str | None = None,
        headers: Mapping[str, str] | None = None,
        only: Collection[str] = (),
        approval: Collection[str] | None = None,
        seconds: float = 30.0,
        max_bytes: int = 16384,
    ) -> None:
        """Store the settings.

        :raises SettingsError: there is not exactly one of `command` and `url`.
        """
        if bool(command) == bool(url):
            raise SettingsError(f"[tools.{name}] needs either `command` or `url`.")
        self._name = name
        self._command = tuple(command)
        self._env = dict(env or {})
        self._url = url
        self._headers = dict(headers or {})
        self._only = frozenset(only)
        self._approval = approval
        self._seconds = seconds
        self._max_bytes = max_bytes
        self._connecting = asyncio.Lock()
        self._connection: McpConnection | None = None
        self._described: list[Described] = []
        self._tools: tuple[_McpTool, ...] = ()
        self._retry_task: asyncio.Task[None] | None = None
        self._closed = False

    @property
    def name(self) -> str:
        return self._name

    @property
    def tools(self) -> tuple[_McpTool, ...]:
        return self._tools

    async def open(self) -> None:
        """Get the tools of the server. If it is unavailable, there are none for now, and it is tried again in the background."""
        try:
            await self.reach()
        except ToolError as error:
            logger.warning("[tools.%s] has no tools for now: %s", self._name, error.message)
            self._retry_task = asyncio.create_task(self._retry_until_connected(), name=f"mcp {self._name}")

    async def _retry_until_connected(self) -> None:
        for pause in chain(RETRY_SECONDS, repeat(RETRY_SECONDS[-1])):
            await asyncio.sleep(pause)
            try:
                await self._connect()
            except ToolError as error:
                logger.debug("[tools.%s] still has no tools: %s", self._name, error.message)
            else:
                logger.info("[tools.%s] has its tools now", self._name)
                return

    async def reach(self) -> None:
        try:
            await self._connect()
        except ToolError as error:
            raise ToolError(f"{error.message} {self._source()}") from None

    def _source(self) -> str:
        """Describe the server without secrets, which arguments and URLs may contain."""
        if self._url is None:
            return f"Its program is {self._command[0]!r}."
        address = urlsplit(self._url)
        return f"Its address is {address.scheme}://{address.netloc.rpartition('@')[2]}{address.path}."

    async def close(self) -> None:
        self._closed = True
        if self._retry_task is not None:
            self._retry_task.cancel()
            await asyncio.wait((self._retry_task,))
        await self._disconnect()

    async def call(self, tool: str, arguments: dict[str, Any], seconds: float) -> str:
        """Call a tool of the server and return its output.

        :raises ToolError: the server is unavailable, or the tool failed.
        """
        connection = await self._connect()
        try:
            result = await connection.client.call_tool(tool, arguments, read_timeout_seconds=seconds)
        except MCPError as error:
            if error.code != CONNECTION_CLOSED and not connection.overflowed:
                raise ToolError(truncate(f"The tool failed: {error.message[:4000]}", 2000)) from None
            await self._disconnect(connection)
            raise ToolError(self._lost_message(connection)) from None
        except Exception as error:
            logger.warning("The server of [tools.%s] failed", self._name, exc_info=error)
            await self._disconnect(connection)
            raise ToolError(self._lost_message(connection)) from None
        output = truncate(text_of(result), self._max_bytes)
        if result.is_error:
            raise ToolError(truncate(output, MAX_ERROR_BYTES) or "The tool failed and does not say why.")
        return output

    def _lost_message(self, connection: McpConnection) -> str:
        if connection.overflowed:
            return (
                f"The server of the tool ({self._name}) said more at once than {MAX_MESSAGE_BYTES // 2**20} MiB, "
                "so it was ended. Its work may be done. Ask for less."
            )
        return f"The server of the tool ({self._name}) was lost meanwhile. It may have done its work or not."

    async def _connect(self) -> McpConnection:
        async with self._connecting:
            if self._connection is not None and not self._connection.alive:
                await self._disconnect()
            if self._connection is None:
                if self._closed:
                    raise ToolError("The server is about to stop.")
                connection = McpConnection(self._client, self._set_tools)
                try:
                    described = await connection.open()
                except Exception as error:
                    await connection.close()
                    logger.debug("The server of [tools.%s] cannot be reached", self._name, exc_info=error)
                    raise ToolError(
                        f"The server of the tool ({self._name}) cannot be reached: {reason_of(error)}."
                    ) from None
                except BaseException:
                    await connection.close()
                    raise
                self._connection = connection
                self._set_tools(described)
            return self._connection

    async def _disconnect(self, connection: McpConnection | None = None) -> None:
        if self._connection is not None and connection in (None, self._connection):
            dropped, self._connection = self._connection, None
            await dropped.close()

    async def _client(self, connection: McpConnection, stack: AsyncExitStack) -> Client:
        if self._url is None:
            connection.pipes = StdioTransport(self._command, self._env)
            return Client(connection.pipes.open(), message_handler=connection.on_message)
        http = await stack.enter_async_context(bounded_client(self._headers, connection.overflow))
        transport = streamable_http_client(
            self._url, http_client=http, max_sse_event_size=MAX_MESSAGE_BYTES + 1024
        )
        return Client(transport, message_handler=connection.on_message)

    def _set_tools(self, described: list[Described]) -> None:
        described = within_limits(self._name, described)
        if described != self._described:
            self._described = described
            self._tools = self._make_tools(described)

    def _make_tools(self, described: list[Described]) -> tuple[_McpTool, ...]:
        if missing := self._only - {each.name for each in described}:
            logger.warning("The server of [tools.%s] has no tool %s", self._name, ", ".join(sorted(missing)))
        tools: list[_McpTool] = []
        for each in described:
            if self._only and each.name not in self._only:
                continue
            name = re.sub(r"[^A-Za-z0-9_-]", "_", each.name)[:64]
            asks = self._approval is None or "*" in self._approval or each.name in self._approval
            spec = ToolSpec(name, each.description or each.name, each.input_schema)
            tools.append(_McpTool(spec, asks, self._seconds, self, each.name))
        return tuple(tools)


def text_of(result: CallToolResult) -> str:
    """Return the texts of a result, or else its structured content. Pictures and other content are only named."""
    texts = [
        content.text if isinstance(content, TextContent) else f"[{content.type}: left out]"
        for content in result.content
    ]
    if not texts and result.structured_content is not None:
        return msgspec.json.encode(result.structured_content).decode()
    return "\n".join(texts)
