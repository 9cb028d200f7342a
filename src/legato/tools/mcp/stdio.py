"""An MCP server that is a program, over its pipes: a transport for the SDK, one line of JSON for each message.

The SDK's own transport accepts lines of any length and copies the incomplete line at every read, so that one long answer
of one tool delays all users.
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

MAX_MESSAGE_BYTES = 4 * 1024 * 1024
"""The largest message of a server: a screenshot fits."""

GRACE_SECONDS = 2.0
"""How long a program may take to end after its input ended, and again after SIGTERM; then it is killed."""

STDERR_LINE = 1000
"""Bytes of a line on stderr that go into the log."""

STDERR_LINES = 5.0
"""Lines a second of stderr that go into the log for long."""

STDERR_BURST_SECONDS = 20.0

_FLUSH_SECONDS = 0.5
_CHUNK = 64 * 1024


class StdioTransport:
    """One run of the program `command`. It inherits few environment variables and gets `env`.

    `overflowed`: it sent too much in one message and was killed.
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
        """Start the program. It has ended when the context is left.

        :raises OSError: it cannot be started.
        """
        process = await asyncio.create_subprocess_exec(
            *self._command, stdin=PIPE, stdout=PIPE, stderr=PIPE, env=self._env, start_new_session=True
        )
        received_writer, received = anyio.create_memory_object_stream[SessionMessage | Exception](0)
        sent, to_send = anyio.create_memory_object_stream[SessionMessage](0)
        reading = asyncio.create_task(self._read(process, received_writer))
        logging_errors = asyncio.create_task(self._log_errors(process))
        writing = asyncio.create_task(_write(process, to_send, received_writer))
        try:
            yield received, sent
        finally:
            received.close()
            sent.close()
            try:
                await asyncio.wait((writing,), timeout=_FLUSH_SECONDS)
                await _end(process)
            finally:
                _signal(process, kill=True)
                tasks = (reading, writing, logging_errors)
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    async def _read(
        self, process: Process, received_writer: MemoryObjectSendStream[SessionMessage | Exception]
    ) -> None:
        if (stdout := process.stdout) is None:
            return
        lines = LineBuffer(MAX_MESSAGE_BYTES)
        async with received_writer:
            try:
                while data := await stdout.read(_CHUNK):
                    for line in lines.feed(data):
                        await received_writer.send(_message(line))
            except LineTooLongError:
                self.overflowed = True
                _signal(process, kill=True)
            except (anyio.BrokenResourceError, anyio.ClosedResourceError):
                logger.debug("The session of %s ended before its server", self._command[0])
        # Read the rest: a program that blocks in writing cannot end.
        while await stdout.read(_CHUNK):
            pass

    async def _log_errors(self, process: Process) -> None:
        """Write what the program prints to stderr into the log, line by line: never raw, and not without a bound."""
        if (stderr := process.stderr) is None:
            return
        allowed = RateLimiter(STDERR_LINES, STDERR_BURST_SECONDS)
        now = asyncio.get_running_loop().time
        kept, dropped = b"", 0
        while data := await stderr.read(_CHUNK):
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
    to_send: MemoryObjectReceiveStream[SessionMessage],
    received_writer: MemoryObjectSendStream[SessionMessage | Exception],
) -> None:
    if (stdin := process.stdin) is None:
        return
    try:
        async with to_send:
            async for message in to_send:
                line = message.message.model_dump_json(by_alias=True, exclude_unset=True)
                stdin.write(line.encode() + b"\n")
                await stdin.drain()
    except OSError:
        # Tell waiting callers that no answer comes, although the program may still run.
        await received_writer.aclose()


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
    """Send a signal to the program and everything that it started; nothing if it has ended."""
    if process.returncode is not None:
        return
    with suppress(ProcessLookupError, PermissionError):
        if sys.platform == "win32":
            process.kill() if kill else process.terminate()
        else:
            os.killpg(process.pid, signal.SIGKILL if kill else signal.SIGTERM)
