"""Server-sent events of the fleet: a reply token by token for browsers of the first generation, and the fleet's own state."""

import asyncio
import logging
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec

from legato.chat.disclaimer import DisclaimerFilter, paragraph
from legato.engines.attempt import WatchdogWriter
from legato.engines.base import Request, ToolCall
from legato.engines.fallback import ATTEMPTS, Timeouts
from legato.errors import EngineBusyError, EngineTimeoutError, LegatoError, ModelNotFoundError
from legato.fleet.engine import FleetEngine
from legato.gateway.sse_response import OpenSseResponses, SseResponse
from legato.stream import State

logger = logging.getLogger(__name__)

DONE = b"data: [DONE]\n\n"
NO_AGENT = "No available agents"
RESTARTING = "The server is about to restart. Send it again in a moment."

OWED = 1024 * 1024
"""Bytes that a reader may leave unread; an agent cannot be told to wait."""

PAUSE = 0.25
"""Seconds between two states of the fleet, at least: many changes are told as one."""

_encode = msgspec.json.Encoder().encode


class FleetTokenStream(SseResponse):
    """A reply of the fleet, a token an event; the `Out` of its generation. A reader who leaves has it cancelled.

    An agent that says nothing for too long is given up: before the first word another one is asked. Where the line is full,
    the answer is 429 with `Retry-After`; its body is as of any other failure.

    `disclaimer` follows as a token of its own whatever was said, also where it broke off.
    """

    cache = b"no-cache"

    def __init__(
        self,
        open_events: OpenSseResponses,
        fleet: FleetEngine,
        request: Request,
        parameters: dict[str, Any],
        patience: Timeouts,
        disclaimer: str | None = None,
    ) -> None:
        super().__init__(open_events)
        self._disclaimer = disclaimer
        self._voice = DisclaimerFilter(self, disclaimer)
        self._spoke = False
        self._tail = ""
        self._fleet = fleet
        self._request = request
        self._ask = partial(fleet.generate, parameters=parameters)
        self._patience = patience
        self._opened = False

    def begin(self) -> Callable[[], Any]:
        self.work = asyncio.create_task(self._generate(), name="completion")
        return self.work.cancel

    async def opening(self) -> None:
        """The work's first step is all it takes to be refused."""
        await asyncio.sleep(0)
        self._opened = True

    def cut(self) -> None:
        """These browsers cannot come back for the rest, so they are told."""
        if not self.over:
            self._failed(RESTARTING)
            self.end()
            if self.work is not None:
                self.work.cancel()

    def text(self, text: str) -> None:
        if text:
            self.write(b'data: {"token":%b,"done":false}\n\n' % _encode(text))
            if self._disclaimer:
                self._spoke = self._spoke or not text.isspace()
                self._tail = (self._tail + text)[-2:]

    def reasoning(self, text: str) -> None:
        """These browsers know only answers."""

    def tool_call(self, call: ToolCall) -> None:
        """None are offered."""

    def state(self, state: State) -> None:
        """These browsers are told of nothing but words."""

    def mark(self) -> int:
        return 0

    def rewind(self, to: int = 0) -> bool:
        return False

    def write(self, data: bytes) -> None:
        super().write(data)
        if self.owed > OWED and self.work is not None:
            self.work.cancel()

    async def _generate(self) -> None:
        try:
            await self._patiently()
            self._disclaim()
            self.write(DONE)
        except ModelNotFoundError:
            self._failed(NO_AGENT)
        except EngineBusyError as error:
            if not self._opened and self._fleet.queues:
                self.status_code = 429
                seconds = max(1, math.ceil(error.retry_after or 1))
                self.raw_headers.append((b"retry-after", str(seconds).encode()))
            self._failed(NO_AGENT)
        except LegatoError as error:
            self._failed(error.message)
        except Exception:
            logger.exception("A completion failed in a way it should not")
            self._failed("The server failed in a way it should not.")
        finally:
            self.end()

    async def _patiently(self) -> None:
        """As an assistant's reply: again where nothing was shown, as long as there is time for it."""
        clock, patience = asyncio.get_running_loop().time, self._patience
        first = patience.timeout if patience.first_token_timeout is None else patience.first_token_timeout
        begun = clock()
        for attempt in range(1, ATTEMPTS + 1):
            watch = WatchdogWriter(
                self._voice if self._disclaimer else self,
                self._request.model or "The model",
                timeout=patience.timeout,
                first_token_timeout=first,
                spoke=lambda: None,
            )
            try:
                await watch.attempt(self._ask, self._request)
                return
            except EngineTimeoutError:
                if watch.shown or attempt == ATTEMPTS or clock() - begun >= patience.timeout:
                    raise

    def _disclaim(self) -> None:
        self._voice.flush()
        if self._disclaimer and (self._spoke or self._voice.withheld):
            self.text(paragraph(self._tail, self._disclaimer))

    def _failed(self, message: str) -> None:
        self._disclaim()
        self.write(b"data: %b\n\n" % _encode({"error": message}))


class FleetStream(SseResponse):
    """The fleet's state, once at the start and then whenever it has changed."""

    def __init__(self, open_events: OpenSseResponses, fleet: FleetEngine, expires: float | None) -> None:
        super().__init__(open_events, expires)
        self._fleet = fleet
        self._told = b""
        self._missed = False
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
        self._missed = self.owed > 0
        if state != self._told and not self._missed:
            self._told = state
            self.write(b"data: %b\n\n" % state)

    def emptied(self) -> None:
        if self._missed:
            self._soon()
