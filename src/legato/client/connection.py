"""The connection of a client: it opens a socket, reconnects, and moves messages between the socket and the state."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator

import msgspec
from msgspec import Struct
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from legato.client.connect import close_reason, close_socket, connect
from legato.client.heartbeat import HeartbeatTimer
from legato.client.listeners import Listeners
from legato.client.open_socket import HANDSHAKE_SECONDS
from legato.client.state import ClientState
from legato.errors import LegatoError, UnreachableError
from legato.protocol.messages import PROTOCOL, Hello, ServerMessage

logger = logging.getLogger(__name__)

_decode = msgspec.json.Decoder(ServerMessage).decode
encode = msgspec.json.Encoder().encode


class ClientConnected(Struct, frozen=True):
    """The server is connected. `reconnected`: it was connected before."""

    reconnected: bool


class Disconnected(Struct, frozen=True):
    """The connection is lost, and tried again in `seconds`. No message and no reply is lost with it."""

    reason: str
    seconds: float


ConnectionChange = ClientConnected | Disconnected


class ServerConnection:
    """Connects to `url`, and again whenever the connection is lost, until `close` or a refusal for good.

    `delays` gives the seconds before each attempt to reconnect. `error` says why the connection ended for good.
    """

    def __init__(
        self,
        url: str,
        token: str | None,
        ticket: Callable[[], Awaitable[str]] | None,
        on_change: Callable[[ConnectionChange], None],
        delays: Callable[[], Iterator[float]],
    ) -> None:
        self.state = ClientState()
        self.listeners = Listeners(self.state, self.wake)
        self.error: LegatoError | None = None
        self._url = url
        self._token = token
        self._ticket = ticket
        self._on_change = on_change
        self._delays = delays
        self._outgoing = asyncio.Event()
        self._welcomed = asyncio.Event()
        self._was_connected = False
        self._is_dead = False
        self._task: asyncio.Task[None] | None = None

    @property
    def is_open(self) -> bool:
        """Whether `open` was called."""
        return self._task is not None

    def wake(self) -> None:
        """Send what the state has to send."""
        self._outgoing.set()

    async def open(self) -> None:
        """Connect, and wait for the server's welcome.

        :raises LegatoError: as `Client.__aenter__`.
        """
        socket = await self._connect()
        self._task = asyncio.create_task(self._run(socket))
        welcomed = asyncio.create_task(self._welcomed.wait())
        try:
            await asyncio.wait(
                {welcomed, self._task}, timeout=HANDSHAKE_SECONDS, return_when=asyncio.FIRST_COMPLETED
            )
            if self.error is not None:
                raise self.error
            if not self._welcomed.is_set():
                raise UnreachableError(f"What answers at {self._url} does not speak {PROTOCOL}.")
        except BaseException:
            await self.close()
            raise
        finally:
            welcomed.cancel()

    async def close(self) -> None:
        """Close the socket, and end everything that waits for the server."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._end(LegatoError("The client was closed."))

    async def _run(self, socket: ClientConnection) -> None:
        """Exchange messages, and reconnect, until the server refuses for good."""
        delays = self._delays()
        try:
            while True:
                reason = await self._exchange(socket)
                if self._welcomed.is_set():
                    delays = self._delays()
                self._welcomed.clear()
                self.state.disconnected()
                socket = await self._reconnect(reason, delays)
        except LegatoError as error:
            self._end(error)
        except Exception as error:
            logger.exception("the client failed")
            self._end(LegatoError(f"The client failed in a way it should not: {error}"))

    async def _reconnect(self, reason: str, delays: Iterator[float]) -> ClientConnection:
        for delay in delays:
            self._on_change(Disconnected(reason, delay))
            await asyncio.sleep(delay)
            try:
                return await self._connect()
            except UnreachableError as error:
                reason = error.message
        raise UnreachableError(reason)

    async def _connect(self) -> ClientConnection:
        ticket = await self._ticket() if self._ticket is not None else None
        socket = await connect(self._url, self._token if ticket is None else None)
        self.listeners.last_error, self._is_dead = None, False
        # A server that authenticates is silent until it gets credentials: say hello unless the handshake had a token.
        self.state.connected(Hello(ticket=ticket) if ticket is not None or self._token is None else None)
        return socket

    async def _exchange(self, socket: ClientConnection) -> str:
        """Send and receive until the connection ends. Return why, if the client may reconnect."""
        receiving = asyncio.create_task(self._receive(socket))
        sending = asyncio.create_task(self._send(socket))
        try:
            await asyncio.wait({receiving, sending}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            sending.cancel()
            receiving.cancel()
            sent, received = await asyncio.gather(sending, receiving, return_exceptions=True)
            await close_socket(socket, self._is_dead)
        for outcome in (received, sent):
            if isinstance(outcome, ConnectionClosed):
                return close_reason(outcome, self.listeners.last_error)
            if isinstance(outcome, Exception):
                raise outcome
        return str(received)

    async def _send(self, socket: ClientConnection) -> None:
        while True:
            self._outgoing.clear()
            for message in self.state.take_outgoing():
                await socket.send(encode(message), text=True)
            await self._outgoing.wait()

    async def _receive(self, socket: ClientConnection) -> str:
        """Receive until the connection is useless, and return why."""
        now = asyncio.get_running_loop().time
        heartbeat = HeartbeatTimer(now())
        while True:
            try:
                async with asyncio.timeout(heartbeat.seconds_until_action(now())):
                    frame = await socket.recv(decode=False)
            except TimeoutError:
                match heartbeat.action(now()):
                    case "ping":
                        self.state.ping()
                        self.wake()
                    case "dead":
                        self._is_dead = True
                        return "the server fell silent"
                continue
            heartbeat.received(now())
            self._take(frame)
            if self.state.welcome is not None and not self._welcomed.is_set():
                heartbeat = HeartbeatTimer(now(), self.state.welcome.heartbeat)
                self._welcomed.set()
                self._on_change(ClientConnected(self._was_connected))
                self._was_connected = True
            if self.state.failure is not None:
                return self.state.failure

    def _take(self, frame: bytes) -> None:
        """Give a frame to the state, and its events to the listeners."""
        try:
            self.state.receive(_decode(frame))
        except msgspec.DecodeError as error:
            if not self._welcomed.is_set():
                raise LegatoError(
                    f"What answers at {self._url} does not speak {PROTOCOL}: {error}."
                ) from None
            # A newer server may send messages that this client does not know; gaps are requested again.
            logger.warning("a message was not understood: %s", error)
        for event in self.state.take_events():
            self.listeners.dispatch(event)
        self.wake()

    def _end(self, error: LegatoError) -> None:
        if self.error is None:
            self.error = error
            self.listeners.close(error)
