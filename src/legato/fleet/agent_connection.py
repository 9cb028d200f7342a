"""The connection of one agent, without its socket and its clock: frames in, the host told, frames out.

A token takes one way through here: decoded, its lease looked up, and into the lease's sink in the same call.
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import Protocol

import msgspec
from msgspec import Struct

from legato.fleet.job_attempt import JobAttempt
from legato.fleet.model_names import MODELS, NAME_LENGTH, by_name, canonical_model_name
from legato.fleet.protocol import (
    Acknowledged,
    AgentWelcome,
    Cancel,
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
    ToolCalled,
)
from legato.fleet.protocol_v1 import first_name
from legato.stream import Reasoning, State, Text

ACK_EVENTS = 64
"""As many events are acknowledged at once; fewer when the host's `dirty` timer says so."""

PAST = 1024
"""Jobs of which it is remembered that they were this agent's once."""

BAD_REQUEST = 4000
UNAUTHENTICATED = 4001
FORBIDDEN = 4003

SAID_NOTHING = "the model said nothing"

_decode = msgspec.json.Decoder(FromAgent).decode
_encode = msgspec.json.Encoder().encode


class ConnectionHandler(Protocol):
    """Whoever keeps the links. It is told of everything but words, which go to the sinks."""

    def registers(self, link: "AgentConnection", register: Register) -> None:
        """Answer with `grant`, or `refuse`."""
        ...

    def ended(self, link: "AgentConnection", lease: JobAttempt, end: JobEnded | JobFailed) -> None:
        """Nothing of this runs any more. `lease.wanted` says whether anybody cares."""
        ...

    def cancelled(self, link: "AgentConnection", lease: JobAttempt) -> None: ...

    def refused(self, link: "AgentConnection", lease: JobAttempt, reason: str) -> None: ...

    def models(self, link: "AgentConnection", facts: dict[str, ModelInfo]) -> None: ...

    def drains(self, link: "AgentConnection") -> None: ...

    def dirty(self, link: "AgentConnection") -> None:
        """Call `acknowledge` within a second or so."""
        ...

    def expelled(self, link: "AgentConnection") -> None:
        """It broke the rules, and is told so: it is of the fleet no more."""
        ...


class _AnyFrame(Struct):
    type: str


