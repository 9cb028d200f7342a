"""An agent's connection: what it may say, and what is said to it."""

from typing import Any

import msgspec
import pytest

from legato.fleet.agent_connection import AgentConnection
from legato.fleet.job_attempt import MAX_CHARACTERS, JobAttempt
from legato.fleet.protocol import Job, JobEnded, JobFailed, ModelInfo, PromptJob, Register, Registered
from legato.fleet.protocol_v1 import first_name
from legato.testing.engine import Recorder


class Desk:
    """A host that grants everything and writes down what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, Any]] = []

    def registers(self, link: AgentConnection, register: Register) -> None:
        link.grant(Registered("me", 1, min(register.protocol, 2), "secret"))
        self.told.append(("registers", register))

    def ended(self, link: AgentConnection, lease: JobAttempt, end: JobEnded | JobFailed) -> None:
        self.told.append(("ended", end))

    def cancelled(self, link: AgentConnection, lease: JobAttempt) -> None:
        self.told.append(("cancelled", lease.job))

    def refused(self, link: AgentConnection, lease: JobAttempt, reason: str) -> None:
        self.told.append(("refused", reason))

    def models(self, link: AgentConnection, facts: dict[str, ModelInfo]) -> None:
        self.told.append(("models", sorted(facts)))

    def drains(self, link: AgentConnection) -> None:
        self.told.append(("drains", None))

    def dirty(self, link: AgentConnection) -> None:
        self.told.append(("dirty", None))

    def expelled(self, link: AgentConnection) -> None:
        self.told.append(("expelled", None))


class Line:
    """A link, what it said, and the agent's words by hand."""

    def __init__(self, protocol: int = 2, allowed: frozenset[str] | None = None, **register: Any) -> None:
        self.desk = Desk()
        self.said: list[dict[str, Any]] = []
        self.closed: tuple[int, str] | None = None
        self.link = AgentConnection(self.desk, "id", self._send, self._close, allowed=allowed)
        self.out = Recorder()
        if protocol:
            self.hear({"type": "register", "models": ["m"], "protocol": protocol, **register})
            self.said.clear()
            self.desk.told.clear()

    def _send(self, frame: bytes) -> None:
        self.said.append(msgspec.json.decode(frame))

    def _close(self, code: int, reason: str) -> None:
        self.closed = (code, reason)

    def hear(self, *messages: dict[str, Any]) -> None:
        for message in messages:
            self.link.received(msgspec.json.encode(message), 0)

    def job(self, options: dict[str, Any] | None = None) -> JobAttempt:
        lease = JobAttempt("j", 1, "m", self.out, options)
        self.link.start(lease, Job("j", 1, "m", ()))
        self.said.clear()
        return lease

    def events(self, begin: int, *events: dict[str, Any], attempt: int = 1, job: str = "j") -> None:
        self.hear({"type": "events", "jobId": job, "attempt": attempt, "from": begin, "events": list(events)})

    @property
    def refusal(self) -> str:
        assert self.closed is not None
        assert ("expelled", None) in self.desk.told
        return next(str(each["message"]) for each in self.said if each["type"] == "error")


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


def test_it_is_welcomed_and_registered() -> None:
    line = Line(0)
    line.link.welcome(5)
    line.hear({"type": "register", "models": ["m"]})
    assert line.said == [
        {"type": "welcome", "agentId": "id", "timestamp": 5},
        {"type": "registered", "agentId": "me", "timestamp": 1, "secret": "secret"},
    ]


def test_before_it_has_registered_nothing_counts() -> None:
    line = Line(0)
    line.hear({"type": "token", "jobId": "old", "token": "x"}, {"type": "heartbeat", "timestamp": 1.5})
    assert (line.closed, line.said) == (None, [])


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
    line = Line(1)
    line.hear(sign)
    assert (line.closed, line.said) == (None, [])


@pytest.mark.parametrize("models", [[f"m{n}" for n in range(1001)], ["m" * 257]])
@pytest.mark.parametrize("late", [False, True])
def test_more_models_than_can_be_shown_are_refused(models: list[str], late: bool) -> None:
    line = Line(protocol=2 if late else 0)
    if late:
        line.hear({"type": "models", "facts": [{"name": name} for name in models]})
    else:
        line.hear({"type": "register", "models": models, "protocol": 2})
    assert "models" in line.refusal
    assert [kind for kind, _ in line.desk.told] == ["expelled"]


