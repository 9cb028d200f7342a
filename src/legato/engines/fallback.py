"""An engine that consists of a primary engine and backups, with timeouts and retries."""

import asyncio
import copy
import math
import random
import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from legato.backoff import exponential_delay
from legato.engines.attempt import WatchdogWriter
from legato.engines.base import Capabilities, Engine, Health, Model, Outcome, ReplyWriter, Request
from legato.engines.breaker import Breaker, Breakers, Permit
from legato.engines.embedding import Embedding, embedder_of
from legato.engines.fair_slots import FairSlots
from legato.engines.message_format import drop_unsupported_media, has_media
from legato.errors import (
    ContextExceededError,
    EngineBrokeError,
    EngineError,
    EngineRefusedError,
    EngineTimeoutError,
    EngineUnavailableError,
    ModelNotFoundError,
)
from legato.stream import State

ATTEMPTS = 3
"""Maximum attempts of one candidate for one reply."""

MAX_RETRY_AFTER = 10.0
"""The longest `retry_after` in seconds after which an engine is tried again; if it asks for more, it is not."""


class Candidate(NamedTuple):
    """An engine and the model to request; None means the model that the request names."""

    engine: Engine
    model: str | None = None


class Timeouts(Struct, frozen=True):
    """How long an attempt may be silent, in seconds.

    `timeout` is the silence between two pieces of text, and while the engine reports that the request is queued, a model is
    loading or the prompt is being read. `first_token_timeout` is the silence before any output, also of an agent that got the
    request (None: `timeout`). `backoff` is the delay after the first failure, doubled after each further one.
    """

    timeout: float = 300.0
    first_token_timeout: float | None = None
    backoff: float = 0.25


