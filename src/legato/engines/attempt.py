"""One attempt at a reply, with limits: what it wrote, how much, and how long it was silent."""

import asyncio
from collections.abc import Awaitable, Callable

from msgspec.structs import replace

from legato.engines.base import SILENT, NullWriter, Outcome, ReplyWriter, Request, TokenLogprob, ToolCall
from legato.errors import EngineTimeoutError, ReplyTooLongError
from legato.stream import State

CHARACTERS = 16 * 1024 * 1024
"""Maximum characters of one attempt: the answer, the reasoning and the arguments of tools together."""

EVENTS = 4_000_000
"""Maximum number of calls with which an engine writes one attempt."""

STATE_EVENTS = 10
"""How many events a state counts as, because it needs more memory than text."""

KEEP_ALIVES = 4.0
"""For how many timeouts keep-alives alone count as signs of life."""

TOO_LONG = "it grew too long"


class WatchdogWriter:
    """A `ReplyWriter` in front of another one, for one attempt. It passes everything on at once, and notes each sign of life.

    `shown` says whether text, reasoning or a tool call was passed on; after that the attempt cannot be repeated. `spoke` is
    called before the first of them. `notice` is shown to the person if another model answers than the requested one. With
    `announce` the first text is preceded by the state `answering`, because other states were shown before.
    """

    __slots__ = (
        "_announce",
        "_bare",
        "_began",
        "_characters",
        "_events",
        "_expired",
        "_first",
        "_handle",
        "_last_sign",
        "_limit",
        "_loop",
        "_model",
        "_notice",
        "_out",
        "_over",
        "_spoke",
        "_task",
        "_timeout",
        "shown",
    )

    def __init__(
        self,
        out: ReplyWriter,
        model: str,
        *,
        timeout: float,
        first_token_timeout: float,
        spoke: Callable[[], None],
        notice: str | None = None,
        announce: bool = False,
    ) -> None:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a watch cancels the task it was made in, and there is none")
        self._task = task
        self._loop = asyncio.get_running_loop()
        self._out = out
        self._model = model
        self._timeout = timeout
        self._first = self._limit = first_token_timeout
        self._spoke = spoke
        self._notice = notice
        self._announce = announce
        self._began = self._last_sign = self._loop.time()
        self._bare: State | None = None
        self._characters = self._events = 0
        self._over = False
        self._handle: asyncio.TimerHandle | None = None
        self._expired = False
        self.shown = False

    async def attempt(
        self, generate: Callable[[Request, ReplyWriter], Awaitable[Outcome]], request: Request
    ) -> Outcome:
        """Run an engine's `generate` in this task, with this writer. If it is silent for too long, it is cancelled and awaited.

        :raises EngineTimeoutError: it was silent for too long.
        :raises ReplyTooLongError: it wrote more than an attempt may contain; the rest is not written.
        """
        before, ours = self._task.cancelling(), False
        self._arm()
        try:
            try:
                outcome = await generate(request, self)
                if self._over:
                    await asyncio.sleep(0)
                return outcome
            finally:
                self._disarm()
                self._out = NullWriter()
                ours = (self._expired or self._over) and self._task.uncancel() <= before
        except asyncio.CancelledError:
            if ours and self._over:
                raise ReplyTooLongError(_TOO_LONG) from None
            if ours:
                raise EngineTimeoutError(self._timeout_message()) from None
            raise

    def text(self, text: str) -> None:
        self._last_sign = self._loop.time()
        # The common case of `_within`, without a call: this runs once a token.
        self._events += 1
        characters = self._characters + len(text)
        if characters <= CHARACTERS and self._events <= EVENTS and not self._over:
            self._characters = characters
        else:
            text = self._within(text, 0)
        if text:
            if not self.shown:
                self._on_first_output()
            self._out.text(text)
        else:
            self._set_limit(self._timeout)

    def reasoning(self, text: str) -> None:
        if text := self._within(text):
            if not self.shown:
                self._on_first_output()
            self._last_sign = self._loop.time()
            self._out.reasoning(text)

    def logprobs(self, tokens: tuple[TokenLogprob, ...]) -> None:
        if not self._over:
            self._out.logprobs(tokens)

    def tool_call(self, call: ToolCall) -> None:
        if self._within(call.arguments) != call.arguments:
            return
        if not self.shown:
            self._on_first_output()
        self._last_sign = self._loop.time()
        self._out.tool_call(call)

    def state(self, state: State) -> None:
        self._within("", STATE_EVENTS)
        if state == State("reading"):
            self._keep_alive(state)
            return
        self._last_sign = self._loop.time()
        self._bare = None
        if state.phase == "reading" and state.agent is not None and state.progress is None:
            # The dispatcher reports that it sent the job to an agent, which has not answered yet.
            self._set_limit(self._timeout if self.shown else self._first)
        elif state.phase != "answering":
            self._set_limit(self._timeout)
        self._tell(state)

    def _keep_alive(self, state: State) -> None:
        """Handle a sign of life without progress: the engine says that it reads, and nothing else."""
        self._set_limit(self._timeout)
        if self._loop.time() < self._began + KEEP_ALIVES * self._timeout:
            self._last_sign = self._loop.time()
        if self._bare is None:
            self._bare = state
            self._tell(state)

    def _tell(self, state: State) -> None:
        if self._over:
            return
        if self._notice is not None:
            state = replace(state, model=state.model or self._model, detail=state.detail or self._notice)
        self._out.state(state)

    def _within(self, text: str, events: int = 1) -> str:
        """Return the part of `text` that fits into the attempt. Beyond the limits the task is cancelled."""
        if self._over:
            return ""
        self._events += events
        room = CHARACTERS - self._characters
        if len(text) <= room and self._events <= EVENTS:
            self._characters += len(text)
            return text
        text, rest = text[:room], text[room:]
        self._characters += len(text)
        if rest or self._events > EVENTS:
            self._over = True
            self._task.cancel(TOO_LONG)
        return text

    def mark(self) -> int:
        return self._out.mark()

    def rewind(self, to: int = 0) -> bool:
        self._last_sign = self._loop.time()
        taken_back = self._out.rewind(to)
        if taken_back and not to:
            self._characters = 0
        return taken_back

    def _on_first_output(self) -> None:
        self.shown = True
        self._set_limit(self._timeout)
        self._spoke()
        if self._announce:
            self._out.state(State("answering", model=self._model, detail=self._notice))

    def _set_limit(self, limit: float) -> None:
        sooner = limit < self._limit
        self._limit = limit
        if sooner:
            self._arm()

    def _arm(self) -> None:
        self._disarm()
        self._handle = self._loop.call_at(self._last_sign + self._limit, self._check)

    def _disarm(self) -> None:
        if self._handle is not None:
            self._handle.cancel()

    def _check(self) -> None:
        if self._loop.time() < self._last_sign + self._limit:
            self._arm()
        else:
            self._expired = True
            self._task.cancel(SILENT)

    def _timeout_message(self) -> str:
        what = "said nothing more" if self.shown else "said nothing"
        return f"{self._model} {what} for {self._limit:g} s. Please try again."


_TOO_LONG = (
    f"The reply was ended at {CHARACTERS:,} characters or {EVENTS:,} pieces, which is as long as one may be. "
    "Ask for a shorter one, or in parts."
)
