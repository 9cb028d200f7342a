"""An agent's connection: what it may say, and what is said to it."""

from typing import Any

import msgspec
import pytest

from legato.fleet.agent_connection import AgentConnection
from legato.fleet.job_attempt import MAX_CHARACTERS, JobAttempt
from legato.fleet.protocol import Job, JobEnded, JobFailed, ModelInfo, PromptJob, Register, Registered
from legato.fleet.protocol_v1 import attempt_name
from legato.testing.engine import Recorder


class Sink(Recorder):
    """A `JobSink` that also records that the agent marked its last text: `marks` holds the number of texts before it."""

    def __init__(self) -> None:
        super().__init__()
        self.marks: list[int] = []

    def final(self) -> None:
        self.marks.append(len(self.words))


class RecordingHandler:
    """Grants everything and records the calls."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Any]] = []

    def register(self, connection: AgentConnection, register: Register, models: dict[str, ModelInfo]) -> None:
        connection.grant(Registered("me", 1, min(register.protocol, 2), "secret"))
        self.calls.append(("register", sorted(models)))

    def ended(self, connection: AgentConnection, attempt: JobAttempt, end: JobEnded | JobFailed) -> None:
        self.calls.append(("ended", end))

    def cancelled(self, connection: AgentConnection, attempt: JobAttempt) -> None:
        self.calls.append(("cancelled", attempt.job))

    def returned(self, connection: AgentConnection, attempt: JobAttempt, reason: str) -> None:
        self.calls.append(("refused", reason))

    def register_again(
        self, connection: AgentConnection, register: Register, models: dict[str, ModelInfo]
    ) -> None:
        connection.grant(Registered("me", 1))
        self.calls.append(("register again", sorted(models)))

    def has_models(self, connection: AgentConnection, models: dict[str, ModelInfo]) -> None:
        self.calls.append(("models", sorted(models)))

    def drains(self, connection: AgentConnection) -> None:
        self.calls.append(("drains", None))

    def took(self, connection: AgentConnection) -> None:
        self.calls.append(("took", None))

    def expelled(self, connection: AgentConnection) -> None:
        self.calls.append(("expelled", None))


class Wire:
    """A connection, what it sent, and an agent that a test controls."""

    def __init__(self, protocol: int = 2, allowed: frozenset[str] | None = None, **register: Any) -> None:
        self.handler = RecordingHandler()
        self.sent: list[dict[str, Any]] = []
        self.closed: tuple[int, str] | None = None
        self.connection = AgentConnection(self.handler, "id", self._send, self._close, allowed=allowed)
        self.out = Sink()
        if protocol:
            self.hear({"type": "register", "models": ["m"], "protocol": protocol, **register})
            self.registered_models = (
                self.handler.calls[0][1] if self.handler.calls[0][0] == "register" else []
            )
            self.sent.clear()
            self.handler.calls.clear()

    def _send(self, frame: bytes) -> None:
        self.sent.append(msgspec.json.decode(frame))

    def _close(self, code: int, reason: str) -> None:
        self.closed = (code, reason)

    def hear(self, *messages: dict[str, Any]) -> None:
        for message in messages:
            self.connection.received(msgspec.json.encode(message), 0)

    def job(self, options: dict[str, Any] | None = None) -> JobAttempt:
        attempt = JobAttempt("j", 1, "m", self.out, options)
        self.connection.start(attempt, Job("j", 1, "m", ()))
        self.sent.clear()
        return attempt

    def events(self, begin: int, *events: dict[str, Any], attempt: int = 1, job: str = "j") -> None:
        self.hear({"type": "events", "jobId": job, "attempt": attempt, "from": begin, "events": list(events)})

    @property
    def refusal(self) -> str:
        assert self.closed is not None
        assert ("expelled", None) in self.handler.calls
        return next(str(each["message"]) for each in self.sent if each["type"] == "error")


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


def test_it_is_welcomed_and_registered() -> None:
    wire = Wire(0)
    wire.connection.welcome(5)
    wire.hear({"type": "register", "models": ["m"]})
    assert wire.sent == [
        {"type": "welcome", "agentId": "id", "timestamp": 5},
        {"type": "registered", "agentId": "me", "timestamp": 1, "secret": "secret"},
    ]


def test_before_it_has_registered_nothing_counts() -> None:
    wire = Wire(0)
    wire.hear({"type": "token", "jobId": "old", "token": "x"}, {"type": "heartbeat", "timestamp": 1.5})
    assert (wire.closed, wire.sent) == (None, [])


@pytest.mark.parametrize(
    "sign",
    [
        {"type": "heartbeat", "timestamp": "2025-08-14T16:13:32Z"},
        {"type": "heartbeat", "timestamp": -(10**30)},
        {"type": "heartbeat", "timestamp": None},
        {"type": "heartbeat"},
        {"type": "status"},
    ],
)
def test_any_time_will_do_for_a_sign_of_life(sign: dict[str, Any]) -> None:
    wire = Wire(1)
    wire.hear(sign)
    assert (wire.closed, wire.sent) == (None, [])


@pytest.mark.parametrize("models", [[f"m{n}" for n in range(1001)], ["m" * 257]])
@pytest.mark.parametrize("late", [False, True])
def test_more_models_than_can_be_shown_are_refused(models: list[str], late: bool) -> None:
    wire = Wire(protocol=2 if late else 0)
    if late:
        wire.hear({"type": "models", "facts": [{"name": name} for name in models]})
    else:
        wire.hear({"type": "register", "models": models, "protocol": 2})
    assert "models" in wire.refusal
    assert [kind for kind, _ in wire.handler.calls] == ["expelled"]


class TestVersion1:
    def test_tokens_go_where_they_are_wanted_one_by_one(self) -> None:
        wire = Wire(1)
        wire.job()
        for word in ("Hel", "", "lo"):
            wire.hear({"type": "token", "jobId": "j", "token": word, "done": False})
        wire.hear({"type": "status", "status": "idle"}, {"type": "job_complete", "jobId": "j"})
        assert wire.out.words == ["Hel", "lo"]
        assert wire.handler.calls == [("ended", JobEnded("stop", "m"))]

    def test_a_token_that_says_done_is_the_end_and_the_complete_behind_it_nothing(self) -> None:
        wire = Wire(1)
        wire.job()
        wire.hear(
            {"type": "token", "jobId": "j", "token": "x", "done": True},
            {"type": "job_complete", "jobId": "j"},
        )
        assert wire.handler.calls == [("ended", JobEnded("stop", "m"))]
        assert wire.out.marks == [0]

    def test_an_empty_last_token_marks_the_end_of_a_text_and_not_of_nothing(self) -> None:
        wire = Wire(1)
        wire.job()
        wire.hear({"type": "token", "jobId": "j", "token": "x"})
        wire.hear({"type": "token", "jobId": "j", "token": "", "done": True})
        assert wire.out.marks == [1]
        wire.job()
        wire.hear({"type": "token", "jobId": "j", "token": "", "done": True})
        assert wire.out.marks == [1]

    def test_it_may_register_again_and_is_answered(self) -> None:
        wire = Wire(1)
        wire.hear({"type": "register", "models": ["other"]})
        assert [each["type"] for each in wire.sent] == ["registered"]
        assert wire.handler.calls == [("register again", ["other"])]

    @pytest.mark.parametrize(
        "garbage",
        [b"", b"{", b"\xff", b"[]", b"7", b"null", b"[" * 100_000, b'{"type":3}', b'{"type":"dance"}'],
    )
    def test_frames_that_are_no_messages_are_dropped_up_to_a_limit(self, garbage: bytes) -> None:
        wire = Wire(1)
        wire.job()
        for second in range(120):
            wire.connection.received(garbage, float(second))
        for _ in range(60):
            wire.connection.received(garbage, 180.0)
        assert (wire.closed, wire.sent, wire.handler.calls) == (None, [], [])
        assert wire.connection.unknown == 180
        wire.connection.received(garbage, 180.0)
        assert wire.closed is not None
        assert wire.closed[0] == 4000
        assert ("expelled", None) not in wire.handler.calls, "what it wrote stays"

    @pytest.mark.parametrize("frame", [{"type": "token"}, {"type": "token", "jobId": "j", "token": 7}])
    def test_a_token_with_wrong_fields_is_refused(self, frame: dict[str, Any]) -> None:
        wire = Wire(1)
        wire.hear(frame)
        assert "not a message of an agent" in wire.refusal

    def test_an_empty_reply_is_an_error(self) -> None:
        wire = Wire(1)
        wire.job()
        wire.hear({"type": "job_complete", "jobId": "j"})
        assert wire.handler.calls == [("ended", JobFailed("engine_broke", "the model said nothing"))]

    def test_its_error_is_told_in_its_words(self) -> None:
        wire = Wire(1)
        wire.job()
        wire.hear({"type": "job_error", "jobId": "j", "error": "out of memory"})
        assert wire.handler.calls == [("ended", JobFailed("engine_broke", "out of memory"))]

    def test_a_refusal_of_the_length_is_no_broken_engine(self) -> None:
        wire = Wire(1)
        wire.job()
        said = "the prompt exceeds the context length of 4096 tokens"
        wire.hear({"type": "job_error", "jobId": "j", "error": said})
        assert wire.handler.calls == [("ended", JobFailed("engine_refused", said))]

    def test_foreign_jobs_are_passed_over(self) -> None:
        wire = Wire(1)
        wire.job()
        wire.hear(
            {"type": "token", "jobId": "other", "token": "x"},
            {"type": "job_complete", "jobId": "other"},
            {"type": "job_error", "jobId": "other", "error": ""},
        )
        assert (wire.out.words, wire.handler.calls, wire.closed) == ([], [], None)

    def test_it_is_not_told_to_stop_and_not_heard_any_more(self) -> None:
        wire = Wire(1)
        wire.job()
        wire.connection.cancel("j", 1)
        wire.hear({"type": "token", "jobId": "j", "token": "x"}, {"type": "job_complete", "jobId": "j"})
        assert (wire.out.words, wire.sent) == ([], [])
        assert wire.handler.calls == [("ended", JobEnded("stop", "m"))]


class TestVersion2:
    def test_events_are_taken_in_order_and_acknowledged(self) -> None:
        wire = Wire()
        wire.job()
        wire.events(0, text("a"), {"type": "reasoning", "text": "b"})
        wire.events(2, {"type": "state", "phase": "loading"}, text("c"))
        assert (wire.out.said, wire.out.thought) == ("ac", "b")
        assert wire.sent == []
        wire.connection.acknowledge()
        assert wire.sent == [{"type": "ack", "jobId": "j", "attempt": 1, "offset": 4}]
        wire.connection.acknowledge()
        assert len(wire.sent) == 1

    def test_many_are_acknowledged_at_once(self) -> None:
        wire = Wire()
        wire.job()
        wire.events(0, *(text("x") for _ in range(64)))
        assert [each["offset"] for each in wire.sent] == [64]

    def test_the_last_event_ends_it_and_is_acknowledged(self) -> None:
        wire = Wire()
        wire.job()
        wire.events(0, text("a"), {"type": "ended", "reason": "length", "model": "m"})
        assert [each["offset"] for each in wire.sent] == [2]
        assert wire.handler.calls == [("ended", JobEnded("length", "m"))]

    @pytest.mark.parametrize("begin", [0, 2, -1, 2**62])
    def test_events_out_of_order_are_refused(self, begin: int) -> None:
        wire = Wire()
        wire.job()
        wire.events(0, text("a"))
        wire.events(begin, text("b"))
        assert wire.out.said == "a"
        assert "1 was expected" in wire.refusal

    def test_a_job_that_was_never_its_own_is_refused(self) -> None:
        wire = Wire()
        wire.job()
        wire.events(0, text("a"), job="other")
        assert wire.out.said == ""
        assert "is not this agent's" in wire.refusal

    def test_another_attempt_is_refused(self) -> None:
        wire = Wire()
        wire.job()
        wire.events(0, text("a"), attempt=2)
        assert wire.out.said == ""
        assert wire.refusal

    def test_what_comes_too_late_is_passed_over(self) -> None:
        wire = Wire()
        wire.job()
        wire.connection.lose("j")
        wire.events(0, text("a"))
        assert (wire.out.said, wire.closed, wire.connection.stale) == ("", None, 1)

    def test_nothing_stands_behind_the_end(self) -> None:
        wire = Wire()
        wire.job()
        wire.events(0, {"type": "ended", "reason": "stop", "model": "m"}, text("a"))
        assert wire.out.said == ""
        assert wire.refusal

    def test_more_than_was_asked_for_is_refused(self) -> None:
        wire = Wire()
        wire.job({"num_predict": 10})
        for offset in range(200):
            wire.events(offset, text("a"))
        assert "more than it was asked for" in wire.refusal
        assert len(wire.out.said) < 110

    @pytest.mark.parametrize(
        "options",
        [
            {"max_tokens": 1},
            {"max_completion_tokens": 1},
            {"num_predict": 1, "max_tokens": 100},
            {"num_predict": 1, "max_tokens": None},
            {"num_predict": -1, "max_tokens": 1},
        ],
    )
    def test_a_limit_that_its_engine_may_not_know_makes_nobody_a_rogue(self, options: dict[str, Any]) -> None:
        wire = Wire()
        wire.job(options)
        for offset in range(100):
            wire.events(offset, text("a"))
        assert wire.out.said == "a" * 100
        assert wire.closed is None

    def test_ten_times_the_tokens_are_refused(self) -> None:
        wire = Wire()
        wire.job({"num_predict": 3})
        wire.events(0, *[text("a")] * 30)
        assert "more than it was asked for" in wire.refusal

    def test_more_than_anybody_asks_for_is_refused(self) -> None:
        wire = Wire()
        wire.job()
        wire.events(0, text("x" * (MAX_CHARACTERS + 1)))
        assert wire.out.said == ""
        assert wire.refusal

    def test_it_is_told_to_stop_and_says_when_it_has(self) -> None:
        wire = Wire()
        wire.job()
        wire.connection.cancel("j", 1)
        wire.events(0, text("a"))
        wire.hear({"type": "cancelled", "jobId": "j", "attempt": 1})
        assert wire.sent == [{"type": "cancel", "jobId": "j", "attempt": 1}]
        assert wire.out.said == ""
        assert wire.handler.calls[-1] == ("cancelled", "j")

    def test_it_may_refuse_a_job_and_drain(self) -> None:
        wire = Wire()
        wire.job()
        wire.hear({"type": "refused", "jobId": "j", "attempt": 1, "reason": "full"}, {"type": "drain"})
        assert wire.handler.calls == [("refused", "full"), ("drains", None)]

    def test_its_models_come_and_go(self) -> None:
        wire = Wire()
        wire.hear({"type": "models", "facts": [{"name": "a"}, {"name": "b", "loaded": False}]})
        assert wire.handler.calls == [("models", ["a", "b"])]

    def test_loading_is_told_to_those_who_wait_for_it(self) -> None:
        wire = Wire()
        wire.job()
        wire.hear({"type": "loading", "model": "m", "progress": 0.5}, {"type": "loading", "model": "n"})
        assert [(state.phase, state.progress) for state in wire.out.states] == [("loading", 0.5)]


def test_a_key_is_good_for_its_models_only() -> None:
    wire = Wire(2, frozenset({"a"}), facts=[{"name": "a"}, {"name": "b"}])
    assert wire.registered_models == ["a"]
    other = Wire(2, frozenset({"z"}))
    assert other.closed is not None
    assert other.closed[0] == 4003


@pytest.mark.parametrize(
    "garbage", [b"", b"{", b"[]", b"7", b'{"type":"token"}', b"[" * 100_000, b'{"type":3}']
)
def test_garbage_is_refused(garbage: bytes) -> None:
    wire = Wire()
    wire.connection.received(garbage, 0)
    assert "not a message of an agent" in wire.refusal


def test_what_protocol_version_1_still_says_of_an_earlier_attempt_is_dropped() -> None:
    wire = Wire(1)
    attempt = JobAttempt("j", 2, "m", wire.out)
    wire.connection.start(attempt, PromptJob(attempt_name("j", 2), "m", "Hello", {}))
    again = wire.sent[-1]["jobId"]
    assert again != "j"
    wire.hear(
        {"type": "token", "jobId": "j", "token": "old ", "done": True},
        {"type": "token", "jobId": again, "token": "new", "done": False},
        {"type": "job_complete", "jobId": "j"},
        {"type": "job_error", "jobId": "j", "error": "old"},
    )
    assert (wire.out.said, wire.connection.stale, wire.handler.calls) == ("new", 1, [])
    wire.hear({"type": "job_complete", "jobId": again})
    assert [kind for kind, _ in wire.handler.calls] == ["ended"]


def test_a_kind_of_message_that_is_not_known_yet_is_passed_over() -> None:
    wire = Wire()
    wire.hear({"type": "weather", "sunny": True})
    assert wire.closed is None


def test_a_key_for_a_model_is_good_for_its_latest_and_the_other_way_round() -> None:
    wire = Wire(2, frozenset({"a", "b:latest"}), facts=[{"name": "a:latest"}, {"name": "b"}, {"name": "c"}])
    assert wire.registered_models == ["a", "b"]
    wire.hear({"type": "models", "facts": [{"name": "a"}, {"name": "c:latest"}]})
    assert wire.handler.calls[-1] == ("models", ["a"])