class FallbackEngine:
    """Tries its candidates in order until one produces output; that candidate then writes the reply.

    If nothing was shown, a failed or silent attempt is repeated, after a delay that doubles, or after the `retry_after` of the
    engine. If that is too long or this candidate has already taken longer than `timeout`, the next candidate is tried. A missing
    model is requested only once. A refusal is final except for candidates on another engine, which may accept what was refused
    (a key, a long context). After text, reasoning or a tool call was shown, a failure is raised unchanged.

    `State.detail` tells the person that another model answers, and why; `Outcome.model` is the model that answered. A backend
    with an open breaker is skipped. Cancelling does not count as a failure.

    `slots` returns the slots of an engine: while all are taken, a request waits, and users take turns.

    Time is the event loop's; `chance` returns numbers from 0 to 1 for the jitter. `close` does not close the engines.
    """

    def __init__(
        self,
        candidates: Sequence[Candidate],
        *,
        timeouts: Timeouts | None = None,
        breakers: Breakers | None = None,
        slots: Callable[[Engine], FairSlots] | None = None,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """Store the candidates.

        :raises ValueError: there is no candidate.
        """
        if not candidates:
            raise ValueError("a fallback needs a candidate")
        self._candidates = tuple(candidates)
        self._timeouts = timeouts or Timeouts()
        self._breakers = breakers or Breakers()
        self._slots = slots or _unlimited
        self._chance = chance

    def with_model(self, model: str) -> "FallbackEngine":
        """Return a copy that requests another model of the primary engine."""
        other = copy.copy(self)
        other._candidates = (self._candidates[0]._replace(model=model), *self._candidates[1:])
        return other

    @property
    def name(self) -> str:
        """The name of the primary engine."""
        return self._candidates[0].engine.name

    async def generate(self, request: Request, out: ReplyWriter) -> Outcome:
        failures: list[_AttemptFailure] = []
        for index, candidate in enumerate(self._candidates):
            backend = self._backend(candidate, request)
            if any(not each.allows(backend) for each in failures):
                continue
            fit = await self._supported_request(backend, request, index)
            without = " without what it cannot see or hear" if fit.turns != request.turns else ""
            if fit.tools != request.tools:
                without += (" and" if without else "") + " without tools"
            async with self._slots(candidate.engine).hold(request.user, backend.tell_place(out)):
                answer = await self._try_backend(
                    backend, fit, out, failures, f"{backend.label} answers instead{without}."
                )
            if isinstance(answer, Outcome):
                return answer
            failures.append(answer)
        raise _all_failed(failures)

    async def embed(self, model: str, texts: Sequence[str], dimensions: int | None = None) -> Embedding:
        """Embed texts with the primary engine. Vectors of another model cannot be compared with its own, so backups are not tried."""
        candidate, timeouts = self._candidates[0], self._timeouts
        embedder = embedder_of(candidate.engine, candidate.engine.name)
        try:
            async with asyncio.timeout(timeouts.timeout):
                return await embedder.embed(candidate.model or model, texts, dimensions)
        except TimeoutError:
            raise EngineTimeoutError(
                f"{candidate.model or model} did not answer for {timeouts.timeout:g} s. Please try again."
            ) from None

    async def capabilities(self, model: str) -> Capabilities:
        """Return the capabilities of the primary engine, with the smallest context of all. A backup without prefill refuses a prefix itself."""
        known = await asyncio.gather(
            *[candidate.engine.capabilities(candidate.model or model) for candidate in self._candidates]
        )
        contexts = [each.context for each in known if each.context is not None]
        return replace(
            known[0],
            context=min(contexts, default=None),
        )

    async def models(self) -> tuple[Model, ...]:
        """Return the models of all engines that can be reached."""
        found: list[Model] = []
        each: EngineError | None = None
        for engine in self._engines():
            try:
                found += await engine.models()
            except EngineError as error:
                each = each or error
        if each is not None and not found:
            raise each
        return tuple(found)

    async def health(self) -> Health:
        """Return ok if one of the engines is ok."""
        text = await asyncio.gather(*[engine.health() for engine in self._engines()])
        well = next((each for each in text if each.ok), text[0])
        return replace(well, detail=" ".join(dict.fromkeys(each.detail for each in text)))

    async def close(self) -> None:
        """Do nothing: the creator of the engines closes them."""

    def _engines(self) -> list[Engine]:
        return list({id(candidate.engine): candidate.engine for candidate in self._candidates}.values())

    def _backend(self, candidate: Candidate, request: Request) -> "_Backend":
        model = candidate.model or request.model
        names = [each.model or request.model for each in self._candidates]
        label = model if names.count(model) == 1 else f"{model} on {candidate.engine.name}"
        return _Backend(candidate.engine, model, label, self._breakers.of(candidate.engine.name, model))

    @staticmethod
    async def _supported_request(backend: "_Backend", request: Request, index: int) -> Request:
        """Return the request that this backend supports. A backup without reasoning or tools answers without them, and one without
        image or audio input is told that there was such an attachment; if the request is strict, it refuses.
        """
        think, turns, tools = request.think, request.turns, request.tools
        if index and not request.strict and (think or tools or has_media(turns)):
            can = await backend.engine.capabilities(backend.model)
            think, turns = think if can.thinks else None, drop_unsupported_media(turns, can)
            tools = tools if can.tools else ()
        return replace(request, model=backend.model, turns=turns, think=think, tools=tools)

    async def _try_backend(
        self,
        backend: "_Backend",
        request: Request,
        out: ReplyWriter,
        failures: list["_AttemptFailure"],
        instead: str,
    ) -> "Outcome | _AttemptFailure":
        """Try one backend until it produces output. Return the failure if nothing was shown; raise it otherwise."""
        clock, timeouts = asyncio.get_running_loop().time, self._timeouts
        first = timeouts.timeout if timeouts.first_token_timeout is None else timeouts.first_token_timeout
        notice = " ".join([*(each.sentence() for each in failures), instead])
        failure: EngineError | None = None
        started = clock()
        for attempt in range(ATTEMPTS):
            if attempt:
                await self._pause(backend, attempt, out, _retry_after(failure))
            if (permit := backend.breaker.admit(clock())) is None:
                break
            if failures and not attempt:
                out.state(State("loading", model=backend.model, detail=notice))
            watchdog = WatchdogWriter(
                out,
                backend.model,
                timeout=timeouts.timeout,
                first_token_timeout=first,
                spoke=partial(backend.breaker.spoke, permit),
                notice=notice if failures else None,
                announce=bool(attempt or failures),
            )
            try:
                return await self._attempt(backend, permit, watchdog, request)
            except EngineError as error:
                if watchdog.shown:
                    raise
                failure = error
                spent = clock() - started >= timeouts.timeout or _retry_after(error) > MAX_RETRY_AFTER
                if spent or not error.retryable or not backend.breaker.closed:
                    break
        return _AttemptFailure(backend, failure, backend.breaker.wait(clock()))

    async def _pause(self, backend: "_Backend", attempt: int, out: ReplyWriter, wanted: float) -> None:
        detail = f"{backend.label} does not answer. Trying again ({attempt + 1} of {ATTEMPTS})."
        out.state(State("queued", model=backend.model, detail=detail))
        pause = exponential_delay(attempt - 1, self._timeouts.backoff, shortened=1 - self._chance())
        await asyncio.sleep(max(pause, wanted))

    @staticmethod
    async def _attempt(
        backend: "_Backend", permit: Permit, watchdog: WatchdogWriter, request: Request
    ) -> Outcome:
        """Make one attempt, and report its result to the breaker."""
        try:
            outcome = await watchdog.attempt(backend.engine.generate, request)
        except EngineError as error:
            if error.retryable:
                asker = request.user or request.conversation or None
                by = asker if _may_be_request(error) else None
                backend.breaker.failed(permit, asyncio.get_running_loop().time(), error.message, by)
            else:
                backend.breaker.succeeded(permit)
            raise
        except BaseException:
            backend.breaker.released(permit)
            raise
        backend.breaker.succeeded(permit)
        return outcome


class _Backend(NamedTuple):
    engine: Engine
    model: str
    label: str
    breaker: Breaker

    def tell_place(self, out: ReplyWriter) -> Callable[[int], None]:
        """Return what tells the reply its place in the queue of the engine."""
        return lambda place: out.state(State("queued", model=self.model, place=place))


def _unlimited(engine: Engine) -> FairSlots:
    return FairSlots(None)


class _AttemptFailure(NamedTuple):
    """Why a backend did not answer; without an `error`, because its breaker is open for `wait` seconds."""

    backend: _Backend
    error: EngineError | None
    wait: float

    def allows(self, other: _Backend) -> bool:
        """Return whether trying `other` makes sense after this failure."""
        return not isinstance(self.error, EngineRefusedError) or other.engine is not self.backend.engine

    def sentence(self) -> str:
        return f"{self.backend.label} {self._verb()} ({self._why()})."

    def _verb(self) -> str:
        match self.error:
            case ModelNotFoundError():
                return "is not there"
            case EngineRefusedError():
                return "refused"
            case _:
                return "does not answer"

    def remedy(self) -> str:
        """Return what to do, if the error says so after its first sentence."""
        return _split_first_sentence(self.error.message)[1] if self.error is not None else ""

    def _why(self) -> str:
        why = self.error.message if self.error is not None else self.backend.breaker.why
        first = _split_first_sentence(why)[0].rstrip(".")
        own = f"{self.backend.model} "
        return f"it {first.removeprefix(own)}" if first.startswith(own) else first or "it does not say why"


def _may_be_request(error: EngineError) -> bool:
    """Return whether the request may be the reason, and not the backend."""
    if isinstance(error, EngineUnavailableError):
        return error.may_be_request
    return isinstance(error, EngineBrokeError | EngineTimeoutError)


def _retry_after(error: EngineError | None) -> float:
    """Return the seconds after which the engine asks to be tried again."""
    return (error.retry_after or 0.0) if isinstance(error, EngineUnavailableError) else 0.0


def _split_first_sentence(message: str) -> tuple[str, str]:
    """Return the first sentence, and all others."""
    first, *rest = re.split(r"(?<=[.!?])\s", message.strip(), maxsplit=1)
    return first, "".join(rest)


def _all_failed(failures: list[_AttemptFailure]) -> EngineError:
    """Return the final error: why each backend did not answer, and what to do."""
    if len(failures) == 1 and failures[0].error is not None:
        return failures[0].error
    text = " ".join(each.sentence() for each in failures)
    errors = [each.error for each in failures if each.error is not None]
    if not errors:
        wait = max(1.0, min(each.wait for each in failures))
        return EngineUnavailableError(f"{text} Please try again in {math.ceil(wait)} s.", retry_after=wait)
    worst = next((error for error in errors if error.retryable), errors[0])
    remedies = list(dict.fromkeys(filter(None, (each.remedy() for each in failures))))
    if not remedies and worst.retryable:
        remedies = ["Please try again in a moment."]
    text = " ".join([text, *remedies])
    too_long = next((error for error in errors if isinstance(error, ContextExceededError)), None)
    if too_long is not None:
        # A shorter prompt may succeed, so the caller must learn how long it may be.
        return ContextExceededError(text, too_long.limit, too_long.asked)
    if isinstance(worst, EngineTimeoutError):
        return EngineTimeoutError(text)
    return EngineUnavailableError(text) if worst.retryable else type(worst)(text)
