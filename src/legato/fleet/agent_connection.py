"""The connection of one agent, without its socket and its clock: frames come in, its handler is called, frames go out."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Protocol

import msgspec
from msgspec import Struct

from legato.broker.rate_limit import RateLimiter
from legato.fleet.agent_values import (
    KEY_LENGTH,
    clean_end,
    clean_held,
    clean_models,
    clean_progress,
    clean_version,
)
from legato.fleet.job_attempt import JobAttempt
from legato.fleet.model_names import MODELS, NAME_LENGTH, by_name, canonical_model_name
from legato.fleet.protocol import (
    AgentWelcome,
    Cancelled,
    Drain,
    EventBatch,
    FromAgent,
    Heartbeat,
    Job,
    JobComplete,
    JobEnded,
    JobError,
    JobFailed,
    Loading,
    ModelInfo,
    Models,
    PromptJob,
    Refused,
    Register,
    Registered,
    RegistrationRefused,
    Status,
    ToAgent,
    Token,
)
from legato.fleet.protocol_adapter import ProtocolAdapter
from legato.fleet.protocol_v1 import ProtocolV1
from legato.fleet.protocol_v2 import ProtocolV2
from legato.stream import State

FORMER = 1024
"""Attempts that a connection remembers as once its agent's."""

UNKNOWN_FRAMES = 60.0
"""Frames a minute that are not JSON or of an unknown type. Of an agent of version 1 so many are dropped; beyond them its
connection is closed."""

REFUSAL_LENGTH = 500
"""Characters of a refusal: it may repeat what the agent sent."""

BAD_REQUEST = 4000
UNAUTHENTICATED = 4001
FORBIDDEN = 4003

_decode = msgspec.json.Decoder(FromAgent).decode
_encode = msgspec.json.Encoder().encode


class ConnectionHandler(Protocol):
    """The owner of the connections. It is called for everything but text, which goes to the sinks."""

    def register(
        self, connection: "AgentConnection", register: Register, models: dict[str, ModelInfo]
    ) -> None:
        """Answer with `grant`, or `refuse`. `models` are those that the agent's key is good for, by canonical name."""
        ...

    def ended(self, connection: "AgentConnection", attempt: JobAttempt, end: JobEnded | JobFailed) -> None:
        """Nothing of this attempt runs any more. `attempt.wanted` says whether the job is still wanted."""
        ...

    def cancelled(self, connection: "AgentConnection", attempt: JobAttempt) -> None:
        """Nothing of this attempt runs any more, because it was cancelled."""
        ...

    def returned(self, connection: "AgentConnection", attempt: JobAttempt, reason: str) -> None:
        """The agent does not run this attempt and gives it back."""
        ...

    def register_again(
        self, connection: "AgentConnection", register: Register, models: dict[str, ModelInfo]
    ) -> None:
        """Replace the models of an agent that has registered before, and answer it with `grant`."""
        ...

    def has_models(self, connection: "AgentConnection", models: dict[str, ModelInfo]) -> None:
        """The models of the agent changed."""
        ...

    def drains(self, connection: "AgentConnection") -> None:
        """The agent takes no more jobs."""
        ...

    def took(self, connection: "AgentConnection") -> None:
        """Call `acknowledge` within a second or so."""
        ...

    def expelled(self, connection: "AgentConnection") -> None:
        """The agent violated the protocol and was told so: it is no part of the fleet any more."""
        ...


class _AnyFrame(Struct):
    type: str