class TestFirstGeneration:
    def test_tokens_go_where_they_are_wanted_one_by_one(self) -> None:
        line = Line(1)
        line.job()
        for word in ("Hel", "", "lo"):
            line.hear({"type": "token", "jobId": "j", "token": word, "done": False})
        line.hear({"type": "status", "status": "idle"}, {"type": "job_complete", "jobId": "j"})
        assert line.out.words == ["Hel", "lo"]
        assert line.desk.told == [("ended", JobEnded("stop", "m"))]

    def test_a_token_that_says_done_is_the_end_and_the_complete_behind_it_nothing(self) -> None:
        line = Line(1)
        line.job()
        line.hear(
            {"type": "token", "jobId": "j", "token": "x", "done": True},
            {"type": "job_complete", "jobId": "j"},
        )
        assert line.desk.told == [("ended", JobEnded("stop", "m"))]

    def test_an_empty_reply_is_an_error(self) -> None:
        line = Line(1)
        line.job()
        line.hear({"type": "job_complete", "jobId": "j"})
        assert line.desk.told == [("ended", JobFailed("engine_broke", "the model said nothing"))]

    def test_its_error_is_told_in_its_words(self) -> None:
        line = Line(1)
        line.job()
        line.hear({"type": "job_error", "jobId": "j", "error": "out of memory"})
        assert line.desk.told == [("ended", JobFailed("engine_broke", "out of memory"))]

    def test_foreign_jobs_are_passed_over(self) -> None:
        line = Line(1)
        line.job()
        line.hear(
            {"type": "token", "jobId": "other", "token": "x"},
            {"type": "job_complete", "jobId": "other"},
            {"type": "job_error", "jobId": "other", "error": ""},
        )
        assert (line.out.words, line.desk.told, line.closed) == ([], [], None)

    def test_it_is_not_told_to_stop_and_not_heard_any_more(self) -> None:
        line = Line(1)
        line.job()
        line.link.cancel("j", 1)
        line.hear({"type": "token", "jobId": "j", "token": "x"}, {"type": "job_complete", "jobId": "j"})
        assert (line.out.words, line.said) == ([], [])
        assert line.desk.told == [("ended", JobEnded("stop", "m"))]


