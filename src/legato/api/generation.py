"""One generation for an API: engines write, a codec makes frames of it, and a log keeps them for everyone who reads."""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence

from msgspec.structs import replace

from legato.api.call import Call
from legato.api.codec import Ending, ResponseCodec, ToolRunCodec
from legato.api.prompt_size import prompt_size
from legato.api.response_stream import ResponseStream
from legato.domain.public_text import public_error
from legato.engines.base import Outcome, Request, TokenLogprob, ToolCall
from legato.errors import BusyError, LegatoError
from legato.stream import State, Timings, Usage

logger = logging.getLogger(__name__)

STOP = "its caller wants no more of it"
"""The message with which an engine's task is cancelled because the caller asked for it, and not because the caller left."""

WAITING_SECONDS = 5.0
"""Silence after which a format with signs of life writes one."""


class CallEndedError(LegatoError):
    """The generation was ended before its own end: by its caller, or because the caller left."""

    code = "cancelled"


class ServerStoppedError(BusyError):
    """The server was stopped, or killed, before the generation had ended."""

    code = "server_stopped"


class BrokenError(LegatoError):
    """The server failed in a way it should not."""


class Generation:
    """Writes one response. `endings` are how its choices ended; None: not yet.

    `store_end` is awaited when the last frames are written and not shown yet; it stores them.
    """

    def __init__(
        self,
        call: Call,
        codec: ResponseCodec,
        stream: ResponseStream,
        store_end: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self.call = call
        self.codec = codec
        self.stream = stream
        self.endings: list[Ending | None] = [None] * call.choices
        self._store_end = store_end
        self._writers: list[ChoiceWriter | None] = [None] * call.choices
        self._cancelled: LegatoError | None = None
        self._task: asyncio.Task[None] | None = None
        self._entered = False
        self._began = False
        self._ending = False
        self._shown: object = None

    def start(self, on_done: Callable[[], None]) -> None:
        """Start to generate in a task. `on_done` is called once when nothing of it runs any more."""
        if self.call.background:
            self.begin()
        self._task = asyncio.create_task(self._run(), name=f"generation {self.stream.id}")
        self._task.add_done_callback(lambda _: on_done())

    def cancel(self, error: LegatoError, message: str | None = None) -> None:
        """Stop it, down to the engine. Its response ends with `error`. An ended generation is not touched.

        `message` is that of the cancelled task of the engine.
        """
        if self._cancelled is None and not self._ending and not self.stream.done.is_set():
            self._cancelled = error
            # A task that has not begun yet would end without the end of its response.
            if self._task is not None and self._entered:
                self._task.cancel(message)

    def used(self) -> tuple[int, int]:
        """Return the tokens of all prompts, each of which counts once, and of all choices. Of a choice without an end, the pieces count."""
        prompts: Counter[int] = Counter()
        completion = 0
        for choice, (ending, writer) in enumerate(zip(self.endings, self._writers, strict=True)):
            prompt = 0
            if ending is not None and ending.outcome.usage is not None:
                prompt = ending.outcome.usage.prompt_tokens or 0
                completion += ending.outcome.usage.completion_tokens or 0
            elif writer is not None and writer.first is not None:
                prompt = prompt_size(self.call.request_of(choice))
                completion += writer.pieces
            place = choice * max(1, len(self.call.prompts)) // self.call.choices
            prompts[place] = max(prompts[place], prompt)
        return prompts.total(), completion

    def document(self) -> object:
        """Return what the API stores of the response as it is now. An end that is not stored yet is not told."""
        if self.stream.done.is_set():
            return self.stream.document
        return self._shown if self._ending else self.codec.document()

    def write(self, frames: Sequence[bytes], *, end: bool = False) -> None:
        """Append frames to the log. `end`: they are the end of the response, for which there is always room."""
        stream = self.stream
        for frame in frames:
            stream.log.append(frame, end=end)
        if frames and not stream.opened.is_set():
            stream.opened.set()

    def begin(self) -> None:
        """Write what comes before all text, once."""
        if not self._began:
            self._began = True
            self.write(self.codec.begin())

    async def _run(self) -> None:
        self._entered = True
        try:
            try:
                if self._cancelled is not None:
                    raise self._cancelled
                await self._generate()
                self.begin()
                self._hold()
                self.write(self.codec.finish(), end=True)
            except LegatoError as error:
                self._fail(error)
            except Exception:
                logger.exception("A generation failed in a way it should not")
                self._fail(BrokenError("The server failed in a way it should not. Its log says more."))
        except asyncio.CancelledError:
            if self._cancelled is None:
                raise
            self._fail(self._cancelled)
        finally:
            await self._end()

    async def _end(self) -> None:
        """Store the end, if this response is stored, then show it."""
        self.stream.document = self.codec.document()
        try:
            if self._store_end is not None:
                await asyncio.shield(asyncio.ensure_future(self._store_end()))
        finally:
            self.stream.end()

    async def _generate(self) -> None:
        signs = asyncio.create_task(self._tell_waiting(), name=f"signs of life {self.stream.id}")
        choices = [asyncio.ensure_future(self._generate_choice(each)) for each in range(self.call.choices)]
        try:
            await asyncio.gather(*choices)
        finally:
            signs.cancel()
            for each in choices:
                each.cancel()
            await asyncio.wait([signs, *choices])

    async def _generate_choice(self, choice: int) -> None:
        clock = asyncio.get_running_loop().time
        writer = self._writers[choice] = ChoiceWriter(self, choice, clock)
        begun = clock()
        outcome = await self.call.engine.generate(writer.request, writer)
        ending = _with_times(_with_usage(outcome, writer), writer, begun, clock())
        self.endings[choice] = ending
        self.begin()
        self.write(self.codec.end(choice, ending), end=True)

    async def _tell_waiting(self) -> None:
        log = self.stream.log
        before = log.next
        while True:
            await asyncio.sleep(WAITING_SECONDS)
            if log.next == before:
                self.write(self.codec.waiting())
            before = log.next

    def _hold(self) -> None:
        """Begin the end: nothing can cancel it any more."""
        self._ending, self._shown = True, self.codec.document()
        if self._store_end is not None:
            self.stream.log.hold()

    def _fail(self, error: LegatoError) -> None:
        error = public_error(error)
        self.stream.error = error
        self._hold()
        # A sign of life may have come before the beginning.
        if self.codec.streams and (self._began or self.stream.log.next):
            self.write(self.codec.fail(error), end=True)
        elif self.codec.streams:
            # The client gets a status in place of frames, and the document says why.
            self.codec.begin()
            self.codec.fail(error)


class ChoiceWriter:
    """The `ReplyWriter` of one choice. What a client has received cannot be taken back. `first` is when the first of it was written,
    by `clock`.
    """

    __slots__ = ("_choice", "_clock", "_codec", "_generation", "_pieces", "_runs", "_wrote", "first")

    def __init__(self, generation: Generation, choice: int, clock: Callable[[], float]) -> None:
        self.first: float | None = None
        self._clock = clock
        self._generation = generation
        self._codec = generation.codec
        self._choice = choice
        self._pieces = 0
        self._runs = 0
        self._wrote = False

    @property
    def request(self) -> Request:
        """What the engine was asked."""
        return self._generation.call.request_of(self._choice)

    @property
    def pieces(self) -> int:
        """How many pieces of text and reasoning were written: about as many as tokens."""
        return self._pieces

    def text(self, text: str) -> None:
        if text:
            self._pieces += 1
            if not self._wrote:
                self._begin()
            self._generation.write(self._codec.text(self._choice, text))

    def reasoning(self, text: str) -> None:
        if text:
            self._pieces += 1
            self._begin()
            self._generation.write(self._codec.reasoning(self._choice, text))

    def logprobs(self, tokens: tuple[TokenLogprob, ...]) -> None:
        self._codec.logprobs(self._choice, tokens)

    def tool_call(self, call: ToolCall) -> None:
        self._begin()
        self._generation.write(self._codec.tool_call(self._choice, call))

    def tool_started(self, call: ToolCall) -> None:
        if isinstance(self._codec, ToolRunCodec):
            self._runs += 1
            self._begin()
            self._generation.write(self._codec.tool_started(self._choice, call))

    def tool_finished(self, call: ToolCall, output: str, *, failed: bool) -> None:
        if isinstance(self._codec, ToolRunCodec):
            self._runs += 1
            self._generation.write(self._codec.tool_finished(self._choice, call, output, failed=failed))

    def state(self, state: State) -> None:
        """Ignore it: the formats know only text."""

    def mark(self) -> int:
        return self._pieces + self._runs

    def rewind(self, to: int = 0) -> bool:
        """Return whether nothing was written since: a client cannot forget what it received."""
        return self.mark() == to and (to > 0 or not self._wrote)

    def _begin(self) -> None:
        if not self._wrote:
            self._wrote = True
            self.first = self._clock()
            self._generation.begin()


def _with_usage(outcome: Outcome, writer: ChoiceWriter) -> Ending:
    """Return the ending with the engine's usage. What it did not tell is an estimate of the prompt, and a count of pieces."""
    usage = outcome.usage or Usage()
    prompt, completion = usage.prompt_tokens, usage.completion_tokens
    if prompt is not None and completion is not None:
        return Ending(outcome)
    counted = Usage(
        prompt_size(writer.request) if prompt is None else prompt,
        writer.pieces if completion is None else completion,
    )
    return Ending(replace(outcome, usage=counted), counted=True)


def _with_times(ending: Ending, writer: ChoiceWriter, begun: float, ended: float) -> Ending:
    """Return the ending with the engine's times, or with the server's own if it told none."""
    timings = ending.outcome.timings
    if timings is not None and timings.total_ms is not None:
        return ending
    first = ended if writer.first is None else writer.first
    measured = Timings(first_token_ms=(first - begun) * 1000, total_ms=(ended - begun) * 1000)
    return replace(ending, outcome=replace(ending.outcome, timings=measured), measured=True)
