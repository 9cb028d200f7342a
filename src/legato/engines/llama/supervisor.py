"""Start the child process, watch it, restart it when it dies, and end it."""

import asyncio
import logging
import os
import secrets
import shutil
import sys
import tempfile
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from legato.backoff import exponential_delay
from legato.disk import is_disk_full
from legato.engines.llama.worker_protocol import (
    WorkerConfig,
    WorkerFailed,
    WorkerReady,
    decode_word,
    encode,
    socket_in,
)
from legato.errors import EngineUnavailableError

log = logging.getLogger(__name__)

_TAIL_BYTES: Final = 8192
_TAIL_LINES: Final = 20


class WorkerProcess:
    """One child process, from when it accepts requests. `pid` is the process that runs the model."""

    def __init__(self, socket: Path, key: str, pid: int, dead: asyncio.Event) -> None:
        self.socket = socket
        self.key = key
        self.pid = pid
        self._dead = dead

    @property
    def alive(self) -> bool:
        return not self._dead.is_set()

    async def died(self, within: float) -> bool:
        """Return whether it is dead, or dies `within` seconds: a connection breaks a moment before its process ends."""
        try:
            async with asyncio.timeout(within):
                await self._dead.wait()
        except TimeoutError:
            return False
        return True


class Supervisor:
    """Keeps one child alive. `launch` starts it with a socket and a key; `explain` describes a failure.

    A child that dies while it runs is restarted: at once, and then, until one has `worked`, after 0.5, 1, 2 … 30 s. A child
    that cannot start is tried again only on request, and not before the same delay.
    """

    def __init__(self, launch: Callable[[Path, str], WorkerConfig], explain: Callable[[str], str]) -> None:
        self._launch = launch
        self._explain = explain
        self._deaths = 0
        self._retry_at = 0.0
        self._task: asyncio.Task[None] | None = None
        self._current: asyncio.Future[WorkerProcess] | None = None

    @property
    def child(self) -> WorkerProcess | None:
        """The child that accepts requests now, if there is one."""
        current = self._current
        if (
            current is None
            or not current.done()
            or current.exception() is not None
            or not current.result().alive
        ):
            return None
        return current.result()

    @property
    def failure(self) -> EngineUnavailableError | None:
        """Why there is no child and none is starting."""
        current = self._current
        error = current.exception() if current is not None and current.done() else None
        return error if isinstance(error, EngineUnavailableError) else None

    def start(self) -> None:
        """Start a child, unless there is one, one is starting, or it is too early to try again."""
        loop = asyncio.get_running_loop()
        if self._task is None or (self._task.done() and loop.time() >= self._retry_at):
            self._current = loop.create_future()
            self._task = loop.create_task(self._run(), name="llama supervisor")

    async def ready(self) -> WorkerProcess:
        """Wait for the child until it accepts requests, and return it.

        :raises EngineUnavailableError: it cannot start.
        """
        self.start()
        if self._current is None:
            raise AssertionError
        return await asyncio.shield(self._current)

    def worked(self) -> None:
        """Record that a reply was completed: the model is not the reason if the child dies later."""
        self._deaths = 0

    async def close(self) -> None:
        """End the child. When this returns, it is gone, and so is its socket."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
        if self._current is not None and not self._current.done():
            self._current.cancel()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                await self._run_child()
            except EngineUnavailableError as error:
                self._deaths += 1
                self._retry_at = loop.time() + self._delay()
                log.warning("%s", error.message)
                if self._current is not None:
                    self._current.set_exception(error)
                    self._current.exception()
                return
            self._deaths += 1
            await asyncio.sleep(self._delay())

    def _delay(self) -> float:
        return exponential_delay(self._deaths - 2, 0.5, 30.0) if self._deaths > 1 else 0.0

    async def _run_child(self) -> None:
        """Run one child, from its start to its death.

        :raises EngineUnavailableError: it died before it accepted requests.
        """
        parent = _socket_directory()
        try:
            directory = Path(tempfile.mkdtemp(prefix="legato-llama-", dir=parent))
        except OSError as error:
            why = f"the disk of {parent} is full, make room there" if is_disk_full(error) else str(error)
            raise EngineUnavailableError(self._explain(why)) from error
        try:
            process = await _spawn()
            tail = _OutputTail(process)
            try:
                await self._watch(process, tail, directory)
            finally:
                await _end(process)
                await tail.close()
        except OSError as error:
            raise EngineUnavailableError(self._explain(str(error))) from error
        finally:
            shutil.rmtree(directory, ignore_errors=True)

    async def _watch(self, process: Process, tail: "_OutputTail", directory: Path) -> None:
        socket, key = socket_in(directory), secrets.token_urlsafe(24)
        word = await self._read_first_message(process, socket, key)
        if not isinstance(word, WorkerReady):
            status = await process.wait()
            message = await tail.text()
            reason = word.reason if word else _exit_reason(status)
            raise EngineUnavailableError(self._explain(f"{reason}\n{message}".strip()))
        dead = asyncio.Event()
        if self._current is not None:
            self._current.set_result(WorkerProcess(socket, key, word.pid, dead))
        try:
            status = await process.wait()
        finally:
            dead.set()
            self._current = asyncio.get_running_loop().create_future()
        log.warning("The llama process is started again: %s.\n%s", _exit_reason(status), await tail.text())

    async def _read_first_message(
        self, process: Process, socket: Path, key: str
    ) -> WorkerReady | WorkerFailed | None:
        """Return the first message of the child; None if it dies without one."""
        if process.stdin is None or process.stdout is None:
            raise AssertionError
        try:
            process.stdin.write(encode(self._launch(socket, key)) + b"\n")
            await process.stdin.drain()
        except ConnectionError:
            return None
        line = await process.stdout.readline()
        try:
            return decode_word.decode(line)
        except msgspec.DecodeError:
            return None


class _OutputTail:
    """The end of what a process writes to its standard error."""

    def __init__(self, process: Process) -> None:
        self._bytes = b""
        self._task = asyncio.get_running_loop().create_task(self._read(process))

    async def text(self) -> str:
        """Return all of it, when the process is gone."""
        await asyncio.wait([self._task], timeout=1.0)
        lines = self._bytes.decode("utf-8", "replace").strip().splitlines()
        return "\n".join(lines[-_TAIL_LINES:])

    async def close(self) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])

    async def _read(self, process: Process) -> None:
        if process.stderr is None:
            raise AssertionError
        while data := await process.stderr.read(65536):
            log.debug("llama: %s", data.decode("utf-8", "replace").rstrip())
            self._bytes = (self._bytes + data)[-_TAIL_BYTES:]


def _exit_reason(status: int) -> str:
    """Describe how a child ended by its exit status. The guard process reports a signal of the worker as 256 less it."""
    if status < 0 or status > 192:
        return f"it was ended by signal {-status if status < 0 else 256 - status}"
    return f"it ended with status {status}"


def _socket_directory() -> str:
    """Return a directory for sockets: the whole path must fit into about a hundred bytes."""
    usual = tempfile.gettempdir()
    return usual if len(os.fsencode(usual)) < 70 else "/tmp"  # noqa: S108 - the directory in it is ours alone


async def _spawn() -> Process:
    starting = asyncio.ensure_future(
        asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "legato.engines.llama.worker"),
            stdin=PIPE,
            stdout=PIPE,
            stderr=PIPE,
            # Ctrl-C in a terminal reaches the whole session; the supervisor decides when the child ends.
            start_new_session=True,
        )
    )
    try:
        return await asyncio.shield(starting)
    except asyncio.CancelledError:
        # A process that is not fully started cannot be ended.
        await asyncio.wait([starting])
        if starting.exception() is None:
            await _end(starting.result())
        raise


async def _end(process: Process) -> None:
    """Close the input as the sign to end; a process that ignores it is killed. It is reaped in both cases."""
    if process.returncode is None and process.stdin is not None:
        process.stdin.close()
        try:
            async with asyncio.timeout(5.0):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
