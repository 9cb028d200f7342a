"""An engine without requirements: for development, demonstrations and load tests."""

import asyncio
import math
import re
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any

from legato.domain.message import text_of
from legato.engines.base import Capabilities, Health, Model, Outcome, ReplyWriter, Request
from legato.engines.demo import texts, tools
from legato.engines.demo.embedding import DIMENSIONS, MAX_DIMENSIONS, hashed_vector
from legato.engines.embedding import Embedding
from legato.engines.request_options import refuse_media, refuse_unsupported
from legato.errors import EngineRefusedError, ModelNotFoundError, UnsupportedOptionError
from legato.stream import Timings, Usage

DEFAULT_MODEL = "demo:canned"
"""The model that a new user sees first: readable answers with everything that the page can show."""

_TOKENS_PER_SECOND = {"demo:echo": 0.0, "demo:markov": 40.0, "demo:canned": 40.0}
"""Default tokens per second: echo is for programs, the others are for people."""

_DETAILS = {
    "demo:echo": "Says what you said, one word at a time.",
    "demo:markov": "Readable nonsense, the same for the same prompt.",
    "demo:canned": "A few prepared answers that show what the page can do.",
}

MODELS = tuple(_TOKENS_PER_SECOND)

EMBEDDING_MODEL = "demo:embed"
"""The model that embeds texts and writes none."""

NUMBERS = ("tokens_per_second", "first_token_ms")
"""Options that are non-negative numbers."""

_TOKEN = re.compile(r"\s*\S+\s*|\s+")
_TOKENS_PER_TURN = 16
"""Tokens that one reply may write in one turn of the loop, so that other work is not delayed."""

_EARLY_SECONDS = 0.001
"""Seconds by which a token may come too early: event loops round timers to milliseconds."""


class DemoEngine:
    """Repeats the message (`demo:echo`), invents text (`demo:markov`), or gives prepared answers (`demo:canned`).

    Options: `tokens_per_second` (0: as fast as possible), `first_token_ms`, `stop`, a text or several before which the reply ends,
    and `num_predict`, the maximum tokens of a reply including its prefix (no limit below 1). The text depends on the messages
    only, so options of sampling have no effect, and the engine continues its own text, and no other. `demo:echo` uses the offered tools: a line `!tool NAME {…}` of the last message
    calls one, and the answer repeats the results.
    """

    name = "demo"

    async def generate(self, request: Request, out: ReplyWriter) -> Outcome:
        refuse_unsupported(request, "The demo engine", ("raw",))
        refuse_media(request, "The demo engine")
        for name in ("logit_bias", "chat_template_kwargs"):
            if request.strict and name in request.options:
                raise UnsupportedOptionError(f"The demo engine has no {name}. Leave this option out.", name)
        model = full_name(request.model)
        pace = _number(request.options, "tokens_per_second", _TOKENS_PER_SECOND[model])
        delay = _number(request.options, "first_token_ms", 0.0) / 1000
        limit = _limit(request.options)
        calls = tools.calls_of(request) if _is_echo(model) else []
        if calls:
            for call in calls:
                out.tool_call(call)
            return Outcome("tool_calls", model, Usage(_words(request), len(calls)))
        text = _compose(model, request)
        if not text.startswith(request.prefix):
            raise EngineRefusedError("The demo engine cannot continue a text that is not its own.")
        text = _before_stop(text, len(request.prefix), request.options.get("stop"))
        whole = len(text)
        if limit is not None:
            text = "".join(token.group() for token in islice(_TOKEN.finditer(text), limit))
        reply = _Reply(_TOKEN.finditer(text, len(request.prefix)), out.text, pace, delay)
        await reply.finished()
        return Outcome(
            "stop" if len(text) == whole else "length",
            model,
            Usage(_words(request), reply.count),
            reply.timings(),
        )

    async def embed(self, model: str, texts: Sequence[str], dimensions: int | None = None) -> Embedding:
        if model.removeprefix("demo:") != EMBEDDING_MODEL.removeprefix("demo:"):
            raise UnsupportedOptionError(
                f"The model {model} embeds no texts. {EMBEDDING_MODEL} does.", "model"
            )
        if dimensions is not None and not 1 <= dimensions <= MAX_DIMENSIONS:
            raise UnsupportedOptionError(f"`dimensions` is between 1 and {MAX_DIMENSIONS}.", "dimensions")
        vectors = tuple(hashed_vector(text, dimensions or DIMENSIONS) for text in texts)
        return Embedding(vectors, EMBEDDING_MODEL, sum(len(text.split()) for text in texts))

    async def capabilities(self, model: str) -> Capabilities:
        if model == EMBEDDING_MODEL:
            return Capabilities()
        return Capabilities(supports_prefill=True, tools=_is_echo(model))

    async def models(self) -> tuple[Model, ...]:
        models = [Model(name, self.name, loaded=True, detail=detail) for name, detail in _DETAILS.items()]
        embeds = Model(
            EMBEDDING_MODEL, self.name, loaded=True, detail="Embeds texts by their words.", chats=False
        )
        return (*models, embeds)

    async def health(self) -> Health:
        return Health(True, "The demo engine is always there.", loaded=tuple(_DETAILS))

    async def close(self) -> None:
        """Do nothing: there is nothing to close."""


