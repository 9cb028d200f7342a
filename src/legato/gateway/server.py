"""One server process: its parts made and started, one port opened, and everything ended in order."""

import asyncio
import gc
import logging
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, Literal

import uvicorn
from starlette.applications import Starlette
from starlette.types import ASGIApp

from legato.event_loop import call_when_told_to_stop, new_loop
from legato.gateway.agent_endpoint import ANY_PATH, AgentEndpoints, AgentKeys
from legato.gateway.app import make_app
from legato.gateway.auth import known_hosts
from legato.gateway.config import misspelt
from legato.gateway.dependencies import ServerContext
from legato.gateway.dialects import DialectEndpoints
from legato.gateway.settings import Settings, http_address
from legato.gateway.sockets import listen
from legato.gateway.websocket import Limits, Origins, open_doors
from legato.gateway.wiring import Wired, wire
from legato.logs import set_up_logs

logger = logging.getLogger(__name__)

DRAIN_SECONDS = 5.0
"""How long running replies may go on once the server was told to stop. What remains is taken up by the next start."""

GRACE_SECONDS = 2
"""How long requests may go on behind that. Streams of events do not: they are cut, and go on with the next server."""

HANG_UP_SECONDS = 1.5
"""How long, of those, a client may take to read the end of what it was told, and to answer a close."""

LEFT_SECONDS = 2.0
"""How long what then still runs is waited for: all that is to be kept is stored."""

EXPIRY_SECONDS = 2.0
"""How often sockets and streams of events are held against the end of their tokens."""

BACKLOG = 4096


def serve(settings: Settings) -> int:
    """Run the server until it is told to stop; the exit status.

    :raises LegatoError: it cannot start, with a sentence that says why and what to do.
    """
    set_up_logs()
    for name, meant in misspelt(os.environ):
        logger.warning("%s is no setting. Did you mean %s?", name, meant)
    if os.environ.get("LEGATO_REDIS_URL"):
        logger.warning("LEGATO_REDIS_URL does nothing yet: this server keeps its running replies to itself.")
    with asyncio.Runner(loop_factory=new_loop) as runner:
        status = runner.run(Server(settings).run())
        _end_soon(status)
    return status


def _end_soon(status: int) -> None:
    """End the process, also where something in it does not: a tool's thread cannot be cancelled, and Python waits for it."""

    def end() -> None:
        logger.warning("Something in a tool or an engine does not end; the server ends without it")
        logging.shutdown()
        sys.stdout.flush()
        os._exit(status)

    watch = threading.Timer(LEFT_SECONDS, end)
    watch.daemon = True
    watch.start()


