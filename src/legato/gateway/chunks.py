"""Server-sent events of the fleet: a reply token by token for browsers of the first generation, and the fleet's own state."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import msgspec
from fastapi import Response
from starlette.types import Receive, Scope, Send

from legato.engines.base import Request, ToolCall
from legato.errors import EngineBusyError, LegatoError, ModelNotFoundError
from legato.fleet.engine import FleetEngine
from legato.gateway.sse import HEADERS, KEEP_ALIVE
from legato.stream import State

logger = logging.getLogger(__name__)

DONE = b"data: [DONE]\n\n"
NO_AGENT = "No available agents"

OWED = 1024 * 1024
"""Bytes that a reader may leave unread; an agent cannot be told to wait."""

PAUSE = 0.25
"""Seconds between two states of the fleet, at least: many changes are told as one."""

_encode = msgspec.json.Encoder().encode


class Events(Response):
    """A response that is written to from outside, and emptied by the task of its request."""

    def __init__(self) -> None:
        self.status_code = 200
        self.background = None
        self.body = b""
        self.raw_headers = [*HEADERS[:1], (b"cache-control", b"no-cache"), *HEADERS[2:]]
        self._chunks: list[bytes] = []
        self._wake = asyncio.Event()
        self._over = False

    def begin(self) -> Callable[[], Any]:
        """Called once the response has begun; what it returns is called when it is over."""
        raise NotImplementedError

    def write(self, data: bytes) -> None:
        self._chunks.append(data)
        self._wake.set()

    def end(self) -> None:
        self._over = True
        self._wake.set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        gone = asyncio.ensure_future(_disconnected(receive))
        gone.add_done_callback(lambda _: self._wake.set())
        leave = self.begin()
        try:
            while not gone.done():
                over, body = self._over, b"".join(self._chunks)
                self._chunks.clear()
                if body or over:
                    await send({"type": "http.response.body", "body": body, "more_body": not over})
                if over:
                    break
                if not self._chunks and not self._over:
                    await self._news()
        finally:
            gone.cancel()
            leave()

    async def _news(self) -> None:
        self._wake.clear()
        try:
            async with asyncio.timeout(KEEP_ALIVE):
                await self._wake.wait()
        except TimeoutError:
            self.write(b": still here\n\n")


class TokenStream(Events):
    """A reply of the fleet, a token an event; the `Out` of its generation. A reader who leaves has it cancelled."""

    def __init__(self, fleet: FleetEngine, request: Request, parameters: dict[str, Any]) -> None:
        super().__init__()
        self._fleet = fleet
        self._request = request
        self._parameters = parameters
        self._owed = 0
        self._task: asyncio.Task[None] | None = None

    def begin(self) -> Callable[[], Any]:
        self._task = asyncio.create_task(self._generate(), name="completion")
        return self._task.cancel

    def text(self, text: str) -> None:
        if text:
            self.write(b'data: {"token":%b,"done":false}\n\n' % _encode(text))

    def reasoning(self, text: str) -> None:
        """These browsers know only answers."""

    def tool_call(self, call: ToolCall) -> None:
        """None are offered."""

    def state(self, state: State) -> None:
        """These browsers are told of nothing but words."""

    def rewind(self) -> bool:
        return False

    def write(self, data: bytes) -> None:
        self._owed = self._owed + len(data) if self._chunks else len(data)
        super().write(data)
        if self._owed > OWED and self._task is not None:
            self._task.cancel()

    async def _generate(self) -> None:
        try:
            await self._fleet.generate(self._request, self, self._parameters)
            self.write(DONE)
        except (ModelNotFoundError, EngineBusyError):
            self._failed(NO_AGENT)
        except LegatoError as error:
            self._failed(error.message)
        except Exception:
            logger.exception("A completion failed in a way it should not")
            self._failed("The server failed in a way it should not.")
        finally:
            self.end()

    def _failed(self, message: str) -> None:
        self.write(b"data: %b\n\n" % _encode({"error": message}))


class FleetStream(Events):
    """The fleet's state, once at the start and then whenever it has changed."""

    def __init__(self, fleet: FleetEngine) -> None:
        super().__init__()
        self._fleet = fleet
        self._told = b""
        self._timer: asyncio.TimerHandle | None = None

    def begin(self) -> Callable[[], Any]:
        stop = self._fleet.listen(self._soon)
        self._tell()

        def leave() -> None:
            stop()
            if self._timer is not None:
                self._timer.cancel()

        return leave

    def _soon(self) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(PAUSE, self._tell)

    def _tell(self) -> None:
        self._timer = None
        state = _encode(self._fleet.view())
        if state != self._told and not self._chunks:
            self._told = state
            self.write(b"data: %b\n\n" % state)


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
