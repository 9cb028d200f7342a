"""One reply over several attempts: what stays of each, who is told of, and what all of them cost."""

import asyncio
from typing import Any

import pytest
from tests.doubles.pulse import Pulse

from legato.domain.message import TextPart
from legato.engines.base import Outcome, Request, ToolCall, Turn
from legato.errors import EngineBrokeError
from legato.fleet.reply_assembly import ReplyAssembly
from legato.stream import Timings, Usage
from legato.testing.engine import Recorder

from .conftest import Unforgiving


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def reply_of(out: Recorder, clock: Clock) -> ReplyAssembly:
    request = Request("m", (Turn("user", (TextPart("Hello"),)),))
    return ReplyAssembly("j", request, out, asyncio.get_running_loop().create_future(), clock)


def begin(reply: ReplyAssembly, agent: str, *, continues: bool = True) -> str | None:
    return reply.begin(agent, loaded=True, continues=continues)


class TestDiscardedAttempt:
    async def test_all_of_its_attempt_is_taken_back_and_nothing_before_it(self, clock: Clock) -> None:
        out = Recorder()
        reply = reply_of(out, clock)
        begin(reply, "a")
        reply.reasoning("hm ")
        reply.text("one ")
        begin(reply, "b")
        reply.text("poison ")
        reply.reasoning("poison ")
        reply.discard_attempt()
        assert (out.said, out.thought) == ("one ", "hm ")
        assert begin(reply, "c") == "one "
        reply.text("two")
        reply.finish(Outcome("stop", "m"))
        assert (out.said, reply.done.done()) == ("one two", True)
        assert out.states[-1].detail == "b broke the rules, and what it wrote was taken back; c goes on."

    async def test_where_it_wrote_nothing_nothing_is_taken_back(self, clock: Clock) -> None:
        out = Unforgiving()
        reply = reply_of(out, clock)
        begin(reply, "a")
        reply.text("one ")
        begin(reply, "b")
        reply.discard_attempt()
        assert not reply.done.done()
        assert begin(reply, "c") == "one "

    async def test_where_the_reader_cannot_unread_it_the_reply_fails(self, clock: Clock) -> None:
        reply = reply_of(Unforgiving(), clock)
        begin(reply, "a")
        reply.text("poison ")
        reply.discard_attempt()
        with pytest.raises(EngineBrokeError, match="broke the rules"):
            reply.done.result()
        assert begin(reply, "b") is None

    async def test_a_tool_cannot_be_taken_back(self, clock: Clock) -> None:
        reply = reply_of(Recorder(), clock)
        begin(reply, "a")
        reply.tool_call(ToolCall("1", "clock", "{}"))
        reply.discard_attempt()
        with pytest.raises(EngineBrokeError, match="broke the rules"):
            reply.done.result()

    async def test_what_it_told_again_stays_and_what_it_added_does_not(self, clock: Clock) -> None:
        out = Recorder()
        reply = reply_of(out, clock)
        begin(reply, "a")
        reply.text("one ")
        begin(reply, "b", continues=False)
        reply.text("one poison")
        assert out.said == "one poison"
        reply.discard_attempt()
        assert (out.said, begin(reply, "c")) == ("one ", "one ")

    async def test_in_the_middle_of_telling_it_again_nothing_of_it_was_shown(self, clock: Clock) -> None:
        out = Recorder()
        reply = reply_of(out, clock)
        begin(reply, "a")
        reply.text("one two ")
        begin(reply, "b", continues=False)
        reply.text("one")
        reply.discard_attempt()
        assert (out.said, out.rewinds, begin(reply, "c")) == ("one two ", 0, "one two ")

    async def test_where_it_told_it_its_way_it_begins_anew(self, clock: Clock) -> None:
        out = Recorder()
        reply = reply_of(out, clock)
        begin(reply, "a")
        reply.text("one ")
        begin(reply, "b", continues=False)
        reply.text("poison")
        assert out.said == "poison"
        reply.discard_attempt()
        assert (out.said, begin(reply, "c")) == ("", "")