class AgentConnection:
    """What an agent says is held against what it was given; one that breaks the rules is told so and hung up on.

    `send` takes a frame, `close` a code and a reason. `allowed` are the models that its key is good for; None means any.
    `owner` is whose key it is. Models are known by their `canonical_model_name` names.
    `generation` is 0 until it has registered. `tokens` counts what it wrote, `stale` what was refused because it came too
    late.
    """

    __slots__ = (
        "_close",
        "_host",
        "_past",
        "_send",
        "allowed",
        "facts",
        "generation",
        "heard",
        "id",
        "leases",
        "open",
        "owner",
        "stale",
        "tokens",
    )

    def __init__(
        self,
        host: ConnectionHandler,
        id: str,  # noqa: A002 (it is what it is called)
        send: Callable[[bytes], None],
        close: Callable[[int, str], None],
        *,
        allowed: frozenset[str] | None = None,
        owner: str = "",
        now: float = 0.0,
    ) -> None:
        self.id = id
        self.allowed = None if allowed is None else frozenset(map(canonical_model_name, allowed))
        self.generation = 0
        self.facts: dict[str, ModelInfo] = {}
        self.leases: dict[str, JobAttempt] = {}
        self.owner = owner
        self.heard = now
        self.open = True
        self.tokens = 0
        self.stale = 0
        self._host = host
        self._send = send
        self._close = close
        self._past: OrderedDict[tuple[str, int], None] = OrderedDict()

    # Out.

    def say(self, message: ToAgent | PromptJob) -> None:
        if self.open:
            self._send(_encode(message))

    def welcome(self, timestamp: int) -> None:
        """The first word is the gateway's. `timestamp` is in milliseconds since the epoch."""
        self.say(AgentWelcome(self.id, timestamp))

    def grant(self, registered: Registered, leases: dict[str, JobAttempt] | None = None) -> None:
        """It is one of the fleet, and goes on with `leases`."""
        self.id = registered.agent_id
        self.generation = registered.protocol
        if leases is not None:
            self.leases = leases
        self.say(registered)

    def start(self, lease: JobAttempt, job: Job | PromptJob) -> None:
        """Give it a job."""
        self.leases[lease.job] = lease
        self.say(job)

    def cancel(self, job: str, attempt: int) -> None:
        """Nobody wants this any more: nothing of it is heard from now on. The first generation cannot be told."""
        lease = self.leases.get(job)
        if lease is not None and lease.attempt == attempt:
            lease.wanted = False
            if self.generation > 1:
                self.say(Cancel(job, attempt))

    def lose(self, job: str) -> None:
        """This is not the agent's job any more; what it still sends of it is refused."""
        lease = self.leases.pop(job, None)
        if lease is not None:
            lease.wanted = False
            self.remember(job, lease.attempt)

    def remember(self, job: str, attempt: int) -> None:
        """It had this once: to send of it is late, and no lie."""
        self._past[job, attempt] = None
        if len(self._past) > PAST:
            self._past.popitem(last=False)

    def acknowledge(self) -> None:
        """Tell what was taken and not yet acknowledged."""
        for lease in self.leases.values():
            self._acknowledge(lease)

    def refuse(self, message: str, code: int = BAD_REQUEST) -> None:
        """Say why, and hang up."""
        self.say(RegistrationRefused(message))
        self.hang_up(code, message)
        self._host.expelled(self)

    def hang_up(self, code: int, reason: str = "") -> None:
        if self.open:
            self.open = False
            self._close(code, reason)

    # In.

    def received(self, payload: bytes, now: float) -> None:
        """A frame of the agent."""
        if not self.open:
            return
        self.heard = now
        try:
            message = _decode(payload)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            self._not_understood(payload, error)
            return
        kind = type(message)
        if kind is EventBatch and self.generation > 1:
            self._events(message)
        elif kind is Token and self.generation == 1:
            self._token(message)
        elif self.generation or isinstance(message, Register):
            self._other(message)

    def _token(self, message: Token) -> None:
        lease = self.leases.get(message.job_id)
        if lease is None or lease.attempt > 1:
            lease = self._again(message.job_id)
        if lease is None:
            self.stale += 1
            return
        text = message.token
        if text:
            self.tokens += 1
            if not lease.write(text):
                self._too_much(lease)
                return
            if lease.wanted:
                lease.sink.text(text)
        if message.done:
            self._complete(lease)

    def _events(self, message: EventBatch) -> None:
        lease = self.leases.get(message.job_id)
        if lease is None or lease.attempt != message.attempt:
            if (message.job_id, message.attempt) in self._past:
                self.stale += len(message.events)
            else:
                self.refuse(f"Job {message.job_id:.40}, attempt {message.attempt}, is not this agent's.")
            return
        if message.from_ != lease.next:
            self.refuse(
                f"Events of job {lease.job} are missing: {lease.next} was expected, not {message.from_}."
            )
            return
        sink = lease.sink
        for event in message.events:
            lease.next += 1
            kind = type(event)
            if kind is Text or kind is Reasoning:
                text: str = event.text  # type: ignore[union-attr]
                self.tokens += bool(text)
                if not lease.write(text):
                    self._too_much(lease)
                    return
                if not lease.wanted:
                    self.stale += 1
                    continue
                if kind is Text:
                    sink.text(text)
                else:
                    sink.reasoning(text)
            elif isinstance(event, JobEnded | JobFailed):
                if lease.next != message.from_ + len(message.events):
                    self.refuse(f"Job {lease.job} goes on behind its end.")
                    return
                self._last(lease, event)
                return
            elif lease.wanted:
                if isinstance(event, ToolCalled):
                    lease.room -= 1
                    sink.tool_call(event.call)
                elif isinstance(event, State):
                    sink.state(event)
        if lease.next - lease.told >= ACK_EVENTS:
            self._acknowledge(lease)
        elif self.open:
            self._host.dirty(self)

    def _other(self, message: FromAgent) -> None:
        match message:
            case Register():
                self._register(message)
            case JobComplete(job_id):
                if (lease := self._first(job_id)) is not None:
                    self._complete(lease)
            case JobError(job_id, error):
                if (lease := self._first(job_id)) is not None:
                    self._last(
                        lease, JobFailed("engine_broke", error or "The agent failed, and does not say why.")
                    )
            case Cancelled(job_id, attempt):
                lease = self._mine(job_id, attempt)
                if lease is not None:
                    self.lose(job_id)
                    self._host.cancelled(self, lease)
            case Refused(job_id, attempt, reason):
                lease = self._mine(job_id, attempt)
                if lease is not None:
                    self.lose(job_id)
                    self._host.refused(self, lease, reason)
            case Models(facts):
                if self._listable(facts):
                    self._host.models(self, by_name(facts, self.allowed))
            case Loading(model, progress):
                for lease in self.leases.values():
                    if (
                        canonical_model_name(lease.model) == canonical_model_name(model)
                        and lease.wanted
                        and not lease.began
                    ):
                        lease.sink.state(State("loading", progress=progress))
            case Drain():
                self._host.drains(self)
            case Heartbeat() | Status() | Token() | EventBatch():
                pass

    def _listable(self, facts: list[ModelInfo]) -> bool:
        """Whether so many models of such names can be shown to everyone; an agent that offers more is sent away."""
        if len(facts) <= MODELS and all(len(each.name) <= NAME_LENGTH for each in facts):
            return True
        self.refuse(
            f"An agent can offer {MODELS:,} models, each with a name of {NAME_LENGTH} characters at most."
        )
        return False

    def _register(self, register: Register) -> None:
        facts = register.facts or [ModelInfo(bare) for name in register.models if (bare := name.strip())]
        if not self._listable(facts):
            return
        named = by_name(facts, self.allowed)
        if facts and not named:
            self.refuse("This agent's key is good for none of its models.", FORBIDDEN)
        elif self.generation:
            self._host.models(self, named)
        else:
            self.facts = named
            self._host.registers(self, register)

    def _complete(self, lease: JobAttempt) -> None:
        """The end of a job of the first generation, whose agents pass over an error of their model in silence."""
        if lease.began:
            self._last(lease, JobEnded("stop", lease.model))
        else:
            self._last(lease, JobFailed("engine_broke", SAID_NOTHING))

    def _last(self, lease: JobAttempt, end: JobEnded | JobFailed) -> None:
        lease.over = True
        self._acknowledge(lease)
        del self.leases[lease.job]
        self.remember(lease.job, lease.attempt)
        self._host.ended(self, lease, end)

    def _first(self, name: str) -> JobAttempt | None:
        """The lease that an agent of the first generation means."""
        if self.generation != 1:
            return None
        lease = self.leases.get(name)
        return lease if lease is not None and lease.attempt == 1 else self._again(name)

    def _again(self, name: str) -> JobAttempt | None:
        """Likewise where it is another attempt of a job. It bears a name of its own, because an agent that was cut off may
        still say what it had to say of the one before."""
        lease = self.leases.get(name.partition(".")[0])
        return lease if lease is not None and name == first_name(lease.job, lease.attempt) else None

    def _mine(self, job: str, attempt: int) -> JobAttempt | None:
        lease = self.leases.get(job)
        return lease if lease is not None and lease.attempt == attempt and self.generation > 1 else None

    def _acknowledge(self, lease: JobAttempt) -> None:
        if lease.next > lease.told and self.generation > 1:
            lease.told = lease.next
            self.say(Acknowledged(lease.job, lease.attempt, lease.next))

    def _too_much(self, lease: JobAttempt) -> None:
        self.refuse(f"Job {lease.job} wrote more than it was asked for.")

    def _not_understood(self, payload: bytes, error: Exception) -> None:
        """A kind of message that came later than this server is passed over; anything else is no agent."""
        try:
            known = msgspec.json.decode(payload, type=_AnyFrame).type in _KINDS
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            known = True
        if known:
            self.refuse(f"That is not a message of an agent: {error}.")


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
