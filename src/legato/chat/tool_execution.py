"""One run of a tool within its time, whatever the tool does."""

import asyncio
import logging
from typing import Any

from legato.errors import LegatoError, ToolError
from legato.tools.base import Context, Tool

logger = logging.getLogger(__name__)

LEAVE_SECONDS = 2.0
"""Seconds to wait for a tool that was cancelled; one that does not end is left behind."""


async def run_tool(seconds: float, tool: Tool, arguments: dict[str, Any], context: Context) -> str:
    """Run a tool in a task of its own, so that a tool that cannot be cancelled delays nobody.

    :raises ToolError: it failed. :raises TimeoutError: it took too long.
    """
    task = asyncio.create_task(_contained(tool, arguments, context), name=f"tool {tool.spec.name}")
    try:
        done, _ = await asyncio.wait((task,), timeout=seconds)
        if not done:
            raise TimeoutError
    finally:
        if not task.done():
            await _leave(task)
    if task.cancelled():
        raise ToolError("The tool was cut off before it was done.")
    error = task.exception()
    if error is None:
        return task.result()
    if isinstance(error, LegatoError):
        raise ToolError(error.message)
    logger.error("The tool %s failed in a way it should not", tool.spec.name, exc_info=error)
    raise ToolError("The tool failed in a way it should not. The server's log says more.")


async def _contained(tool: Tool, arguments: dict[str, Any], context: Context) -> str:
    """Run a tool, and turn an attempt to end the process into an error: command lines that are used as tools do that."""
    try:
        return await tool.run(arguments, context)
    except (SystemExit, KeyboardInterrupt) as error:
        raise RuntimeError(f"it wanted to end the process ({error!r})") from error


async def _leave(task: "asyncio.Task[str]") -> None:
    task.cancel()
    await asyncio.wait((task,), timeout=LEAVE_SECONDS)
    if not task.done():
        logger.warning("%s does not stop; it is left behind", task.get_name())
        task.add_done_callback(_heard)
    else:
        _heard(task)


def _heard(task: "asyncio.Task[str]") -> None:
    """Take the exception of a task that nobody waits for, so that asyncio does not report it as never retrieved."""
    if not task.cancelled():
        task.exception()