class AgentConnection:
    """Checks what an agent says against what it was given. An agent that violates the protocol is told so, and its connection
    is closed.

    `send_frame` takes a frame, `close` a code and a reason. `allowed` are the models that the agent's key is good for; None
    means any. `owner` names the key. `protocol` is the version that the agent speaks, None until it registers. `registered`: it is
    the connection of an agent of the fleet; `suspended`: that agent was silent for longer than its lease. `heard` is when the
    last frame came. `jobs` and `tokens` count what the agent wrote, on former connections too, `rate` is in tokens a second.
    `stale` counts the events that were dropped because they came too late, `unknown` the frames that were dropped because they
    are no messages of an agent.
    """

    __slots__ = (
        "_close",
        "_counted",
        "_former",
        "_handler",
        "_send_frame",
        "_unknown_limiter",
        "allowed",
        "attempts",
        "heard",
        "id",
        "jobs",
        "open",
        "owner",
        "protocol",
        "rate",
        "registered",
        "stale",
        "suspended",
        "tokens",
        "unknown",
    )

    def __init__(
        self,
        handler: ConnectionHandler,
        id: str,  # noqa: A002 (it is what it is called)
        send_frame: Callable[[bytes], None],
        close: Callable[[int, str], None],
        *,
        allowed: frozenset[str] | None = None,
        owner: str = "",
        now: float = 0.0,
    ) -> None:
        self.id = id
        self.allowed = None if allowed is None else frozenset(map(canonical_model_name, allowed))
        self.attempts: dict[str, JobAttempt] = {}
        self.protocol: ProtocolAdapter | None = None
        self.owner = owner
        self.heard = now
        self.open = True
        self.registered = False
        self.suspended = False
        self.jobs = 0
        self.tokens = 0
        self.rate = 0.0
        self.stale = 0
        self.unknown = 0
        self._unknown_limiter = RateLimiter(UNKNOWN_FRAMES / 60, 60.0)
        self._counted = 0
        self._handler = handler
        self._send_frame = send_frame
        self._close = close
        self._former: OrderedDict[tuple[str, int], None] = OrderedDict()

    def measure(self, seconds: float) -> None:
        """Set `rate` after so many seconds."""
        self.rate = (self.tokens - self._counted) / seconds if seconds > 0 else 0.0
        self._counted = self.tokens

    def count_on_from(self, former: "AgentConnection") -> None:
        """Continue the counts of the agent's former connection."""
        self.jobs, self.tokens = former.jobs, former.tokens
        self.rate, self._counted = former.rate, former._counted

    # Out.

    def send(self, message: ToAgent | PromptJob) -> None:
        if self.open:
            self._send_frame(_encode(message))

    def welcome(self, timestamp: int) -> None:
        """Send the first message. `timestamp` is in milliseconds since the epoch."""
        self.send(AgentWelcome(self.id, timestamp))

    def grant(self, registered: Registered, attempts: dict[str, JobAttempt] | None = None) -> None:
        """Accept the agent. It continues `attempts`."""
        self.id = registered.agent_id
        self.registered = True
        if attempts is not None:
            self.attempts = attempts
        self.send(registered)

    def start(self, attempt: JobAttempt, job: Job | PromptJob) -> None:
        """Give the agent a job."""
        self.attempts[attempt.job] = attempt
        self.send(job)

    def cancel(self, job: str, attempt: int) -> None:
        """Drop what the agent writes of this attempt from now on, and tell it to stop if its protocol can."""
        found = self.attempts.get(job)
        if found is not None and found.attempt == attempt:
            found.wanted = False
            if self.protocol is not None:
                self.protocol.cancel(found)

    def lose(self, job: str) -> None:
        """Take a job from the agent: what it still sends of it is dropped."""
        attempt = self.attempts.pop(job, None)
        if attempt is not None:
            attempt.wanted = False
            self.remember(job, attempt.attempt)

    def remember(self, job: str, attempt: int) -> None:
        """Note that this attempt was the agent's once: events of it are late and no violation."""
        self._former[job, attempt] = None
        if len(self._former) > FORMER:
            self._former.popitem(last=False)

    def acknowledge(self) -> None:
        """Acknowledge all events that were taken."""
        if self.protocol is not None:
            for attempt in self.attempts.values():
                self.protocol.acknowledge(attempt)

    def refuse(self, message: str, code: int = BAD_REQUEST) -> None:
        """Tell the agent why, and close its connection."""
        message = message[:REFUSAL_LENGTH]
        self.send(RegistrationRefused(message))
        self.close(code, message)
        self._handler.expelled(self)

    def close(self, code: int, reason: str = "") -> None:
        if self.open:
            self.open = False
            self._close(code, reason)

    # In.

    def received(self, payload: bytes, now: float) -> None:
        """Handle a frame of the agent."""
        if not self.open:
            return
        self.heard = now
        try:
            message = _decode(payload)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            self._not_understood(payload, error)
            return
        kind = type(message)
        if self.protocol is None:
            if isinstance(message, Register):
                self._register(message)
        elif kind is EventBatch or kind is Token:
            self.protocol.received(message)
        else:
            self._other(message, self.protocol)

    def _other(self, message: FromAgent, protocol: ProtocolAdapter) -> None:
        match message:
            case Register():
                self._register(message)
            case Models(models):
                if self._can_show(models):
                    self._handler.has_models(self, by_name(clean_models(models), self.allowed))
            case Loading(model, progress):
                for attempt in self.attempts.values():
                    same = canonical_model_name(attempt.model) == canonical_model_name(model)
                    if same and attempt.wanted and not attempt.started:
                        attempt.show(State("loading", progress=clean_progress(progress)))
            case Drain():
                self._handler.drains(self)
            case Heartbeat() | Status():
                pass
            case _:
                protocol.received(message)

    def _register(self, register: Register) -> None:
        models = register.facts or [ModelInfo(bare) for name in register.models if (bare := name.strip())]
        if not self._can_show(models):
            return
        if max(len(register.instance or ""), len(register.secret or "")) > KEY_LENGTH:
            self.refuse(f"The instance and the secret of an agent have {KEY_LENGTH} characters at most.")
            return
        register = msgspec.structs.replace(
            register, version=clean_version(register.version), running=clean_held(register.running)
        )
        named = by_name(clean_models(models), self.allowed)
        if models and not named:
            self.refuse("This agent's key is good for none of its models.", FORBIDDEN)
        elif self.protocol is not None:
            self._handler.register_again(self, register, named)
        else:
            self.protocol = ProtocolV2(self) if register.protocol > 1 else ProtocolV1(self)
            self._handler.register(self, register, named)

    def _can_show(self, models: list[ModelInfo]) -> bool:
        """Whether everyone can be shown so many models of such names. The connection of an agent that offers more is closed."""
        if len(models) <= MODELS and all(len(each.name) <= NAME_LENGTH for each in models):
            return True
        self.refuse(
            f"An agent can offer {MODELS:,} models, each with a name of {NAME_LENGTH} characters at most."
        )
        return False

    def _not_understood(self, payload: bytes, error: Exception) -> None:
        """Drop a frame that cannot be decoded, or refuse it.

        A kind of message that is newer than this server is dropped. An agent of version 1 may also send frames that are no
        messages at all, up to a limit. A known kind with wrong fields is refused, because it may have been a part of a reply.
        """
        try:
            kind = msgspec.json.decode(payload, type=_AnyFrame).type
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            kind = None
        resumes = self.protocol is not None and self.protocol.resumes
        if kind in _KINDS or (kind is None and resumes):
            self.refuse(f"That is not a message of an agent: {error}.")
            return
        self.unknown += 1
        if not resumes and not self._unknown_limiter.allows(self.heard):
            message = (
                f"More than {UNKNOWN_FRAMES:g} frames a minute are no messages of an agent. Connect again."
            )
            self.send(RegistrationRefused(message))
            self.close(BAD_REQUEST, message)

    def _remove(self, attempt: JobAttempt) -> None:
        del self.attempts[attempt.job]
        self.remember(attempt.job, attempt.attempt)

    # What the adapter of the protocol reports.

    def had(self, job: str, attempt: int) -> bool:
        return (job, attempt) in self._former

    def finished(self, attempt: JobAttempt, end: JobEnded | JobFailed) -> None:
        self._remove(attempt)
        self._handler.ended(self, attempt, clean_end(end))

    def cancelled(self, attempt: JobAttempt) -> None:
        self._remove(attempt)
        self._handler.cancelled(self, attempt)

    def returned(self, attempt: JobAttempt, reason: str) -> None:
        self._remove(attempt)
        self._handler.returned(self, attempt, reason)

    def took(self) -> None:
        if self.open:
            self._handler.took(self)


_KINDS = frozenset(
    str(kind.__struct_config__.tag)
    for kind in (
        Register,
        Heartbeat,
        Status,
        Token,
        JobComplete,
        JobError,
        EventBatch,
        Cancelled,
        Refused,
        Models,
        Loading,
        Drain,
    )
)
