"""The gateway's side of the agent protocol, written from `legato.fleet.protocol` alone. It has no socket.

It is stricter than a gateway need be: whatever a well-behaved agent would not say fails the test.
"""

import msgspec

from legato.domain.message import TextPart
from legato.engines.base import Turn
from legato.fleet.protocol import (
    Acknowledged,
    AgentWelcome,
    Cancel,
    Cancelled,
    EventBatch,
    FromAgent,
    Job,
    JobComplete,
    JobEnded,
    JobError,
    JobEvent,
    JobFailed,
    PromptJob,
    Refused,
    Register,
    Registered,
    ResumeAt,
    Token,
)
from legato.stream import Reasoning, Text

Key = tuple[str, int]


class Gateway:
    """One agent's books, over all its connections. What it says is put to `out`; what it took is in `taken`."""

    def __init__(self, version: int = 2, *, acknowledges: bool = True) -> None:
        self.version = version
        self.acknowledges = acknowledges
        self.lease: float | None = None
        self.heartbeat: float | None = None
        self.out: list[bytes] = []
        self.heard: list[object] = []
        self.taken: dict[Key, list[JobEvent]] = {}
        self.leased: set[Key] = set()
        self.lost: set[Key] = set()
        self.refused: dict[Key, str] = {}
        self.cancelling: set[Key] = set()
        self.cancelled: set[Key] = set()
        self.tokens: dict[str, list[str]] = {}
        self.over: dict[str, str | None] = {}
        self.registered = False

    def connect(self) -> None:
        self.out.clear()
        self.registered = False
        self.cancelling.clear()
        self.say(AgentWelcome("a1", 0))

    def say(self, message: msgspec.Struct) -> None:
        self.out.append(msgspec.json.encode(message))

    def push(
        self, job_id: str, text: str = "Hello", *, attempt: int = 1, model: str = "demo:echo", **more: object
    ) -> Key:
        self.taken[(job_id, attempt)] = []
        self.leased.add((job_id, attempt))
        self.say(Job(job_id, attempt, model, (Turn("user", (TextPart(text),)),), **more))  # type: ignore[arg-type]
        return (job_id, attempt)

    def prompt(self, job_id: str, text: str, model: str = "demo:echo", **parameters: object) -> None:
        self.tokens[job_id] = []
        self.say(PromptJob(job_id, model, text, parameters))

    def cancel(self, key: Key) -> None:
        self.cancelling.add(key)
        self.leased.discard(key)
        self.say(Cancel(*key))

    def acknowledge(self, key: Key) -> None:
        self.say(Acknowledged(*key, len(self.taken[key])))

    def hear(self, frame: bytes | str) -> None:
        message = msgspec.json.decode(frame, type=FromAgent)
        self.heard.append(message)
        match message:
            case Register():
                self._register(message)
            case EventBatch():
                self._take(message)
            case Cancelled():
                key = (message.job_id, message.attempt)
                assert key in self.cancelling, "nobody cancelled this on this connection"
                self.cancelling.discard(key)
                self.cancelled.add(key)
            case Refused():
                key = (message.job_id, message.attempt)
                self.refused[key] = message.reason
                self.leased.discard(key)
            case Token():
                assert self.version == 1
                assert message.job_id not in self.over
                self.tokens[message.job_id].append(message.token)
            case JobComplete():
                self.over[message.job_id] = None
            case JobError():
                self.over[message.job_id] = message.error
            case _:
                assert self.registered or self.version == 1

    def _register(self, message: Register) -> None:
        assert not self.registered
        self.registered = True
        if self.version == 1:
            self.out.append(b'{"type":"registered","agentId":"a1","timestamp":0}')
            return
        assert message.protocol == 2
        resume = []
        held = {(each.job_id, each.attempt): each for each in message.running}
        for key in self.leased - held.keys():
            if not self.ended(key):
                self.lost.add(key)
        self.leased -= self.lost
        for key, each in held.items():
            if key in self.leased:
                offset = len(self.taken[key])
                assert each.first <= offset <= each.next
                resume.append(ResumeAt(*key, offset))
        self.say(
            Registered(
                "a1",
                0,
                protocol=2,
                secret="s",
                heartbeat=self.heartbeat,
                lease=self.lease,
                resume=resume,
            )
        )

    def _take(self, message: EventBatch) -> None:
        assert self.registered, "events before it was registered"
        assert message.events, "a frame with nothing in it"
        key = (message.job_id, message.attempt)
        taken = self.taken[key]
        if key not in self.leased:
            assert key in self.cancelling | self.cancelled, "a job that is not the agent's"
            assert key in self.cancelling, "it goes on after it said that it was cancelled"
            return
        assert message.from_ == len(taken), "an offset was left out or sent twice"
        assert not self.ended(key), "something after the last event"
        taken += message.events
        if self.acknowledges:
            self.acknowledge(key)

    def ended(self, key: Key) -> bool:
        events = self.taken[key]
        return bool(events) and isinstance(events[-1], JobEnded | JobFailed)

    def text(self, key: Key) -> str:
        return "".join(event.text for event in self.taken[key] if isinstance(event, Text))

    def thought(self, key: Key) -> str:
        return "".join(event.text for event in self.taken[key] if isinstance(event, Reasoning))
