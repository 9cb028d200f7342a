"""The agent's side of the protocol, held against a gateway that keeps books: every event once, in order, whatever breaks."""

from collections import deque

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from legato.agent.effects import AbortJob, Effect, FrameIgnored, PreloadModel, RegistrationAccepted, StartJob
from legato.agent.job import AgentJob
from legato.agent.protocol import AgentProtocol
from legato.agent.replay_buffer import PIECE
from legato.engines.base import Outcome, ToolCall
from legato.fleet.protocol import (
    MAX_FRAME_BYTES,
    AgentWelcome,
    Drain,
    EventBatch,
    Heartbeat,
    JobEnded,
    JobFailed,
    Load,
    Loading,
    ModelInfo,
    Models,
    Register,
    Registered,
    RegistrationRefused,
    Status,
    ToolCalled,
)
from legato.stream import Reasoning, State, Text, Usage

from .gateway import Gateway, Key


class Wire:
    """Agent and gateway, and the frames between them."""

    def __init__(self, gateway: Gateway, state: AgentProtocol) -> None:
        self.gateway = gateway
        self.protocol = state
        self.up: deque[bytes] = deque()
        self.down: deque[bytes] = deque()
        self.effects: list[Effect] = []
        self.running: list[AgentJob] = []
        self.aborted: list[AgentJob] = []

    def carry_out(self, effects: list[Effect]) -> None:
        self.effects += effects
        for effect in effects:
            if isinstance(effect, StartJob):
                self.running.append(effect.job)
            elif isinstance(effect, AbortJob):
                self.running.remove(effect.job)
                self.aborted.append(effect.job)

    def connect(self) -> None:
        self.gateway.connect()

    def disconnect(self, now: float = 0.0) -> None:
        self.up.clear()
        self.down.clear()
        self.carry_out(self.protocol.disconnected(now))
        self.connect()

    def send(self, frames: int = 1_000_000) -> None:
        """The agent puts frames on the wire."""
        while frames and (frame := self.protocol.next_frame()) is not None:
            self.up.append(frame)
            frames -= 1

    def deliver(self, frames: int = 1_000_000) -> None:
        """Frames of the agent reach the gateway."""
        while frames and self.up:
            self.gateway.hear(self.up.popleft())
            frames -= 1

    def answer(self, frames: int = 1_000_000) -> None:
        """Frames of the gateway reach the agent."""
        self.down += self.gateway.out
        self.gateway.out.clear()
        while frames and self.down:
            self.carry_out(self.protocol.received(self.down.popleft()))
            frames -= 1

    def settle(self) -> None:
        """Everything that is on its way arrives, and is answered."""
        while True:
            self.answer()
            self.send()
            if not self.up and not self.gateway.out:
                return
            self.deliver()

    def settle_within(self, room: int) -> None:
        """Likewise, but that no more than so many bytes of the agent arrive."""
        while True:
            self.answer()
            self.send()
            if not self.up or len(self.up[0]) > room:
                return
            room -= len(self.up[0])
            self.deliver(1)

    def finish(self, lease: AgentJob) -> None:
        self.protocol.ended(lease, Outcome("stop", "m", Usage(1, 2)))
        self.leave(lease)

    def leave(self, lease: AgentJob) -> None:
        (self.running if lease in self.running else self.aborted).remove(lease)
        self.carry_out(self.protocol.stopped(lease))

    def heard(self, kind: type) -> list[object]:
        return [each for each in self.gateway.heard if isinstance(each, kind)]


def wired(slots: int = 1, version: int = 2, **more: object) -> Wire:
    wire = Wire(Gateway(version), AgentProtocol("run", slots=slots, **more))  # type: ignore[arg-type]
    wire.connect()
    wire.settle()
    return wire


