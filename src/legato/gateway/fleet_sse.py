"""Server-sent events of the fleet: the tokens of a reply for browsers that speak version 1, and the state of the fleet."""

import asyncio
import logging
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec

from legato.chat.disclaimer import DisclaimerFilter, paragraph
from legato.engines.attempt import WatchdogWriter
from legato.engines.base import Request, TokenLogprob, ToolCall
from legato.engines.fallback import ATTEMPTS, Timeouts
from legato.errors import EngineBusyError, EngineTimeoutError, LegatoError, ModelNotFoundError
from legato.fleet.engine import FleetEngine
from legato.gateway.sse_response import OpenSseResponses, SseResponse
from legato.stream import State

logger = logging.getLogger(__name__)

DONE = b"data: [DONE]\n\n"
NO_AGENT = "No available agents"
RESTARTING = "The server is about to restart. Send it again in a moment."

MAX_UNSENT_BYTES = 1024 * 1024
"""Bytes that may wait for a client. An agent cannot be told to wait."""

MIN_INTERVAL_SECONDS = 0.25
"""Minimum seconds between two states of the fleet. Changes in between are sent as one."""

_encode = msgspec.json.Encoder().encode


class FleetTokenStream(SseResponse):
    """A reply of the fleet, one event for each token; the `ReplyWriter` of its generation. If the client leaves, the generation is cancelled.

    An agent that is silent for too long is given up; if it has written nothing, another one is asked. If the queue is full, the
    response is 429 with `Retry-After`, and its body is that of any other failure.

    `disclaimer` follows as a token of its own if there was any text, also if the reply failed. If the agent says which token is
    its last, the last event before `[DONE]` has `"done":true`.
    """

    cache = b"no-cache"

    def __init__(
        self,
        open_responses: OpenSseResponses,
        fleet: FleetEngine,
        request: Request,
        parameters: dict[str, Any],
        timeouts: Timeouts,
        disclaimer: str | None = None,
        told: Callable[[str], str] = str,
    ) -> None:
        super().__init__(open_responses, person=request.user)
        self._disclaimer = disclaimer
        self._filter = DisclaimerFilter(self, disclaimer)
        self._has_text = False
        self._tail = ""
        self._fleet = fleet
        self._request = request
        self._call = partial(fleet.generate, parameters=parameters, on_final=self._on_final)
        self._timeouts = timeouts
        self._told = told
        self._opened = False
        self._final = False

    def start(self) -> Callable[[], Any]:
        self.task = asyncio.create_task(self._generate(), name="completion")
        return self.task.cancel

    async def before_start(self) -> None:
        """Let the generation take its first step, which is enough to be refused."""
        await asyncio.sleep(0)
        self._opened = True

    def abort(self) -> None:
        """Report the end: these browsers cannot resume."""
        if not self.ended:
            self._write_error(RESTARTING)
            self.end()
            if self.task is not None:
                self.task.cancel()

    def text(self, text: str) -> None:
        if text:
            self._write_token(text, done=self._final and not self._disclaimer)
            if self._disclaimer:
                self._has_text = self._has_text or not text.isspace()
                self._tail = (self._tail + text)[-2:]

    def reasoning(self, text: str) -> None:
        """Ignore it: these browsers know only answers."""

    def logprobs(self, tokens: tuple[TokenLogprob, ...]) -> None:
        """Ignore them: these browsers know only text."""

    def tool_call(self, call: ToolCall) -> None:
        """Ignore it: no tools are offered."""

    def state(self, state: State) -> None:
        """Ignore it: these browsers know only text."""

    def mark(self) -> int:
        return 0

    def rewind(self, to: int = 0) -> bool:
        return False

    def write(self, data: bytes) -> None:
        super().write(data)
        if self.unsent_bytes > MAX_UNSENT_BYTES and self.task is not None:
            self.task.cancel()

    async def _generate(self) -> None:
        try:
            await self._generate_with_retries()
            self._append_disclaimer(last=True)
            if self._final:
                self._write_token("", done=True)
            self.write(DONE)
        except ModelNotFoundError:
            self._write_error(NO_AGENT)
        except EngineBusyError as error:
            if not self._opened and self._fleet.queues:
                self.status_code = 429
                seconds = max(1, math.ceil(error.retry_after or 1))
                self.raw_headers.append((b"retry-after", str(seconds).encode()))
            self._write_error(NO_AGENT)
        except LegatoError as error:
            self._write_error(self._told(error.message))
        except Exception:
            logger.exception("A completion failed in a way it should not")
            self._write_error("The server failed in a way it should not.")
        finally:
            self.end()

    async def _generate_with_retries(self) -> None:
        """Generate like an assistant: again if nothing was shown, as long as there is time."""
        clock, timeouts = asyncio.get_running_loop().time, self._timeouts
        first = timeouts.timeout if timeouts.first_token_timeout is None else timeouts.first_token_timeout
        started = clock()
        for attempt in range(1, ATTEMPTS + 1):
            watchdog = WatchdogWriter(
                self._filter if self._disclaimer else self,
                self._request.model or "The model",
                timeout=timeouts.timeout,
                first_token_timeout=first,
                spoke=lambda: None,
            )
            try:
                await watchdog.attempt(self._call, self._request)
                return
            except EngineTimeoutError:
                if watchdog.shown or attempt == ATTEMPTS or clock() - started >= timeouts.timeout:
                    raise

    def _on_final(self) -> None:
        self._final = True

    def _write_token(self, text: str, *, done: bool) -> None:
        self.write(b'data: {"token":%b,"done":%b}\n\n' % (_encode(text), b"true" if done else b"false"))
        if done:
            self._final = False

    def _append_disclaimer(self, *, last: bool = False) -> None:
        self._filter.flush()
        if self._disclaimer and (self._has_text or self._filter.withheld):
            self._write_token(paragraph(self._tail, self._disclaimer), done=last and self._final)

    def _write_error(self, message: str) -> None:
        self._append_disclaimer()
        self.write(b"data: %b\n\n" % _encode({"error": message}))


class FleetStream(SseResponse):
    """The state of the fleet, once at the start and again after every change."""

    def __init__(self, open_responses: OpenSseResponses, fleet: FleetEngine, expires: float | None) -> None:
        super().__init__(open_responses, expires)
        self._fleet = fleet
        self._sent = b""
        self._pending = False
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> Callable[[], Any]:
        stop = self._fleet.listen(self._schedule)
        self._send_state()

        def stop_listening() -> None:
            stop()
            if self._timer is not None:
                self._timer.cancel()

        return stop_listening

    def _schedule(self) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(MIN_INTERVAL_SECONDS, self._send_state)

    def _send_state(self) -> None:
        self._timer = None
        state = _encode(self._fleet.view())
        self._pending = self.unsent_bytes > 0
        if state != self._sent and not self._pending:
            self._sent = state
            self.write(b"data: %b\n\n" % state)

    def on_drained(self) -> None:
        if self._pending:
            self._schedule()
