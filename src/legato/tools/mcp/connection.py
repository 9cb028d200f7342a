"""One connection to an MCP server, over the official SDK."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

from mcp import Client, MCPError
from mcp.client.session import IncomingMessage
from mcp.client.subscriptions import ListenNotSupportedError, SubscriptionLost
from mcp_types import Tool as Described
from mcp_types import ToolListChangedNotification

from legato.domain.validation import one_line
from legato.tools.mcp.stdio import StdioTransport
from legato.tools.mcp.tool_limits import MAX_TOOLS

logger = logging.getLogger(__name__)

CONNECT_SECONDS = 10.0
"""How long a server may take to start and list its tools."""

CLOSE_SECONDS = 8.0
"""How long closing a connection may take. The SDK ends a program that does not end by itself within 6 seconds."""

MAX_PAGES = 16
"""The maximum number of pages of a server's list of tools that are read."""

RELOAD_SECONDS = 0.2
"""The shortest time between two readings of the tools, however often a server says that they changed."""

CONNECTION_CLOSED = -32000
"""The SDK's error code for a lost server."""


class McpConnection:
    """One connection in a task of its own: the SDK must be closed in the task in which it was opened."""

    def __init__(
        self,
        make: "Callable[[McpConnection, AsyncExitStack], Awaitable[Client]]",
        changed: Callable[[list[Described]], None],
    ) -> None:
        """`changed` receives the tools whenever the server changes them."""
        self._client = make
        self._changed = changed
        self._closing = asyncio.Event()
        self._tools_changed = asyncio.Event()
        self._ready: asyncio.Future[list[Described]] = asyncio.get_running_loop().create_future()
        self._task: asyncio.Task[None] | None = None
        self.pipes: StdioTransport | None = None
        self._too_long = False
        self.client: Client

    @property
    def overflowed(self) -> bool:
        """Whether it ended because the server sent too much in one message."""
        return self._too_long or (self.pipes is not None and self.pipes.overflowed)

    def overflow(self) -> None:
        """Note that the server sent too much in one message."""
        self._too_long = True

    @property
    def alive(self) -> bool:
        return self._task is not None and not self._task.done()

    async def open(self) -> list[Described]:
        """Connect and return the tools of the server."""
        self._task = asyncio.create_task(self._run(), name="mcp")
        async with asyncio.timeout(CONNECT_SECONDS):
            return await asyncio.shield(self._ready)

    async def close(self) -> None:
        self._closing.set()
        if self._task is not None:
            if not self._ready.done():
                self._task.cancel()
            _, late = await asyncio.wait((self._task,), timeout=CLOSE_SECONDS)
            for task in late:
                task.cancel()
        if self._ready.done() and not self._ready.cancelled():
            self._ready.exception()

    async def _run(self) -> None:
        try:
            async with AsyncExitStack() as stack:
                self.client = await stack.enter_async_context(await self._client(self, stack))
                self._ready.set_result(await self._list_tools())
                tasks = [
                    asyncio.create_task(self._subscribe_to_changes()),
                    asyncio.create_task(self._reload_tools()),
                ]
                try:
                    await self._closing.wait()
                finally:
                    for task in tasks:
                        task.cancel()
                    await asyncio.gather(*tasks, return_exceptions=True)
        except asyncio.CancelledError:
            self._ready.cancel()
            raise
        except BaseException as error:  # noqa: BLE001 (it is raised in `open`, or logged)
            if not self._ready.done():
                self._ready.set_exception(error)
            elif not self._closing.is_set():
                logger.warning("An MCP server was lost: %s", reason_of(error))

    async def on_message(self, message: IncomingMessage) -> None:
        """Handle a message that the server sends by itself."""
        if isinstance(message, ToolListChangedNotification):
            self._tools_changed.set()

    async def _list_tools(self) -> list[Described]:
        tools: list[Described] = []
        cursor: str | None = None
        for _ in range(MAX_PAGES):
            listed = await self.client.list_tools(cursor=cursor)
            tools += listed.tools
            cursor = listed.next_cursor
            if not cursor or len(tools) > MAX_TOOLS:
                break
        return tools

    async def _subscribe_to_changes(self) -> None:
        """Subscribe to changes of the tools, as the protocol (from 2026-07-28) requires. They arrive at `on_message`."""
        try:
            async with self.client.listen(tools_list_changed=True) as changes:
                # Changes before the subscription were not reported.
                self._tools_changed.set()
                async for _ in changes:
                    self._tools_changed.set()
        except (ListenNotSupportedError, SubscriptionLost, MCPError) as error:
            logger.debug("Changes of the tools are not listened to: %s", error)

    async def _reload_tools(self) -> None:
        while True:
            await self._tools_changed.wait()
            self._tools_changed.clear()
            try:
                self._changed(await self._list_tools())
            except MCPError as error:
                if error.code == CONNECTION_CLOSED:
                    return
                logger.warning("The tools of an MCP server changed and cannot be read: %s", reason_of(error))
            await asyncio.sleep(RELOAD_SECONDS)


def reason_of(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, TimeoutError):
        return f"it did not come up within {CONNECT_SECONDS:g} s"
    if isinstance(error, FileNotFoundError):
        return "there is no such program"
    return one_line(str(error)[:2000], 300).rstrip(".") or type(error).__name__