class Cuts(RuleBasedStateMachine):
    """Jobs, words, ends, cancels, and a cut at any frame."""

    def __init__(self) -> None:
        super().__init__()
        self.wire = Wire(Gateway(acknowledges=False), AgentProtocol("run", slots=2, frame=120))
        self.wire.connect()
        self.wire.settle()
        self.written: dict[Key, list[object]] = {}
        self.jobs = 0
        self.words = 0

    @rule()
    @precondition(lambda self: self.wire.gateway.registered and len(self.leased) < 2)
    def push(self) -> None:
        self.jobs += 1
        self.wire.gateway.push(f"j{self.jobs}")

    @rule()
    @precondition(lambda self: self.wire.gateway.registered and len(self.leased) < 2)
    def push_and_arrive(self) -> None:
        self.push()
        self.wire.answer()

    @rule(which=st.integers(0, 1), count=st.integers(1, 6))
    @precondition(lambda self: self.wire.running)
    def write(self, which: int, count: int) -> None:
        lease = self.wire.running[which % len(self.wire.running)]
        for _ in range(count):
            self.words += 1
            event = Text(f"w{self.words} ") if self.words % 3 else Reasoning(f"w{self.words} ")
            self.wire.protocol.write(lease, event)
            self.written.setdefault((lease.job_id, lease.attempt), []).append(event)

    @rule(which=st.integers(0, 1), count=st.integers(1, 12), frames=st.integers(0, 4))
    @precondition(lambda self: self.wire.running)
    def flow(self, which: int, count: int, frames: int) -> None:
        self.write(which, count)
        self.wire.send()
        self.wire.deliver(frames)
        if frames % 2:
            self.acknowledge(which)
            self.wire.answer()

    @rule(which=st.integers(0, 1), breaks=st.booleans())
    @precondition(lambda self: self.wire.running)
    def end(self, which: int, breaks: bool) -> None:
        lease = self.wire.running[which % len(self.wire.running)]
        written = self.written.setdefault((lease.job_id, lease.attempt), [])
        if breaks:
            self.wire.protocol.failed(lease, "engine_broke", "It broke.")
            written.append(JobFailed("engine_broke", "It broke."))
            self.wire.leave(lease)
        else:
            self.wire.finish(lease)
            written.append(JobEnded("stop", "m", Usage(1, 2)))

    @rule()
    @precondition(lambda self: self.wire.aborted)
    def leave(self) -> None:
        self.wire.protocol.write(self.wire.aborted[0], Text("a last word"))
        self.wire.leave(self.wire.aborted[0])

    @property
    def leased(self) -> list[Key]:
        gateway = self.wire.gateway
        return sorted(key for key in gateway.leased | gateway.cancelling if not gateway.ended(key))

    @rule(which=st.integers(0, 1))
    @precondition(lambda self: self.wire.gateway.registered)
    def cancel(self, which: int) -> None:
        gateway = self.wire.gateway
        wanted = [key for key in self.leased if key not in gateway.cancelling]
        if wanted:
            gateway.cancel(wanted[which % len(wanted)])

    @rule(which=st.integers(0, 5))
    @precondition(lambda self: self.wire.gateway.registered)
    def acknowledge(self, which: int) -> None:
        gateway = self.wire.gateway
        if gateway.leased:
            gateway.acknowledge(sorted(gateway.leased)[which % len(gateway.leased)])

    @rule(frames=st.integers(1, 8))
    def send(self, frames: int) -> None:
        self.wire.send(frames)

    @rule(frames=st.integers(1, 8))
    @precondition(lambda self: self.wire.up)
    def deliver(self, frames: int) -> None:
        self.wire.deliver(frames)

    @rule(frames=st.integers(1, 8))
    @precondition(lambda self: self.wire.down or self.wire.gateway.out)
    def answer(self, frames: int) -> None:
        self.wire.answer(frames)

    @rule(gets=st.sampled_from(["nowhere", "welcomed", "heard", "registered", "registered"]))
    def disconnect(self, gets: str) -> None:
        """The next connection may break as well before it is of any use."""
        self.wire.disconnect()
        if gets != "nowhere":
            self.wire.answer()
            self.wire.send()
        if gets in ("heard", "registered"):
            self.wire.deliver()
        if gets == "registered":
            self.wire.answer()

    @invariant()
    def nothing_twice_and_nothing_missing(self) -> None:
        for key, taken in self.wire.gateway.taken.items():
            assert taken == self.written.get(key, [])[: len(taken)]

    @invariant()
    def no_more_engines_than_slots(self) -> None:
        assert len(self.wire.running) + len(self.wire.aborted) <= 2

    def teardown(self) -> None:
        wire, gateway = self.wire, self.wire.gateway
        wire.disconnect()
        wire.settle()
        while wire.running or wire.aborted:
            for lease in list(wire.aborted):
                wire.leave(lease)
            for lease in list(wire.running):
                self.written.setdefault((lease.job_id, lease.attempt), []).append(
                    JobEnded("stop", "m", Usage(1, 2))
                )
                wire.finish(lease)
            wire.settle()
        for key in gateway.leased:
            assert gateway.taken[key] == self.written[key]
            assert gateway.ended(key)
            gateway.acknowledge(key)
        wire.settle()
        assert wire.protocol.idle