class TestTold:
    @pytest.mark.parametrize(
        ("agents", "continues", "said", "sentence"),
        [
            ("ab", True, "one", "a was lost after 3 characters; b goes on."),
            ("ab", False, "one", "a was lost after 3 characters; b writes it again."),
            ("ab", True, "", "a was lost; b answers instead."),
            ("aa", True, "one", "a was lost after 3 characters. It is back, and goes on."),
            ("aa", False, "one", "a was lost after 3 characters. It is back, and writes it again."),
            ("aa", True, "", "a was lost. It is back, and answers."),
        ],
    )
    async def test_who_was_lost_and_who_goes_on(
        self, clock: Clock, agents: str, continues: bool, said: str, sentence: str
    ) -> None:
        out = Recorder()
        reply = reply_of(out, clock)
        begin(reply, agents[0])
        reply.text(said)
        begin(reply, agents[1], continues=continues)
        assert out.states[-1].detail == sentence


class TestCost:
    async def test_one_attempt_costs_what_its_engine_says(self, clock: Clock) -> None:
        reply = reply_of(Recorder(), clock)
        begin(reply, "a")
        reply.text("one ")
        outcome = Outcome("stop", "m", Usage(5, 1), Timings(total_ms=3.0))
        reply.finish(outcome)
        assert reply.done.result() == outcome

    async def test_all_attempts_count(self, clock: Clock) -> None:
        outcome = await self._outcome(clock, Usage(9, 4), Timings(load_ms=7.0, total_ms=1.0))
        assert outcome.usage == Usage(9, 6)
        assert outcome.timings == Timings(
            load_ms=7.0, first_token_ms=1000.0, total_ms=5000.0, tokens_per_second=1.5
        )

    async def test_what_is_not_told_is_counted(self, clock: Clock) -> None:
        outcome = await self._outcome(clock, None, None)
        assert outcome.usage == Usage(None, 3)

    async def _outcome(self, clock: Clock, usage: Usage | None, timings: Timings | None) -> Any:
        reply = reply_of(Recorder(), clock)
        begin(reply, "a")
        clock.now += 1
        reply.reasoning("hm")
        reply.text("one ")
        clock.now += 2
        begin(reply, "b")
        clock.now += 2
        reply.text("two")
        reply.finish(Outcome("stop", "m", usage, timings))
        return reply.done.result()

    async def test_what_broke_the_rules_does_not_count(self, clock: Clock) -> None:
        reply = reply_of(Recorder(), clock)
        begin(reply, "a")
        reply.text("poison")
        reply.discard_attempt()
        clock.now += 2
        begin(reply, "b")
        reply.text("one")
        clock.now += 2
        reply.finish(Outcome("stop", "m", Usage(9, 1)))
        outcome = reply.done.result()
        assert outcome.usage == Usage(9, 1)
        assert outcome.timings is not None
        assert (outcome.timings.first_token_ms, outcome.timings.total_ms) == (2000.0, 4000.0)


class TestSignsOfLife:
    async def test_they_go_through_and_cost_nothing(self, clock: Clock) -> None:
        out = Pulse()
        reply = reply_of(out, clock)
        begin(reply, "a")
        reply.text("")
        assert (out.signs, reply.shown) == (1, False)
        reply.text("one")
        begin(reply, "b")
        reply.text(" two")
        reply.finish(Outcome("stop", "m"))
        assert reply.done.result().usage == Usage(None, 2)

    async def test_what_is_told_again_is_one(self, clock: Clock) -> None:
        out = Pulse()
        reply = reply_of(out, clock)
        begin(reply, "a")
        reply.text("one two")
        begin(reply, "b", continues=False)
        reply.text("one")
        assert (out.signs, out.words) == (1, ["one two"])
