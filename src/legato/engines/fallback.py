"""An engine made of engines: a primary, backups for it, and patience with each."""

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
from legato.engines.message_format import drop_unsupported_media, has_media
from legato.errors import (
    EngineBrokeError,
    EngineError,
    EngineRefusedError,
    EngineTimeoutError,
    EngineUnavailableError,
    ModelNotFoundError,
)
from legato.stream import State

ATTEMPTS = 3
"""How often one candidate is tried for one reply, at most."""

LONGEST_PAUSE = 10.0
"""Seconds after which an engine may ask to be tried again (`retry_after`), and is; one that asks for more is not."""


class Candidate(NamedTuple):
    """An engine, and the model to ask it for; None means the one that the request names."""

    engine: Engine
    model: str | None = None


class Timeouts(Struct, frozen=True):
    """How long an attempt may be silent, in seconds.

    `timeout` is the silence between two words, and while the engine says that the request is queued, a model is loading
    or the prompt is being read. `first_token_timeout` is the silence before anything came, and that of an agent that was
    given the request (None: `timeout`). `backoff` is the pause after a first failure, doubled after each further one.
    """

    timeout: float = 300.0
    first_token_timeout: float | None = None
    backoff: float = 0.25


class FallbackEngine:
    """Tries its candidates in order until one speaks; from its first word on, the reply is its own.

    While nothing was shown, an attempt that failed or was silent is made again, after a pause that doubles, or as long as
    the engine asks for, unless that is too long or this candidate has cost more than `timeout` already; then the next
    candidate is asked. A model that is not there is not
    asked for twice. A refusal is final, but for candidates on another engine: what was refused (a key, a context too
    long) may be taken there. After a word, a thought or a tool call was shown, a failure is raised as it is.

    The person is told by `State.detail` that somebody else answers, and why; `Outcome.model` is who spoke. A backend
    whose breaker is open is passed over. Cancelling counts as no failure.

    Time is the event loop's; `chance` gives numbers from 0 to 1 for the jitter. The engines are not its own: `close`
    leaves them open.
    """

    def __init__(
        self,
        candidates: Sequence[Candidate],
        *,
        patience: Timeouts | None = None,
        breakers: Breakers | None = None,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """:raises ValueError: without a candidate."""
        if not candidates:
            raise ValueError("a fallback needs a candidate")
        self._candidates = tuple(candidates)
        self._patience = patience or Timeouts()
        self._breakers = breakers or Breakers()
        self._chance = chance

    def asking(self, model: str) -> "FallbackEngine":
        """The same, but that the primary is asked for another model."""
        other = copy.copy(self)
        other._candidates = (self._candidates[0]._replace(model=model), *self._candidates[1:])
        return other

    @property
    def name(self) -> str:
        """The primary's."""
        return self._candidates[0].engine.name

    async def generate(self, request: Request, out: ReplyWriter) -> Outcome:
        troubles: list[_AttemptFailure] = []
        for index, candidate in enumerate(self._candidates):
            backend = self._backend(candidate, request)
            if any(not trouble.allows(backend) for trouble in troubles):
                continue
            fit = await self._fitted(backend, request, index)
            without = " without what it cannot see or hear" if fit.turns != request.turns else ""
            if fit.tools != request.tools:
                without += (" and" if without else "") + " without tools"
            answer = await self._ask(
                backend, fit, out, troubles, f"{backend.label} answers instead{without}."
            )
            if isinstance(answer, Outcome):
                return answer
            troubles.append(answer)
        raise _all_failed(troubles)

    async def capabilities(self, model: str) -> Capabilities:
        """The primary's, with the context of the smallest. A backup that cannot continue refuses a prefix by itself."""
        known = await asyncio.gather(
            *[candidate.engine.capabilities(candidate.model or model) for candidate in self._candidates]
        )
        contexts = [each.context for each in known if each.context is not None]
        return replace(
            known[0],
            context=min(contexts, default=None),
        )

    async def models(self) -> tuple[Model, ...]:
        """Those of all its engines that can be reached."""
        found: list[Model] = []
        trouble: EngineError | None = None
        for engine in self._engines():
            try:
                found += await engine.models()
            except EngineError as error:
                trouble = trouble or error
        if trouble is not None and not found:
            raise trouble
        return tuple(found)

    async def health(self) -> Health:
        """Well where one of its engines is."""
        told = await asyncio.gather(*[engine.health() for engine in self._engines()])
        well = next((each for each in told if each.ok), told[0])
        return replace(well, detail=" ".join(dict.fromkeys(each.detail for each in told)))

    async def close(self) -> None:
        """Nothing: its engines belong to whoever made them."""

    def _engines(self) -> list[Engine]:
        return list({id(candidate.engine): candidate.engine for candidate in self._candidates}.values())

    def _backend(self, candidate: Candidate, request: Request) -> "_Backend":
        model = candidate.model or request.model
        names = [each.model or request.model for each in self._candidates]
        label = model if names.count(model) == 1 else f"{model} on {candidate.engine.name}"
        return _Backend(candidate.engine, model, label, self._breakers.of(candidate.engine.name, model))

    @staticmethod
    async def _fitted(backend: "_Backend", request: Request, index: int) -> Request:
        """The request as this backend can take it: a backup that cannot think, or use tools, answers without, and one that
        cannot see or hear is told that there was something."""
        think, turns, tools = request.think, request.turns, request.tools
        if index and (think or tools or has_media(turns)):
            can = await backend.engine.capabilities(backend.model)
            think, turns = think if can.thinks else None, drop_unsupported_media(turns, can)
            tools = tools if can.tools else ()
        return replace(request, model=backend.model, turns=turns, think=think, tools=tools)

    async def _ask(
        self,
        backend: "_Backend",
        request: Request,
        out: ReplyWriter,
        troubles: list["_AttemptFailure"],
        instead: str,
    ) -> "Outcome | _AttemptFailure":
        """Try one backend until it speaks. Returns what went wrong while nothing was shown, and raises afterwards."""
        clock, patience = asyncio.get_running_loop().time, self._patience
        first = patience.timeout if patience.first_token_timeout is None else patience.first_token_timeout
        notice = " ".join([*(trouble.sentence() for trouble in troubles), instead])
        failure: EngineError | None = None
        begun = clock()
        for attempt in range(ATTEMPTS):
            if attempt:
                await self._pause(backend, attempt, out, _wanted_pause(failure))
            if (leave := backend.breaker.admit(clock())) is None:
                break
            if troubles and not attempt:
                out.state(State("loading", model=backend.model, detail=notice))
            watch = WatchdogWriter(
                out,
                backend.model,
                timeout=patience.timeout,
                first_token_timeout=first,
                spoke=partial(backend.breaker.spoke, leave),
                notice=notice if troubles else None,
                announce=bool(attempt or troubles),
            )
            try:
                return await self._once(backend, leave, watch, request)
            except EngineError as error:
                if watch.shown:
                    raise
                failure = error
                spent = clock() - begun >= patience.timeout or _wanted_pause(error) > LONGEST_PAUSE
                if spent or not error.retryable or not backend.breaker.closed:
                    break
        return _AttemptFailure(backend, failure, backend.breaker.wait(clock()))

    async def _pause(self, backend: "_Backend", attempt: int, out: ReplyWriter, wanted: float) -> None:
        detail = f"{backend.label} does not answer. Trying again ({attempt + 1} of {ATTEMPTS})."
        out.state(State("queued", model=backend.model, detail=detail))
        pause = exponential_delay(attempt - 1, self._patience.backoff, shortened=1 - self._chance())
        await asyncio.sleep(max(pause, wanted))

    @staticmethod
    async def _once(backend: "_Backend", leave: Permit, watch: WatchdogWriter, request: Request) -> Outcome:
        """One attempt, and what the breaker is told of it."""
        try:
            outcome = await watch.attempt(backend.engine.generate, request)
        except EngineError as error:
            if error.retryable:
                asker = request.user or request.conversation or None
                by = asker if _may_be_request(error) else None
                backend.breaker.failed(leave, asyncio.get_running_loop().time(), error.message, by)
            else:
                backend.breaker.succeeded(leave)
            raise
        except BaseException:
            backend.breaker.released(leave)
            raise
        backend.breaker.succeeded(leave)
        return outcome


class _Backend(NamedTuple):
    engine: Engine
    model: str
    label: str
    breaker: Breaker


class _AttemptFailure(NamedTuple):
    """Why a backend did not answer; without an `error`, because its breaker is open for `wait` seconds."""

    backend: _Backend
    error: EngineError | None
    wait: float

    def allows(self, other: _Backend) -> bool:
        """Whether asking `other` makes sense after this."""
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
        """What to do about it, where the error says so behind what happened."""
        return _parted(self.error.message)[1] if self.error is not None else ""

    def _why(self) -> str:
        why = self.error.message if self.error is not None else self.backend.breaker.why
        first = _parted(why)[0].rstrip(".")
        own = f"{self.backend.model} "
        return f"it {first.removeprefix(own)}" if first.startswith(own) else first or "it does not say why"


def _may_be_request(error: EngineError) -> bool:
    """Whether the request may be why, and not the backend."""
    if isinstance(error, EngineUnavailableError):
        return error.may_be_request
    return isinstance(error, EngineBrokeError | EngineTimeoutError)


def _wanted_pause(error: EngineError | None) -> float:
    """The seconds that an engine asks to be left alone."""
    return (error.retry_after or 0.0) if isinstance(error, EngineUnavailableError) else 0.0


def _parted(message: str) -> tuple[str, str]:
    """The first sentence, and all others."""
    first, *rest = re.split(r"(?<=[.!?])\s", message.strip(), maxsplit=1)
    return first, "".join(rest)


def _all_failed(troubles: list[_AttemptFailure]) -> EngineError:
    """What the person is told in the end: why each did not answer, and what to do."""
    if len(troubles) == 1 and troubles[0].error is not None:
        return troubles[0].error
    told = " ".join(trouble.sentence() for trouble in troubles)
    errors = [trouble.error for trouble in troubles if trouble.error is not None]
    if not errors:
        wait = max(1.0, min(trouble.wait for trouble in troubles))
        return EngineUnavailableError(f"{told} Please try again in {math.ceil(wait)} s.", retry_after=wait)
    worst = next((error for error in errors if error.retryable), errors[0])
    remedies = list(dict.fromkeys(filter(None, (trouble.remedy() for trouble in troubles))))
    if not remedies and worst.retryable:
        remedies = ["Please try again in a moment."]
    told = " ".join([told, *remedies])
    if isinstance(worst, EngineTimeoutError):
        return EngineTimeoutError(told)
    return EngineUnavailableError(told) if worst.retryable else type(worst)(told)
