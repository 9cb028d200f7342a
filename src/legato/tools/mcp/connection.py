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

from legato.tools.mcp.stdio import StdioTransport

logger = logging.getLogger(__name__)

CONNECT_SECONDS = 10.0
"""How long a server may take to come up and tell its tools."""

LEAVE_SECONDS = 8.0
"""How long a server may take to let itself be left; the SDK ends a program that does not within 6."""

TOOLS = 128
"""Tools of one server, at most."""

CONNECTION_CLOSED = -32000
"""The SDK's own code for a server that is gone."""


class McpConnection:
    """One connection, held by a task of its own: the SDK wants to be left in the task in which it was entered."""

    def __init__(
        self,
        make: "Callable[[McpConnection, AsyncExitStack], Awaitable[Client]]",
        changed: Callable[[list[Described]], None],
    ) -> None:
        """`changed` hears the tools whenever the server says that they are others now."""
        self._make = make
        self._changed = changed
        self._leave = asyncio.Event()
        self._news = asyncio.Event()
        self._ready: asyncio.Future[list[Described]] = asyncio.get_running_loop().create_future()
        self._task: asyncio.Task[None] | None = None
        self.pipes: StdioTransport | None = None
        self.client: Client

    @property
    def overflowed(self) -> bool:
        """Whether it ended because the server said too much at once."""
        return self.pipes is not None and self.pipes.overflowed

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
                self.client = await stack.enter_async_context(await self._make(self, stack))
                self._ready.set_result(await self._listed())
                watching = [asyncio.create_task(self._listen()), asyncio.create_task(self._read_news())]
                try:
                    await self._leave.wait()
                finally:
                    for task in watching:
                        task.cancel()
                    await asyncio.gather(*watching, return_exceptions=True)
        except asyncio.CancelledError:
            self._ready.cancel()
            raise
        except BaseException as error:  # noqa: BLE001 (it is raised where it is waited for, or said in the log)
            if not self._ready.done():
                self._ready.set_exception(error)
            elif not self._leave.is_set():
                logger.warning("An MCP server was lost: %s", why(error))

    async def hear(self, message: IncomingMessage) -> None:
        """Take what the server says by itself."""
        if isinstance(message, ToolListChangedNotification):
            self._news.set()

    async def _listed(self) -> list[Described]:
        tools: list[Described] = []
        cursor: str | None = None
        while len(tools) < TOOLS:
            listed = await self.client.list_tools(cursor=cursor)
            tools += listed.tools
            if not (cursor := listed.next_cursor):
                break
        return tools

    async def _listen(self) -> None:
        """Ask to be told of changes, where the protocol (from 2026-07-28) wants to be asked; they come to `hear`."""
        try:
            async with self.client.listen(tools_list_changed=True) as changes:
                # What changed before this was heard by nobody.
                self._news.set()
                async for _ in changes:
                    self._news.set()
        except (ListenNotSupportedError, SubscriptionLost, MCPError) as error:
            logger.debug("Changes of the tools are not listened to: %s", error)

    async def _read_news(self) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            try:
                self._changed(await self._listed())
            except MCPError as error:
                if error.code == CONNECTION_CLOSED:
                    return
                logger.warning("The tools of an MCP server changed and cannot be read: %s", error.message)


def why(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, TimeoutError):
        return f"it did not come up within {CONNECT_SECONDS:g} s"
    if isinstance(error, FileNotFoundError):
        return "there is no such program"
    return (str(error).strip().rstrip(".") or type(error).__name__)[:300]
