"""One server process: create and start its components, open the ports, and stop everything in order."""

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
from functools import partial
from typing import Any, Literal

import uvicorn
from starlette.applications import Starlette
from starlette.types import ASGIApp

from legato.event_loop import call_when_told_to_stop, new_loop
from legato.gateway.agent_endpoint import ANY_PATH, AgentEndpoints, AgentKeys
from legato.gateway.app import make_app
from legato.gateway.auth import known_hosts
from legato.gateway.dependencies import ServerContext
from legato.gateway.descriptors import connections_within, raise_limit
from legato.gateway.dialects import DialectEndpoints
from legato.gateway.environment import misspelled
from legato.gateway.middleware import PrefixMiddleware
from legato.gateway.settings import Settings, http_address
from legato.gateway.sockets import listen
from legato.gateway.websocket import ConnectionLimiter, Limits, Origins, PathPrefix, open_endpoints
from legato.gateway.websocket.path_prefix import TrustedProxies
from legato.gateway.wiring import Wired, wire
from legato.logs import set_up_logs

logger = logging.getLogger(__name__)

DRAIN_SECONDS = 5.0
"""How long running replies may continue after the request to stop. The next start continues the others."""

GRACE_SECONDS = 2
"""How long requests may continue after that. Event streams do not: they are ended, and resume with the next server."""

ABORT_SECONDS = 1.5
"""How much of that time a client has to read the rest and to answer a close."""

EXIT_SECONDS = 2.0
"""How long to wait for what still runs then. All data is stored by then."""

EXPIRY_SECONDS = 2.0
"""How often expired tokens of sockets and event streams are looked for."""

BACKLOG = 4096


def serve(settings: Settings) -> int:
    """Run the server until it is told to stop. Return the exit status.

    :raises LegatoError: it cannot start; the sentence says why and what to do.
    """
    set_up_logs()
    for name, meant in misspelled(os.environ):
        logger.warning("%s is no setting. Did you mean %s?", name, meant)
    if os.environ.get("LEGATO_REDIS_URL"):
        logger.warning("LEGATO_REDIS_URL does nothing yet: this server keeps its running replies to itself.")
    with asyncio.Runner(loop_factory=new_loop) as runner:
        status = runner.run(Server(settings).run())
        _exit_soon(status)
    return status


def _exit_soon(status: int) -> None:
    """End the process even if something in it does not end: a tool's thread cannot be cancelled, and Python waits for it."""

    def end() -> None:
        logger.warning("Something in a tool or an engine does not end; the server ends without it")
        logging.shutdown()
        sys.stdout.flush()
        os._exit(status)

    watch = threading.Timer(EXIT_SECONDS, end)
    watch.daemon = True
    watch.start()


