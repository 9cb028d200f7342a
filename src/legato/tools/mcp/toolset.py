"""The tools of an MCP server, over the official SDK: a program spoken to through its pipes, or an address (streamable HTTP).

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
from mcp.shared._httpx_utils import create_mcp_http_client
from mcp_types import CallToolResult, TextContent
from mcp_types import Tool as Described
from msgspec import Struct

from legato.engines.base import ToolSpec
from legato.errors import SettingsError, ToolError
from legato.tools.base import Context, truncate
from legato.tools.mcp.connection import CONNECTION_CLOSED, TOOLS, McpConnection, why
from legato.tools.mcp.stdio import LARGEST, StdioTransport

logger = logging.getLogger(__name__)

AGAIN_SECONDS = (1.0, 2.0, 5.0, 10.0, 30.0)
"""The pauses before a server that was away from the start is looked for again; the last is kept to."""

DESCRIPTION = 4096
"""Characters that a tool may say of itself to the model."""


class _McpTool(Struct, frozen=True):
    spec: ToolSpec
    approval: bool
    seconds: float
    server: "McpTools"
    original: str

    async def run(self, arguments: dict[str, Any], context: Context) -> str:
        return await self.server.call(self.original, arguments, self.seconds)


class McpTools:
    """A `Toolset` of what one server offers, or of `only` some of it.

    `approval` names the tools that wait for a person's word; None is every one, for what a server says of its own tools
    proves nothing. A server that dies is started, or dialled, again when it is next needed; the call that it died in is
    never made again. One that was never there is looked for until it comes: no model asks for tools that are not known.
    A server may change its tools meanwhile. `max_bytes` of an output are told.
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
        """:raises SettingsError: there is not exactly one of `command` and `url`."""
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
        self._search: asyncio.Task[None] | None = None
        self._closed = False

    @property
    def name(self) -> str:
        return self._name

    @property
    def tools(self) -> tuple[_McpTool, ...]:
        return self._tools

    async def open(self) -> None:
        """Ask the server for its tools. One that does not come up has none for now, and is asked again in the background."""
        try:
            await self.reach()
        except ToolError as error:
            logger.warning("[tools.%s] has no tools for now: %s", self._name, error.message)
            self._search = asyncio.create_task(self._look_for_it(), name=f"mcp {self._name}")

    async def _look_for_it(self) -> None:
        for pause in chain(AGAIN_SECONDS, repeat(AGAIN_SECONDS[-1])):
            await asyncio.sleep(pause)
            try:
                await self._connected()
            except ToolError as error:
                logger.debug("[tools.%s] still has no tools: %s", self._name, error.message)
            else:
                logger.info("[tools.%s] has its tools now", self._name)
                return

    async def reach(self) -> None:
        try:
            await self._connected()
        except ToolError as error:
            raise ToolError(f"{error.message} {self._source()}") from None

    def _source(self) -> str:
        """What the server is, in a sentence without secrets: they may stand in arguments, and in an address."""
        if self._url is None:
            return f"Its program is {self._command[0]!r}."
        address = urlsplit(self._url)
        return f"Its address is {address.scheme}://{address.netloc.rpartition('@')[2]}{address.path}."

    async def close(self) -> None:
        self._closed = True
        if self._search is not None:
            self._search.cancel()
            await asyncio.wait((self._search,))
        await self._drop()

    async def call(self, tool: str, arguments: dict[str, Any], seconds: float) -> str:
        """:raises ToolError: the server is away, or says that it failed."""
        connection = await self._connected()
        try:
            result = await connection.client.call_tool(tool, arguments, read_timeout_seconds=seconds)
        except MCPError as error:
            if error.code != CONNECTION_CLOSED:
                raise ToolError(truncate(f"The tool failed: {error.message}", 2000)) from None
            await self._drop(connection)
            raise ToolError(self._lost(connection)) from None
        except Exception as error:
            logger.warning("The server of [tools.%s] failed", self._name, exc_info=error)
            await self._drop(connection)
            raise ToolError(self._lost(connection)) from None
        output = truncate(text_of(result), self._max_bytes)
        if result.is_error:
            raise ToolError(output or "The tool failed and does not say why.")
        return output

    def _lost(self, connection: McpConnection) -> str:
        if connection.overflowed:
            return (
                f"The server of the tool ({self._name}) said more at once than {LARGEST // 2**20} MiB, "
                "so it was ended. Its work may be done. Ask for less."
            )
        return f"The server of the tool ({self._name}) was lost meanwhile. It may have done its work or not."

    async def _connected(self) -> McpConnection:
        async with self._connecting:
            if self._connection is not None and not self._connection.alive:
                await self._drop()
            if self._connection is None:
                if self._closed:
                    raise ToolError("The server is about to stop.")
                connection = McpConnection(self._make, self._take)
                try:
                    described = await connection.open()
                except Exception as error:
                    await connection.close()
                    logger.debug("The server of [tools.%s] cannot be reached", self._name, exc_info=error)
                    raise ToolError(
                        f"The server of the tool ({self._name}) cannot be reached: {why(error)}."
                    ) from None
                except BaseException:
                    await connection.close()
                    raise
                self._connection = connection
                self._take(described)
            return self._connection

    async def _drop(self, connection: McpConnection | None = None) -> None:
        if self._connection is not None and connection in (None, self._connection):
            dropped, self._connection = self._connection, None
            await dropped.close()

    async def _make(self, connection: McpConnection, stack: AsyncExitStack) -> Client:
        if self._url is None:
            connection.pipes = StdioTransport(self._command, self._env)
            return Client(connection.pipes.open(), message_handler=connection.hear)
        http = await stack.enter_async_context(create_mcp_http_client(headers=self._headers))
        return Client(streamable_http_client(self._url, http_client=http), message_handler=connection.hear)

    def _take(self, described: list[Described]) -> None:
        if described != self._described:
            self._described = described
            self._tools = self._offered(described)

    def _offered(self, described: list[Described]) -> tuple[_McpTool, ...]:
        if missing := self._only - {each.name for each in described}:
            logger.warning("The server of [tools.%s] has no tool %s", self._name, ", ".join(sorted(missing)))
        tools: list[_McpTool] = []
        for each in described[:TOOLS]:
            if self._only and each.name not in self._only:
                continue
            name = re.sub(r"[^A-Za-z0-9_-]", "_", each.name)[:64]
            asks = self._approval is None or "*" in self._approval or each.name in self._approval
            spec = ToolSpec(name, (each.description or each.name)[:DESCRIPTION], each.input_schema)
            tools.append(_McpTool(spec, asks, self._seconds, self, each.name))
        return tuple(tools)


def text_of(result: CallToolResult) -> str:
    """What a tool says: its texts, or what it gives as data. Pictures and other things are only named."""
    said = [
        content.text if isinstance(content, TextContent) else f"[{content.type}: left out]"
        for content in result.content
    ]
    if not said and result.structured_content is not None:
        return msgspec.json.encode(result.structured_content).decode()
    return "\n".join(said)