class Server:
    """`run` is the whole life of it. `address` is there once `started` is set, and so is `agents_address`, where agents
    have a port of their own."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.started = asyncio.Event()
        self.address = ""
        self.agents_address = ""
        self._second: _Uvicorn | None = None
        self._starting: asyncio.Task[None] | None = None
        self._given_up = False
        self._stopping: asyncio.Task[None] | None = None
        self._uvicorn: _Uvicorn | None = None
        self._parts: ServerContext | None = None

    async def run(self) -> int:
        """The exit status, once `stop` was called. A server that is stopped while it starts ends there."""
        starting = self._starting = asyncio.create_task(self._run(), name="server")
        call_when_told_to_stop(self.stop)
        try:
            await starting
        except asyncio.CancelledError:
            if not self._given_up:
                raise
        return 0

    async def _run(self) -> None:
        settings = self.settings.server
        with ExitStack() as sockets:
            listening = sockets.enter_context(listen(self.settings, settings.port))
            second = None
            if settings.agents_port is not None:
                second = sockets.enter_context(listen(self.settings, settings.agents_port, "--agents-port"))
            async with wire(self.settings) as wired:
                self._parts = wired.parts
                await self._serve(wired, listening, second)

    def stop(self) -> None:
        """Take no more, let running replies end for a while, then end. The second call ends at once."""
        if self._uvicorn is None:
            if self._starting is not None and not self._given_up:
                self._given_up = True
                self._starting.cancel()
            return
        if self._stopping is not None:
            for server in (self._uvicorn, self._second):
                if server is not None:
                    server.should_exit = server.force_exit = True
            return
        self._stopping = asyncio.get_running_loop().create_task(self._drain(self._uvicorn))

    async def _drain(self, server: "_Uvicorn") -> None:
        if self._parts is not None:
            await asyncio.gather(
                self._parts.service.drain(DRAIN_SECONDS), self._parts.events.drain(DRAIN_SECONDS)
            )
        server.should_exit = True

    async def _serve(self, wired: Wired, listening: socket.socket, second: socket.socket | None) -> None:
        settings = self.settings.server
        origins = Origins(settings.cors_origins, known_hosts(self.settings))
        dialects = DialectEndpoints(self.settings, wired.parts)
        app = make_app(
            wired.parts,
            origins,
            lambda: dialects.sockets,
            upload_bytes=self.settings.attachments.max_bytes,
        )
        agents = AgentEndpoints(wired.parts.fleet, AgentKeys.from_settings(self.settings))
        doors = open_doors(
            app,
            [*dialects.endpoints(), agents.door()],
            transport=settings.websocket,
            limits=Limits(frame_bytes=settings.max_frame_bytes),
            origins=origins,
        )
        server = self._uvicorn = _uvicorn(app, doors, ready=self._ready, ending=wired.parts.events.close)
        self.address = http_address(settings.host, listening.getsockname()[1])
        expiring = asyncio.create_task(
            _expire(dialects.expire, wired.parts.events.expire), name="token expiry"
        )
        beside: asyncio.Task[None] | None = None
        if second is not None:
            self.agents_address = http_address(settings.host, second.getsockname()[1]).replace(
                "http", "ws", 1
            )
            self._second = _second(agents, settings.websocket, origins)
            beside = asyncio.create_task(self._second.serve(sockets=[second]), name="agents' port")
        try:
            await server.serve(sockets=[listening])
        finally:
            expiring.cancel()
            if self._second is not None and beside is not None:
                self._second.should_exit = True
                await beside

    def _ready(self) -> None:
        # With 10,000 running replies a full collection takes 400 ms. Each tick of the journal makes thousands of objects
        # that are gone when it ends: collected too early they count as old, and bring the next full collection near.
        gc.set_threshold(20_000, 5, 100)
        gc.collect()
        gc.freeze()
        self.started.set()
        if self.agents_address:
            logger.info("Agents dial in with: legato agent --server %s", self.agents_address)
        sys.stdout.write(f"Legato is ready at {self.address}\n")
        sys.stdout.flush()


class _Uvicorn(uvicorn.Server):
    """Uvicorn, whose signals are ours: it would end with a signal's exit status, and close sockets before replies end.

    `ready` is called when it takes requests, `ending` before it asks for the end of those it has.
    """

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None], ending: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready
        self._ending = ending

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._ending()
        late = asyncio.get_running_loop().call_later(HANG_UP_SECONDS, self._hang_up)
        try:
            await super().shutdown(sockets)
        finally:
            late.cancel()

    def _hang_up(self) -> None:
        """A request whose client reads nothing would else wait for it until it is cancelled."""
        for connection in list(self.server_state.connections):
            connection.transport.abort()


def _second(agents: AgentEndpoints, transport: Literal["direct", "asgi"], origins: Origins) -> _Uvicorn:
    """A server for agents only, who find it at any path."""
    app = Starlette()
    doors = open_doors(app, [agents.door(ANY_PATH)], transport=transport, origins=origins)
    return _uvicorn(app, doors)


def _nothing() -> None:
    pass


def _uvicorn(
    app: ASGIApp,
    doors: Mapping[str, Any],
    *,
    ready: Callable[[], None] = _nothing,
    ending: Callable[[], None] = _nothing,
) -> _Uvicorn:
    """Uvicorn for one port, with what `open_doors` made."""
    config = uvicorn.Config(
        app,
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        backlog=BACKLOG,
        timeout_graceful_shutdown=GRACE_SECONDS,
        **doors,
    )
    return _Uvicorn(config, ready, ending)


async def _expire(*expire: Callable[[float], None]) -> None:
    while True:
        await asyncio.sleep(EXPIRY_SECONDS)
        for each in expire:
            try:
                each(time.time())
            except Exception:
                logger.exception(
                    "Not all whose token has expired could be cut off; the next look tries it again"
                )