class Server:
    """One server. `run` is its whole life. `address` is set with `started`, and so is `agents_address` if agents have a port of
    their own.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.started = asyncio.Event()
        self.address = ""
        self.agents_address = ""
        self._agents_uvicorn: _Uvicorn | None = None
        self._starting: asyncio.Task[None] | None = None
        self._start_cancelled = False
        self._stopping: asyncio.Task[None] | None = None
        self._uvicorn: _Uvicorn | None = None
        self._context: ServerContext | None = None

    async def run(self) -> int:
        """Run until `stop` is called, and return the exit status. A server that is stopped while it starts ends there."""
        starting = self._starting = asyncio.create_task(self._run(), name="server")
        call_when_told_to_stop(self.stop)
        try:
            await starting
        except asyncio.CancelledError:
            if not self._start_cancelled:
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
                self._context = wired.context
                await self._serve(wired, listening, second)

    def stop(self) -> None:
        """Accept nothing new, give running replies time to end, then end. A second call ends at once."""
        if self._uvicorn is None:
            if self._starting is not None and not self._start_cancelled:
                self._start_cancelled = True
                self._starting.cancel()
            return
        if self._stopping is not None:
            for server in (self._uvicorn, self._agents_uvicorn):
                if server is not None:
                    server.should_exit = server.force_exit = True
            return
        self._stopping = asyncio.get_running_loop().create_task(self._drain(self._uvicorn))

    async def _drain(self, server: "_Uvicorn") -> None:
        if self._context is not None:
            await asyncio.gather(
                self._context.service.drain(DRAIN_SECONDS),
                self._context.sse_responses.drain(DRAIN_SECONDS),
                self._context.generations.drain(DRAIN_SECONDS),
            )
        server.should_exit = True

    async def _serve(self, wired: Wired, listening: socket.socket, second: socket.socket | None) -> None:
        settings = self.settings.server
        origins = Origins(settings.cors_origins, known_hosts(self.settings))
        prefix = PathPrefix(settings.root_path)
        dialects = DialectEndpoints(self.settings, wired.context)
        app = make_app(
            wired.context,
            origins,
            lambda: dialects.sockets,
            upload_bytes=self.settings.attachments.max_bytes,
        )
        agents = AgentEndpoints(wired.context.fleet, AgentKeys.from_settings(self.settings))
        connections = ConnectionLimiter(
            connections_within(raise_limit()), partial(wired.context.limits.count_refusal, "connections")
        )
        options = open_endpoints(
            app,
            [*dialects.endpoints(), agents.endpoint()],
            transport=settings.websocket,
            limits=Limits(frame_bytes=settings.max_frame_bytes),
            origins=origins,
            prefix=prefix,
            connections=connections,
        )
        server = self._uvicorn = _uvicorn(
            app,
            options,
            prefix,
            ready=self._ready,
            ending=wired.context.sse_responses.close,
        )
        self.address = http_address(settings.host, listening.getsockname()[1])
        expiring = asyncio.create_task(
            _expire(dialects.expire, wired.context.sse_responses.expire), name="token expiry"
        )
        agents_task: asyncio.Task[None] | None = None
        if second is not None:
            self.agents_address = http_address(settings.host, second.getsockname()[1]).replace(
                "http", "ws", 1
            )
            self._agents_uvicorn = _agents_server(agents, settings.websocket, origins)
            agents_task = asyncio.create_task(
                self._agents_uvicorn.serve(sockets=[second]), name="agents' port"
            )
        try:
            await server.serve(sockets=[listening])
        finally:
            expiring.cancel()
            if self._agents_uvicorn is not None and agents_task is not None:
                self._agents_uvicorn.should_exit = True
                await agents_task

    def _ready(self) -> None:
        # With 10,000 running replies a full collection takes 400 ms. Each tick of the journal creates thousands of objects
        # that are freed when it ends. If they were collected earlier, they would count as old and cause a full collection.
        gc.set_threshold(20_000, 5, 100)
        gc.collect()
        gc.freeze()
        self.started.set()
        if self.agents_address:
            logger.info("Agents dial in with: legato agent --server %s", self.agents_address)
        sys.stdout.write(f"Legato is ready at {self.address}\n")
        sys.stdout.flush()


class _Uvicorn(uvicorn.Server):
    """Uvicorn without its signal handlers: it would exit with the status of a signal, and close sockets before replies end.

    `ready` is called when it accepts requests, `ending` before it asks running requests to end.
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
        abort = asyncio.get_running_loop().call_later(ABORT_SECONDS, self._abort_connections)
        try:
            await super().shutdown(sockets)
        finally:
            abort.cancel()

    def _abort_connections(self) -> None:
        """Abort requests whose client reads nothing; otherwise the shutdown would wait for them until they are cancelled."""
        for connection in list(self.server_state.connections):
            connection.transport.abort()


def _agents_server(
    agents: AgentEndpoints, transport: Literal["direct", "asgi"], origins: Origins
) -> _Uvicorn:
    """Return a server for agents only, which accepts any path."""
    app = Starlette()
    options = open_endpoints(app, [agents.endpoint(ANY_PATH)], transport=transport, origins=origins)
    return _uvicorn(app, options, PathPrefix())


def _nothing() -> None:
    pass


def _uvicorn(
    app: ASGIApp,
    options: Mapping[str, Any],
    prefix: PathPrefix,
    *,
    ready: Callable[[], None] = _nothing,
    ending: Callable[[], None] = _nothing,
) -> _Uvicorn:
    """Return Uvicorn for one port, with the options that `open_endpoints` returned."""
    config = uvicorn.Config(
        app,
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        backlog=BACKLOG,
        timeout_graceful_shutdown=GRACE_SECONDS,
        **options,
    )
    config.load()
    # Outside of Uvicorn's own middleware, which replaces the address of the proxy with that of the client.
    trusted = TrustedProxies(config.forwarded_allow_ips)
    config.loaded_app = PrefixMiddleware(config.loaded_app, prefix, trusted)
    return _Uvicorn(config, ready, ending)


async def _expire(*expire: Callable[[float], None]) -> None:
    while True:
        await asyncio.sleep(EXPIRY_SECONDS)
        for each in expire:
            try:
                each(time.time())
            except Exception:
                logger.exception(
                    "Some connections with an expired token could not be closed; the next check tries again"
                )
