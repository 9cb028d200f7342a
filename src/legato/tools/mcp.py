"""The tools of an MCP server, over the official SDK: a program spoken to through its pipes, or an address (streamable HTTP).

Needs the extra `legato[mcp]`.
"""

import asyncio
import logging
import re
from collections.abc import Collection, Mapping
from contextlib import AsyncExitStack
from typing import Any

import msgspec
from mcp import Client, MCPError, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client
from mcp.shared._httpx_utils import create_mcp_http_client
from mcp_types import CallToolResult, TextContent
from mcp_types import Tool as Described
from msgspec import Struct

from legato.engines.base import ToolSpec
from legato.errors import SettingsError, ToolError
from legato.tools.base import Context, bounded

logger = logging.getLogger(__name__)

CONNECT_SECONDS = 10.0
"""How long a server may take to come up and tell its tools."""

LEAVE_SECONDS = 8.0
"""How long a server may take to let itself be left; the SDK ends a program that does not within 6."""

TOOLS = 128
"""Tools of one server, at most."""

DESCRIPTION = 4096
"""Characters that a tool may say of itself to the model."""

CONNECTION_CLOSED = -32000
"""The SDK's own code for a server that is gone."""


class _Tool(Struct, frozen=True):
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
    never made again. `max_bytes` of an output are told.
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
        self._connection: _Connection | None = None
        self._tools: tuple[_Tool, ...] = ()
        self._closed = False

    @property
    def name(self) -> str:
        return self._name

    @property
    def tools(self) -> tuple[_Tool, ...]:
        return self._tools

    async def open(self) -> None:
        """Ask the server for its tools. One that does not come up has none until the next message wants them."""
        try:
            await self._connected()
        except ToolError as error:
            logger.warning("[tools.%s] has no tools for now: %s", self._name, error.message)

    async def close(self) -> None:
        self._closed = True
        await self._drop()

    async def call(self, tool: str, arguments: dict[str, Any], seconds: float) -> str:
        """:raises ToolError: the server is away, or says that it failed."""
        connection = await self._connected()
        try:
            result = await connection.client.call_tool(tool, arguments, read_timeout_seconds=seconds)
        except MCPError as error:
            if error.code != CONNECTION_CLOSED:
                raise ToolError(bounded(f"The tool failed: {error.message}", 2000)) from None
            await self._drop(connection)
            raise ToolError(self._lost()) from None
        except Exception as error:
            logger.warning("The server of [tools.%s] failed", self._name, exc_info=error)
            await self._drop(connection)
            raise ToolError(self._lost()) from None
        output = bounded(text_of(result), self._max_bytes)
        if result.is_error:
            raise ToolError(output or "The tool failed and does not say why.")
        return output

    def _lost(self) -> str:
        return f"The server of the tool ({self._name}) was lost meanwhile. It may have done its work or not."

    async def _connected(self) -> "_Connection":
        async with self._connecting:
            if self._connection is not None and not self._connection.alive:
                await self._drop()
            if self._connection is None:
                if self._closed:
                    raise ToolError("The server is about to stop.")
                connection = _Connection(self._make)
                try:
                    described = await connection.open()
                except Exception as error:
                    await connection.close()
                    logger.debug("The server of [tools.%s] cannot be reached", self._name, exc_info=error)
                    raise ToolError(
                        f"The server of the tool ({self._name}) cannot be reached: {_why(error)}."
                    ) from None
                except BaseException:
                    await connection.close()
                    raise
                self._connection = connection
                self._tools = self._offered(described)
            return self._connection

    async def _drop(self, connection: "_Connection | None" = None) -> None:
        if self._connection is not None and connection in (None, self._connection):
            dropped, self._connection = self._connection, None
            await dropped.close()

    async def _make(self, stack: AsyncExitStack) -> Client:
        if self._url is None:
            program, *arguments = self._command
            return Client(StdioServerParameters(command=program, args=arguments, env=self._env))
        http = await stack.enter_async_context(create_mcp_http_client(headers=self._headers))
        return Client(streamable_http_client(self._url, http_client=http))

    def _offered(self, described: list[Described]) -> tuple[_Tool, ...]:
        if missing := self._only - {each.name for each in described}:
            logger.warning("The server of [tools.%s] has no tool %s", self._name, ", ".join(sorted(missing)))
        tools: list[_Tool] = []
        for each in described[:TOOLS]:
            if self._only and each.name not in self._only:
                continue
            name = re.sub(r"[^A-Za-z0-9_-]", "_", each.name)[:64]
            asks = self._approval is None or "*" in self._approval or each.name in self._approval
            spec = ToolSpec(name, (each.description or each.name)[:DESCRIPTION], each.input_schema)
            tools.append(_Tool(spec, asks, self._seconds, self, each.name))
        return tuple(tools)


class _Connection:
    """One connection, held by a task of its own: the SDK wants to be left in the task in which it was entered."""

    def __init__(self, make: Any) -> None:
        self._make = make
        self._leave = asyncio.Event()
        self._ready: asyncio.Future[list[Described]] = asyncio.get_running_loop().create_future()
        self._task: asyncio.Task[None] | None = None
        self.client: Client

    @property
    def alive(self) -> bool:
        return self._task is not None and not self._task.done()

    async def open(self) -> list[Described]:
        """Connect; the tools of the server."""
        self._task = asyncio.create_task(self._hold(), name="mcp")
        async with asyncio.timeout(CONNECT_SECONDS):
            return await asyncio.shield(self._ready)

    async def close(self) -> None:
        self._leave.set()
        if self._task is not None:
            if not self._ready.done():
                self._task.cancel()
            _, late = await asyncio.wait((self._task,), timeout=LEAVE_SECONDS)
            for task in late:
                task.cancel()
        if self._ready.done() and not self._ready.cancelled():
            self._ready.exception()

    async def _hold(self) -> None:
        try:
            async with AsyncExitStack() as stack:
                self.client = await stack.enter_async_context(await self._make(stack))
                tools: list[Described] = []
                cursor: str | None = None
                while len(tools) < TOOLS:
                    listed = await self.client.list_tools(cursor=cursor)
                    tools += listed.tools
                    if not (cursor := listed.next_cursor):
                        break
                self._ready.set_result(tools)
                await self._leave.wait()
        except asyncio.CancelledError:
            self._ready.cancel()
            raise
        except BaseException as error:  # noqa: BLE001 (it is raised where it is waited for, or said in the log)
            if not self._ready.done():
                self._ready.set_exception(error)
            elif not self._leave.is_set():
                logger.warning("An MCP server was lost: %s", _why(error))


def text_of(result: CallToolResult) -> str:
    """What a tool says: its texts, or what it gives as data. Pictures and other things are only named."""
    said = [
        content.text if isinstance(content, TextContent) else f"[{content.type}: left out]"
        for content in result.content
    ]
    if not said and result.structured_content is not None:
        return msgspec.json.encode(result.structured_content).decode()
    return "\n".join(said)


def _why(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, TimeoutError):
        return f"it did not come up within {CONNECT_SECONDS:g} s"
    return (str(error).strip().rstrip(".") or type(error).__name__)[:300]