class TestSecondGeneration:
    def test_events_are_taken_in_order_and_acknowledged(self) -> None:
        line = Line()
        line.job()
        line.events(0, text("a"), {"type": "reasoning", "text": "b"})
        line.events(2, {"type": "state", "phase": "loading"}, text("c"))
        assert (line.out.said, line.out.thought) == ("ac", "b")
        assert line.said == []
        line.link.acknowledge()
        assert line.said == [{"type": "ack", "jobId": "j", "attempt": 1, "offset": 4}]
        line.link.acknowledge()
        assert len(line.said) == 1

    def test_many_are_acknowledged_at_once(self) -> None:
        line = Line()
        line.job()
        line.events(0, *(text("x") for _ in range(64)))
        assert [each["offset"] for each in line.said] == [64]

    def test_the_last_event_ends_it_and_is_acknowledged(self) -> None:
        line = Line()
        line.job()
        line.events(0, text("a"), {"type": "ended", "reason": "length", "model": "m"})
        assert [each["offset"] for each in line.said] == [2]
        assert line.desk.told == [("ended", JobEnded("length", "m"))]

    @pytest.mark.parametrize("begin", [0, 2, -1, 2**62])
    def test_events_out_of_order_are_refused(self, begin: int) -> None:
        line = Line()
        line.job()
        line.events(0, text("a"))
        line.events(begin, text("b"))
        assert line.out.said == "a"
        assert "1 was expected" in line.refusal

    def test_a_job_that_was_never_its_own_is_refused(self) -> None:
        line = Line()
        line.job()
        line.events(0, text("a"), job="other")
        assert line.out.said == ""
        assert "is not this agent's" in line.refusal

    def test_another_attempt_is_refused(self) -> None:
        line = Line()
        line.job()
        line.events(0, text("a"), attempt=2)
        assert line.out.said == ""
        assert line.refusal

    def test_what_comes_too_late_is_passed_over(self) -> None:
        line = Line()
        line.job()
        line.link.lose("j")
        line.events(0, text("a"))
        assert (line.out.said, line.closed, line.link.stale) == ("", None, 1)

    def test_nothing_stands_behind_the_end(self) -> None:
        line = Line()
        line.job()
        line.events(0, {"type": "ended", "reason": "stop", "model": "m"}, text("a"))
        assert line.out.said == ""
        assert line.refusal

    def test_more_than_was_asked_for_is_refused(self) -> None:
        line = Line()
        line.job({"num_predict": 10})
        for offset in range(200):
            line.events(offset, text("a"))
        assert "more than it was asked for" in line.refusal
        assert len(line.out.said) < 110

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
        line = Line()
        line.job(options)
        for offset in range(100):
            line.events(offset, text("a"))
        assert line.out.said == "a" * 100
        assert line.closed is None

    def test_ten_times_the_tokens_are_refused(self) -> None:
        line = Line()
        line.job({"num_predict": 3})
        line.events(0, *[text("a")] * 30)
        assert "more than it was asked for" in line.refusal

    def test_more_than_anybody_asks_for_is_refused(self) -> None:
        line = Line()
        line.job()
        line.events(0, text("x" * (MAX_CHARACTERS + 1)))
        assert line.out.said == ""
        assert line.refusal

    def test_it_is_told_to_stop_and_says_when_it_has(self) -> None:
        line = Line()
        line.job()
        line.link.cancel("j", 1)
        line.events(0, text("a"))
        line.hear({"type": "cancelled", "jobId": "j", "attempt": 1})
        assert line.said == [{"type": "cancel", "jobId": "j", "attempt": 1}]
        assert line.out.said == ""
        assert line.desk.told[-1] == ("cancelled", "j")

    def test_it_may_refuse_a_job_and_drain(self) -> None:
        line = Line()
        line.job()
        line.hear({"type": "refused", "jobId": "j", "attempt": 1, "reason": "full"}, {"type": "drain"})
        assert line.desk.told == [("refused", "full"), ("drains", None)]

    def test_its_models_come_and_go(self) -> None:
        line = Line()
        line.hear({"type": "models", "facts": [{"name": "a"}, {"name": "b", "loaded": False}]})
        assert line.desk.told == [("models", ["a", "b"])]

    def test_loading_is_told_to_those_who_wait_for_it(self) -> None:
        line = Line()
        line.job()
        line.hear({"type": "loading", "model": "m", "progress": 0.5}, {"type": "loading", "model": "n"})
        assert [(state.phase, state.progress) for state in line.out.states] == [("loading", 0.5)]


def test_a_key_is_good_for_its_models_only() -> None:
    line = Line(2, frozenset({"a"}), facts=[{"name": "a"}, {"name": "b"}])
    assert sorted(line.link.facts) == ["a"]
    other = Line(2, frozenset({"z"}))
    assert other.closed is not None
    assert other.closed[0] == 4003


@pytest.mark.parametrize(
    "garbage", [b"", b"{", b"[]", b"7", b'{"type":"token"}', b"[" * 100_000, b'{"type":3}']
)
def test_garbage_is_refused(garbage: bytes) -> None:
    line = Line()
    line.link.received(garbage, 0)
    assert "not a message of an agent" in line.refusal


def test_what_the_first_generation_still_says_of_an_earlier_attempt_is_dropped() -> None:
    line = Line(1)
    lease = JobAttempt("j", 2, "m", line.out)
    line.link.start(lease, PromptJob(first_name("j", 2), "m", "Hello", {}))
    again = line.said[-1]["jobId"]
    assert again != "j"
    line.hear(
        {"type": "token", "jobId": "j", "token": "old ", "done": True},
        {"type": "token", "jobId": again, "token": "new", "done": False},
        {"type": "job_complete", "jobId": "j"},
        {"type": "job_error", "jobId": "j", "error": "old"},
    )
    assert (line.out.said, line.link.stale, line.desk.told) == ("new", 1, [])
    line.hear({"type": "job_complete", "jobId": again})
    assert [kind for kind, _ in line.desk.told] == ["ended"]


def test_a_kind_of_message_that_is_not_known_yet_is_passed_over() -> None:
    line = Line()
    line.hear({"type": "weather", "sunny": True})
    assert line.closed is None


def test_a_key_for_a_model_is_good_for_its_latest_and_the_other_way_round() -> None:
    line = Line(2, frozenset({"a", "b:latest"}), facts=[{"name": "a:latest"}, {"name": "b"}, {"name": "c"}])
    assert sorted(line.link.facts) == ["a", "b"]
    line.hear({"type": "models", "facts": [{"name": "a"}, {"name": "c:latest"}]})
    assert line.desk.told[-1] == ("models", ["a"])