class _Reply:
    """One text that is being written. The time of each token is fixed at the start, so a late loop delays no later token.

    A single timer runs it, without switching tasks.
    """

    __slots__ = (
        "_begun",
        "_due",
        "_end",
        "_first",
        "_handle",
        "_loop",
        "_say",
        "_step",
        "_tokens",
        "_upcoming",
        "count",
    )

    def __init__(
        self, tokens: Iterator[re.Match[str]], say: Callable[[str], None], pace: float, delay: float
    ) -> None:
        self._tokens = tokens
        self._say = say
        self._step = 1 / pace if pace else 0.0
        self._loop = asyncio.get_running_loop()
        self._begun = self._loop.time()
        self._due = self._begun + delay
        self._first = self._begun
        self._end: asyncio.Future[None] = self._loop.create_future()
        self._handle: asyncio.Handle | None = None
        self._upcoming = next(tokens, None)
        self.count = 0

    async def finished(self) -> None:
        """Write everything, each token at its time."""
        self._wait()
        try:
            await self._end
        finally:
            if self._handle is not None:
                self._handle.cancel()

    def timings(self) -> Timings:
        """Return the timings of the finished reply."""
        total, first = self._loop.time() - self._begun, self._first - self._begun
        rate = (self.count - 1) / (total - first) if self.count > 1 and total > first else None
        return Timings(first_token_ms=first * 1000, total_ms=total * 1000, tokens_per_second=rate)

    def _wait(self) -> None:
        if self._end.done():
            return
        if self._upcoming is None:
            self._end.set_result(None)
        elif self._due - self._loop.time() <= _EARLY_SECONDS:
            self._handle = self._loop.call_soon(self._run)
        else:
            self._handle = self._loop.call_at(self._due, self._run)

    def _run(self) -> None:
        try:
            self._write_due_tokens()
            self._wait()
        except Exception as error:  # noqa: BLE001 (a timer's callback has no caller: it is raised in `finished`)
            if not self._end.done():
                self._end.set_exception(error)

    def _write_due_tokens(self) -> None:
        now = self._loop.time() + _EARLY_SECONDS
        if not self.count:
            self._first = self._loop.time()
        for _ in range(_TOKENS_PER_TURN):
            if self._upcoming is None or self._due > now or self._end.done():
                break
            self._say(self._upcoming.group())
            self.count += 1
            self._due += self._step
            self._upcoming = next(self._tokens, None)


def full_name(model: str) -> str:
    """Return `demo:echo` for `echo`, and the default for an empty name.

    :raises ModelNotFoundError: there is no such demo model; the sentence lists them.
    :raises EngineRefusedError: it writes no text.
    """
    if not model:
        return DEFAULT_MODEL
    name = model if model.startswith("demo:") else f"demo:{model}"
    if name == EMBEDDING_MODEL:
        raise EngineRefusedError(f"{EMBEDDING_MODEL} embeds texts and writes none. Choose another model.")
    if name not in _TOKENS_PER_SECOND:
        raise ModelNotFoundError(
            f"The demo engine has no model {model}. It has {', '.join(_TOKENS_PER_SECOND)}."
        )
    return name


def _is_echo(model: str) -> bool:
    return model in ("demo:echo", "echo")


def _compose(model: str, request: Request) -> str:
    prompt = next((text_of(turn.parts) for turn in reversed(request.turns) if turn.role == "user"), "")
    match model:
        case "demo:canned":
            return texts.canned(prompt)
        case "demo:markov":
            return texts.markov(prompt)
        case _:
            prompt = tools.results_of(request) or prompt
            if not prompt:
                raise EngineRefusedError("demo:echo has nothing to say back: the last message has no text.")
            return prompt


def _before_stop(text: str, begin: int, stop: object) -> str:
    """Return the text up to the first of the `stop` texts behind `begin`."""
    stops = [stop] if isinstance(stop, str) else stop if isinstance(stop, list) else []
    ends = [at for each in stops if isinstance(each, str) and each and (at := text.find(each, begin)) >= 0]
    return text[: min(ends, default=len(text))]


def _words(request: Request) -> int:
    return sum(len(text_of(turn.parts).split()) for turn in request.turns)


def is_number(value: object) -> bool:
    """Return whether the value is valid for an option in `NUMBERS`."""
    return (
        isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value >= 0
    )


def _number(options: dict[str, Any], name: str, default: float) -> float:
    value = options.get(name, default)
    if not is_number(value):
        raise EngineRefusedError(
            f"The option {name} must be a number that is not negative; it is {value!r:.40}."
        )
    return float(value)


def _limit(options: dict[str, Any]) -> int | None:
    value = options.get("num_predict", -1)
    if isinstance(value, bool) or not isinstance(value, int):
        raise EngineRefusedError(f"The option num_predict must be a whole number; it is {value!r:.40}.")
    return value if value > 0 else None