Cuts.TestCase.settings = settings(max_examples=150, stateful_step_count=50, deadline=None)
TestCuts = Cuts.TestCase


def test_a_line_that_breaks_every_few_kilobytes_gets_a_long_reply_across() -> None:
    wire = wired()
    key = wire.gateway.push("j")
    wire.settle()
    for number in range(1000):
        wire.protocol.write(wire.running[0], Text(f"{number} "))
    wire.finish(wire.running[0])
    for _ in range(40):
        wire.disconnect()
        wire.settle_within(4096)
    assert wire.gateway.text(key) == "".join(f"{number} " for number in range(1000))


def test_what_comes_between_two_turns_is_one_frame() -> None:
    wire = wired()
    key = wire.gateway.push("j")
    wire.settle()
    for word in ("a", "b", "c"):
        wire.protocol.write(wire.running[0], Text(word))
    wire.protocol.write(wire.running[0], ToolCalled(ToolCall("c1", "look", "{}")))
    wire.finish(wire.running[0])
    wire.settle()
    [frame] = wire.heard(EventBatch)
    assert frame == EventBatch(
        *key,
        0,
        [
            Text("a"),
            Text("b"),
            Text("c"),
            ToolCalled(ToolCall("c1", "look", "{}")),
            JobEnded("stop", "m", Usage(1, 2)),
        ],
    )
    assert wire.protocol.idle


def test_a_frame_has_a_bound_and_jobs_take_turns() -> None:
    wire = wired(slots=2, frame=100)
    one, two = wire.gateway.push("one"), wire.gateway.push("two")
    wire.settle()
    for lease in wire.running:
        for _ in range(8):
            wire.protocol.write(lease, Text("word "))
    wire.settle()
    frames = wire.heard(EventBatch)
    assert [frame.job_id for frame in frames[:4]] == ["one", "two", "one", "two"]  # type: ignore[attr-defined]
    assert wire.gateway.text(one) == wire.gateway.text(two) == "word " * 8


def test_a_text_that_is_too_long_for_a_frame_comes_in_pieces() -> None:
    wire = wired()
    key = wire.gateway.push("j")
    wire.settle()
    text = "\x00é🎻" * PIECE
    wire.protocol.write(wire.running[0], Text(text))
    wire.send()
    assert max(map(len, wire.up)) < 64 * 1024
    wire.settle()
    assert wire.gateway.text(key) == text


def test_half_a_character_harms_nobody() -> None:
    wire = wired()
    key = wire.gateway.push("j")
    wire.settle()
    wire.protocol.write(wire.running[0], Text("a\ud800b"))
    wire.protocol.write(wire.running[0], ToolCalled(ToolCall("c", "n", '"\udc00"')))
    wire.protocol.write(wire.running[0], State("reading", progress=0.5))
    wire.settle()
    assert wire.gateway.taken[key] == [
        Text("a\ufffdb"),
        ToolCalled(ToolCall("c", "n", '"\ufffd"')),
        State("reading", progress=0.5),
    ]


def test_one_that_writes_more_than_can_be_kept_breaks_honestly() -> None:
    wire = wired(limit=4096)
    wire.gateway.acknowledges = False
    key = wire.gateway.push("j")
    wire.settle()
    [lease] = wire.running
    written = 0
    while wire.protocol.write(lease, Text("word")):
        written += 1
    assert lease.over
    assert wire.protocol.write(lease, Text("more")), "it is told once"
    wire.leave(lease)
    wire.settle()
    assert wire.gateway.text(key) == "word" * (written + 1)
    last = wire.gateway.taken[key][-1]
    assert isinstance(last, JobFailed)
    assert (last.code, last.message[-10:]) == ("engine_broke", "Try again.")
    refused = wire.gateway.push("k")
    wire.settle()
    assert "not acknowledged" in wire.gateway.refused[refused]
    wire.gateway.acknowledge(key)
    taken = wire.gateway.push("l")
    wire.settle()
    assert [lease.job_id for lease in wire.running] == [taken[0]]


def test_more_jobs_than_slots_are_refused_and_so_are_older_attempts() -> None:
    wire = wired()
    wire.gateway.push("j", attempt=2)
    more, older = wire.gateway.push("k"), wire.gateway.push("j", attempt=1)
    wire.settle()
    assert set(wire.gateway.refused) == {more, older}
    assert "All 1 slots" in wire.gateway.refused[more]
    assert len(wire.running) == 1


