"""A program that is an MCP server, spoken to through its pipes: a transport for the SDK, a line of JSON a message.

The SDK's own takes lines of any length and copies what it has of one at every piece that comes, so that a long answer of
one person's tool holds up everybody.
"""

import asyncio
import logging
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.client.stdio import get_default_environment
from mcp.shared.message import SessionMessage
from mcp_types import jsonrpc_message_adapter

from legato.broker.rate_limit import RateLimiter
from legato.engines.line_buffer import LineBuffer, LineTooLongError

logger = logging.getLogger(__name__)

LARGEST = 4 * 1024 * 1024
"""Bytes of one message of a server, at most: a screenshot fits."""

GRACE_SECONDS = 2.0
"""How long a program may take to end once its input ended, and once more when it was told to; then it is killed."""

STDERR_LINE = 1000
"""Bytes of a line on stderr that go into the log."""

STDERR_LINES = 5.0
"""Lines a second of stderr that go into the log for long."""

STDERR_BURST_SECONDS = 20.0

_FLUSH_SECONDS = 0.5
_PIECE = 64 * 1024


class StdioTransport:
    """One run of the program `command`, which inherits few variables and gets `env`.

    `overflowed`: it said more in one message than it may, and was killed.
    """

    def __init__(self, command: Sequence[str], env: Mapping[str, str]) -> None:
        self._command = tuple(command)
        self._env = {**get_default_environment(), **env}
        self.overflowed = False

    @asynccontextmanager
    async def open(
        self,
    ) -> AsyncIterator[
        tuple[MemoryObjectReceiveStream[SessionMessage | Exception], MemoryObjectSendStream[SessionMessage]]
    ]:
        """Start it. It has ended when this is left.

        :raises OSError: it cannot be started.
        """
        process = await asyncio.create_subprocess_exec(
            *self._command, stdin=PIPE, stdout=PIPE, stderr=PIPE, env=self._env, start_new_session=True
        )
        told, heard = anyio.create_memory_object_stream[SessionMessage | Exception](0)
        said, to_say = anyio.create_memory_object_stream[SessionMessage](0)
        reading = asyncio.create_task(self._read(process, told))
        logging_errors = asyncio.create_task(self._log_errors(process))
        writing = asyncio.create_task(_write(process, to_say, told))
        try:
            yield heard, said
        finally:
            heard.close()
            said.close()
            try:
                await asyncio.wait((writing,), timeout=_FLUSH_SECONDS)
                await _end(process)
            finally:
                _signal(process, kill=True)
                tasks = (reading, writing, logging_errors)
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    async def _read(self, process: Process, told: MemoryObjectSendStream[SessionMessage | Exception]) -> None:
        if (stdout := process.stdout) is None:
            return
        lines = LineBuffer(LARGEST)
        async with told:
            try:
                while data := await stdout.read(_PIECE):
                    for line in lines.feed(data):
                        await told.send(_message(line))
            except LineTooLongError:
                self.overflowed = True
                _signal(process, kill=True)
            except (anyio.BrokenResourceError, anyio.ClosedResourceError):
                logger.debug("The session of %s ended before its server", self._command[0])
        # One that is stuck in writing can neither read that it is to end nor end.
        while await stdout.read(_PIECE):
            pass

    async def _log_errors(self, process: Process) -> None:
        """Write what the program prints to stderr into the log, line by line: never raw, and not without a bound."""
        if (stderr := process.stderr) is None:
            return
        allowed = RateLimiter(STDERR_LINES, STDERR_BURST_SECONDS)
        now = asyncio.get_running_loop().time
        kept, dropped = b"", 0
        while data := await stderr.read(_PIECE):
            *lines, kept = (kept + data).split(b"\n")
            if len(kept) > STDERR_LINE:
                lines, kept = [*lines, kept[:STDERR_LINE]], b""
            for line in filter(None, map(bytes.strip, lines)):
                if not allowed.allows(now()):
                    dropped += 1
                    continue
                if dropped:
                    logger.warning("%s printed %d more lines", self._command[0], dropped)
                    dropped = 0
                logger.info("%s: %s", self._command[0], line[:STDERR_LINE].decode("utf-8", "replace"))


async def _write(
    process: Process,
    to_say: MemoryObjectReceiveStream[SessionMessage],
    told: MemoryObjectSendStream[SessionMessage | Exception],
) -> None:
    if (stdin := process.stdin) is None:
        return
    try:
        async with to_say:
            async for message in to_say:
                line = message.message.model_dump_json(by_alias=True, exclude_unset=True)
                stdin.write(line.encode() + b"\n")
                await stdin.drain()
    except OSError:
        # Who waits for an answer is to hear that none comes, though the program may still be there.
        await told.aclose()


def _message(line: bytes) -> SessionMessage | Exception:
    try:
        return SessionMessage(jsonrpc_message_adapter.validate_json(line, by_name=False))
    except ValueError as error:
        return error


async def _end(process: Process) -> None:
    if process.stdin is not None:
        process.stdin.close()
    for kill in (False, True):
        with suppress(TimeoutError):
            async with asyncio.timeout(GRACE_SECONDS):
                await process.wait()
        if process.returncode is not None:
            return
        _signal(process, kill=kill)
    with suppress(TimeoutError):
        async with asyncio.timeout(GRACE_SECONDS):
            await process.wait()


def _signal(process: Process, *, kill: bool) -> None:
    """To it and to what it started; nothing where it has ended."""
    if process.returncode is not None:
        return
    with suppress(ProcessLookupError, PermissionError):
        if sys.platform == "win32":
            process.kill() if kill else process.terminate()
        else:
            os.killpg(process.pid, signal.SIGKILL if kill else signal.SIGTERM)