def test_a_later_attempt_takes_the_place_of_the_one_before() -> None:
    wire = wired()
    wire.gateway.push("j", attempt=1)
    wire.settle()
    wire.gateway.leased.clear()
    later = wire.gateway.push("j", attempt=2)
    wire.settle()
    assert [lease.attempt for lease in wire.aborted] == [1]
    assert not wire.running, "the slot is not free before the engine has returned"
    wire.leave(wire.aborted[0])
    assert [lease.attempt for lease in wire.running] == [2]
    wire.finish(wire.running[0])
    wire.settle()
    assert wire.gateway.ended(later)


def test_a_job_that_comes_twice_runs_once() -> None:
    wire = wired(slots=2)
    wire.gateway.push("j")
    wire.gateway.push("j")
    wire.settle()
    assert len(wire.running) == 1
    assert wire.gateway.refused == {}


def test_cancelled_is_said_when_nothing_runs_any_more() -> None:
    wire = wired()
    key = wire.gateway.push("j")
    wire.settle()
    wire.protocol.write(wire.running[0], Text("never seen"))
    wire.gateway.cancel(key)
    wire.gateway.cancel(key)
    wire.settle()
    assert wire.gateway.cancelled == set()
    wire.leave(wire.aborted[0])
    wire.settle()
    assert wire.gateway.cancelled == {key}
    assert wire.gateway.taken[key] == []
    assert wire.protocol.idle


def test_cancelled_is_said_of_a_job_that_nobody_knows() -> None:
    wire = wired()
    wire.gateway.cancel(("stranger", 3))
    wire.settle()
    assert wire.gateway.cancelled == {("stranger", 3)}


def test_cancelled_after_a_cut_is_said_where_it_is_asked_for() -> None:
    wire = wired()
    key = wire.gateway.push("j")
    wire.settle()
    wire.gateway.cancel(key)
    wire.settle()
    wire.disconnect()
    wire.settle()
    wire.gateway.cancel(key)
    wire.settle()
    wire.leave(wire.aborted[0])
    wire.settle()
    assert wire.gateway.cancelled == {key}


def test_it_goes_on_while_the_gateway_is_away_and_gives_up_with_the_lease() -> None:
    wire = wired()
    wire.gateway.push("j")
    wire.settle()
    wire.carry_out(wire.protocol.disconnected(100.0))
    wire.protocol.write(wire.running[0], Text("on"))
    assert wire.protocol.lease_end == 115.0
    assert wire.protocol.lease_expired(114.9) == []
    wire.carry_out(wire.protocol.disconnected(110.0))
    assert wire.protocol.lease_end == 115.0, "an attempt that failed does not make the lease longer"
    wire.carry_out(wire.protocol.lease_expired(115.0))
    assert [lease.job_id for lease in wire.aborted] == ["j"]
    wire.leave(wire.aborted[0])
    wire.connect()
    wire.settle()
    assert wire.heard(Register)[-1].running == []  # type: ignore[attr-defined]
    assert wire.protocol.lease_end is None
    assert wire.protocol.idle


def test_the_gateway_says_how_long_a_lease_is_and_how_often_to_beat() -> None:
    gateway = Gateway()
    gateway.lease, gateway.heartbeat = 3.0, 0.0
    wire = Wire(gateway, AgentProtocol("run"))
    wire.connect()
    wire.settle()
    assert wire.protocol.heartbeat == 0.1
    wire.carry_out(wire.protocol.disconnected(1.0))
    assert wire.protocol.lease_end == 4.0


def test_it_comes_back_as_the_one_it_was() -> None:
    wire = wired()
    wire.disconnect()
    wire.settle()
    first, second = wire.heard(Register)
    assert (first.instance, first.secret) == ("run", None)  # type: ignore[attr-defined]
    assert (second.instance, second.secret) == ("run", "s")  # type: ignore[attr-defined]


def test_a_job_the_gateway_does_not_name_any_more_is_given_up() -> None:
    wire = wired()
    key = wire.gateway.push("j")
    wire.settle()
    wire.gateway.leased.discard(key)
    wire.disconnect()
    wire.settle()
    assert [lease.job_id for lease in wire.aborted] == ["j"]


@pytest.mark.parametrize("offset", [0, 9])
def test_a_job_that_cannot_be_gone_on_with_is_given_up(offset: int) -> None:
    wire = wired()
    wire.gateway.push("j")
    wire.settle()
    wire.protocol.write(wire.running[0], Text("a"))
    wire.settle()
    wire.carry_out(wire.protocol.disconnected(0.0))
    wire.carry_out(wire.protocol.received(msgspec.json.encode(AgentWelcome("a", 0))))
    told = {"type": "registered", "agentId": "a", "timestamp": 0, "protocol": 2}
    resume = [{"jobId": "j", "attempt": 1, "offset": offset}]
    wire.carry_out(wire.protocol.received(msgspec.json.encode(told | {"resume": resume})))
    assert len(wire.aborted) == 1


def test_an_acknowledgement_of_what_was_never_sent_is_ignored() -> None:
    wire = wired()
    key = wire.gateway.push("j")
    wire.settle()
    wire.protocol.write(wire.running[0], Text("a"))
    [ignored] = wire.protocol.received(b'{"type":"ack","jobId":"j","attempt":1,"offset":1}')
    assert isinstance(ignored, FrameIgnored)
    assert wire.protocol.received(b'{"type":"ack","jobId":"j","attempt":2,"offset":1}') == []
    wire.settle()
    assert wire.gateway.text(key) == "a"


def test_models_are_told_when_they_change() -> None:
    wire = wired()
    one = ModelInfo("one", loaded=False, size=7, context=4096)
    wire.protocol.offer((one,))
    wire.protocol.offer((one,))
    wire.settle()
    assert wire.heard(Models) == [Models([one])]
    wire.carry_out(wire.protocol.disconnected(0.0))
    two = ModelInfo("two")
    wire.protocol.offer((one, two))
    wire.connect()
    wire.settle()
    [_, again] = wire.heard(Register)
    assert (again.models, again.facts) == (["one", "two"], [one, two])  # type: ignore[attr-defined]
    assert len(wire.heard(Models)) == 1


def test_models_that_change_while_it_registers_are_told() -> None:
    wire = Wire(Gateway(), AgentProtocol("run"))
    wire.connect()
    wire.answer(1)
    wire.protocol.offer((ModelInfo("one"),))
    wire.settle()
    assert wire.heard(Register)[0].models == []  # type: ignore[attr-defined]
    assert wire.heard(Models) == [Models([ModelInfo("one")])]


def test_one_that_drains_takes_no_job_and_ends_those_it_has() -> None:
    wire = wired(slots=2)
    key = wire.gateway.push("j")
    wire.settle()
    wire.protocol.drain()
    wire.protocol.drain()
    late = wire.gateway.push("k")
    wire.settle()
    assert len(wire.heard(Drain)) == 1
    assert "about to end" in wire.gateway.refused[late]
    assert not wire.protocol.idle
    wire.disconnect()
    wire.settle()
    assert len(wire.heard(Drain)) == 2, "a gateway that was away has not heard it"
    wire.finish(wire.running[0])
    wire.settle()
    assert wire.gateway.ended(key)
    assert wire.protocol.idle


def test_what_is_not_done_when_it_ends_is_handed_back() -> None:
    wire = wired(slots=2)
    first, second = wire.gateway.push("j"), wire.gateway.push("k")
    wire.settle()
    wire.finish(wire.running[0])
    wire.protocol.write(wire.running[0], Text("a"))
    wire.settle()
    wire.protocol.write(wire.running[0], Text("b"))
    wire.protocol.drain()
    wire.carry_out(wire.protocol.hand_back())
    wire.settle()
    assert wire.gateway.ended(first)
    assert wire.gateway.refused.keys() == {second}
    assert wire.gateway.text(second) == "a"
    assert not wire.protocol.idle
    wire.leave(wire.aborted[0])
    assert wire.protocol.idle


def test_a_call_that_no_message_can_hold_breaks_the_job() -> None:
    wire = wired()
    key = wire.gateway.push("j")
    wire.settle()
    assert not wire.protocol.write(wire.running[0], ToolCalled(ToolCall("c", "n", "x" * MAX_FRAME_BYTES)))
    wire.settle()
    [last] = wire.gateway.taken[key]
    assert isinstance(last, JobFailed)


def test_an_engine_that_stops_without_a_word_broke() -> None:
    wire = wired()
    key = wire.gateway.push("j")
    wire.settle()
    wire.leave(wire.running[0])
    wire.settle()
    assert isinstance(wire.gateway.taken[key][-1], JobFailed)


def test_it_says_what_it_loads_and_that_it_lives() -> None:
    wire = wired()
    wire.gateway.say(Load("m"))
    wire.settle()
    assert wire.effects[-1] == PreloadModel("m")
    wire.protocol.loading("m", 0.5)
    wire.protocol.beat(1.5)
    wire.settle()
    assert wire.heard(Loading) == [Loading("m", 0.5)]
    assert wire.heard(Heartbeat) == [Heartbeat(1.5)]


def test_a_job_it_cannot_understand_is_refused_so_that_nobody_waits() -> None:
    wire = wired()
    wire.gateway.leased.add(("j", 4))
    effects = wire.protocol.received(b'{"type":"job","jobId":"j","attempt":4,"model":"m","turns":7}')
    assert isinstance(effects[0], FrameIgnored)
    wire.settle()
    assert "does not understand" in wire.gateway.refused[("j", 4)]


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"\xff",
        b"[]",
        b'{"type":"news"}',
        b'{"type":"cancel"}',
        b"[" * 100_000,
        b'{"type":"job","jobId":5}',
        b'{"type":"ack","jobId":"j","attempt":1,"offset":1e999}',
    ],
)
def test_what_it_cannot_read_is_ignored(frame: bytes) -> None:
    wire = wired()
    assert all(isinstance(effect, FrameIgnored) for effect in wire.protocol.received(frame))
    wire.settle()
    assert wire.gateway.refused == {}


def test_nothing_is_said_before_it_is_welcome() -> None:
    state = AgentProtocol("run")
    state.offer((ModelInfo("one"),))
    state.beat(1.0)
    state.drain()
    state.loading("one")
    assert state.next_frame() is None
    [ignored] = state.received(msgspec.json.encode(Registered("a", 0, protocol=2)))
    assert isinstance(ignored, FrameIgnored)
    assert state.received(msgspec.json.encode(RegistrationRefused("No."))) == []
    assert state.refusal == "No."


class TestTheFirstGeneration:
    def test_a_prompt_is_answered_a_token_a_frame(self) -> None:
        wire = wired(version=1)
        assert wire.effects[-1] == RegistrationAccepted(1)
        wire.gateway.prompt("j", "Hello", temperature=0.5, options={"num_ctx": 9}, system="Be.", raw=True)
        wire.settle()
        request = wire.running[0].request
        assert [turn.role for turn in request.turns] == ["system", "user"]
        assert request.options == {"temperature": 0.5, "num_ctx": 9}
        for event in (Text("a"), Reasoning("hm"), State("reading"), Text("b")):
            wire.protocol.write(wire.running[0], event)
        wire.finish(wire.running[0])
        wire.settle()
        assert wire.gateway.tokens == {"j": ["a", "b"]}
        assert wire.gateway.over == {"j": None}
        assert wire.heard(Status) == [Status("busy"), Status("idle")]
        assert wire.protocol.idle

    def test_one_job_at_a_time_whatever_its_slots(self) -> None:
        wire = wired(slots=4, version=1)
        wire.gateway.prompt("j", "Hello")
        wire.gateway.prompt("k", "Hello")
        wire.settle()
        assert wire.gateway.over["k"] is not None
        wire.protocol.failed(wire.running[0], "engine_broke", "It broke.")
        wire.leave(wire.running[0])
        wire.settle()
        assert wire.gateway.over["j"] == "It broke."

    def test_a_cut_ends_its_job(self) -> None:
        wire = wired(version=1)
        wire.gateway.prompt("j", "Hello")
        wire.settle()
        wire.disconnect()
        assert len(wire.aborted) == 1
        wire.leave(wire.aborted[0])
        wire.settle()
        assert wire.protocol.idle

    def test_jobs_of_the_second_are_given_up_where_only_the_first_is_spoken(self) -> None:
        wire = wired()
        wire.gateway.push("j")
        wire.settle()
        wire.gateway.version = 1
        wire.disconnect()
        wire.settle()
        assert len(wire.aborted) == 1

    def test_it_knows_that_the_gateway_believes_in_other_models(self) -> None:
        wire = wired(version=1)
        assert not wire.protocol.is_outdated
        wire.protocol.offer((ModelInfo("one"),))
        assert wire.protocol.is_outdated
        wire.settle()
        assert wire.heard(Models) == []

    def test_a_job_it_cannot_understand_is_an_error(self) -> None:
        wire = wired(version=1)
        wire.protocol.received(b'{"type":"job","jobId":"j","model":null,"prompt":"x"}')
        wire.settle()
        assert "does not understand" in (wire.gateway.over["j"] or "")
