"""The demo engine: what it says, and in what time."""

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from legato.domain.message import TextPart, ToolResultPart
from legato.engines.base import Engine, Outcome, Request, ToolSpec, Turn
from legato.engines.demo.engine import DEFAULT_MODEL, DemoEngine
from legato.engines.demo.texts import ANSWERS, CODE, CORPUS, LIST, TABLE, WELCOME
from legato.errors import EngineRefusedError, ModelNotFoundError
from legato.stream import Usage
from legato.testing.clock import VirtualLoop, virtual_time
from legato.testing.engine import Recorder


def request(text: str, model: str = "demo:echo", *, prefix: str = "", **options: Any) -> Request:
    return Request(model, (Turn("user", (TextPart(text),)),), prefix=prefix, options=options)


async def say(asked: Request) -> tuple[Recorder, Outcome]:
    out = Recorder()
    engine: Engine = DemoEngine()
    return out, await engine.generate(asked, out)


def said(asked: Request) -> Recorder:
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(say(asked))[0]


class Timed(Recorder):
    """Notes when each word came, in seconds since the first call."""

    def __init__(self) -> None:
        super().__init__()
        self._loop = asyncio.get_running_loop()
        self._begun = self._loop.time()
        self.times: list[float] = []

    def text(self, text: str) -> None:
        super().text(text)
        self.times.append(self._loop.time() - self._begun)


class TestEcho:
    async def test_it_says_the_last_thing_the_person_said_a_word_a_token(self) -> None:
        asked = Request(
            "demo:echo",
            (
                Turn("system", (TextPart("be kind"),)),
                Turn("user", (TextPart("first"),)),
                Turn("assistant", (TextPart("answer"),)),
                Turn("user", (TextPart(" one  two\nthree "),)),
            ),
        )
        out, outcome = await say(asked)
        assert out.words == [" one  ", "two\n", "three "]
        assert (outcome.reason, outcome.model, outcome.usage) == ("stop", "demo:echo", Usage(7, 3))

    @given(st.text(min_size=1))
    def test_its_words_joined_are_the_text_itself(self, text: str) -> None:
        out = said(request(text))
        assert out.said == text
        assert all(word.strip() for word in out.words) or not text.strip()
        assert len(out.words) == max(1, len(text.split()))

    async def test_without_text_there_is_nothing_to_say(self) -> None:
        with pytest.raises(EngineRefusedError, match="no text"):
            await say(request(""))


class TestMarkov:
    @given(st.text())
    def test_it_is_readable_and_the_same_for_the_same_prompt(self, prompt: str) -> None:
        asked = request(prompt, "demo:markov", tokens_per_second=0)
        text = said(asked).said
        assert text == said(asked).said
        assert 40 <= len(text.split()) <= 120
        assert text.endswith(".")
        assert {word.strip(".,") for word in text.split()} <= {word.strip(".,") for word in CORPUS.split()}

    def test_another_prompt_gives_another_text(self) -> None:
        texts = {said(request(str(i), "demo:markov", tokens_per_second=0)).said for i in range(20)}
        assert len(texts) == 20


class TestCanned:
    @pytest.mark.parametrize(
        ("prompt", "answer"),
        [
            ("Hello!", WELCOME),
            ("show me some Python code", CODE),
            ("a table, please", TABLE),
            ("Make a list", LIST),
        ],
    )
    def test_the_prompt_chooses_the_answer(self, prompt: str, answer: str) -> None:
        assert said(request(prompt, "demo:canned", tokens_per_second=0)).said == answer

    @given(st.text())
    def test_there_is_an_answer_to_everything(self, prompt: str) -> None:
        assert said(request(prompt, "demo:canned", tokens_per_second=0)).said in ANSWERS

    def test_the_answers_show_what_a_page_must_render(self) -> None:
        everything = "\n".join(ANSWERS)
        for mark in ("**", "```python", "\n- ", "\n1. ", "| ---", "\n> ", "\n### ", "]("):
            assert mark in everything


class TestModels:
    async def test_names_go_with_or_without_the_engine(self) -> None:
        assert (await say(request("a", "echo")))[1].model == "demo:echo"
        assert (await say(request("a", "demo:echo")))[1].model == "demo:echo"
        assert (await say(request("a", "", tokens_per_second=0)))[1].model == DEFAULT_MODEL

    async def test_an_unknown_one_is_named_beside_those_there_are(self) -> None:
        with pytest.raises(ModelNotFoundError, match=r"llama3.*demo:echo"):
            await say(request("a", "llama3"))

    async def test_it_is_always_there(self) -> None:
        engine = DemoEngine()
        *writing, embedding = await engine.models()
        assert [model.name for model in writing] == ["demo:echo", "demo:markov", "demo:canned"]
        assert all(model.chats for model in writing)
        assert (embedding.name, embedding.chats) == ("demo:embed", False)
        assert (await engine.capabilities("demo:echo")).supports_prefill
        assert (await engine.health()).ok
        await engine.close()


class TestContinuing:
    @given(st.text(min_size=1), st.data())
    def test_it_continues_after_any_part_of_its_own_text(self, text: str, data: st.DataObject) -> None:
        prefix = text[: data.draw(st.integers(0, len(text)))]
        assert prefix + said(request(text, prefix=prefix)).said == text

    @given(st.integers(0, 300), st.integers(1, 50))
    def test_with_a_limit_it_ends_where_it_would_have_ended(self, cut: int, limit: int) -> None:
        asked = request("x", "demo:markov", tokens_per_second=0, num_predict=limit)
        whole = said(asked).said
        cut = min(cut, len(whole))
        rest = said(request("x", "demo:markov", prefix=whole[:cut], tokens_per_second=0, num_predict=limit))
        assert whole[:cut] + rest.said == whole

    async def test_a_foreign_text_is_refused(self) -> None:
        with pytest.raises(EngineRefusedError, match="not its own"):
            await say(request("one two", prefix="two"))
        with pytest.raises(EngineRefusedError, match="not its own"):
            await say(request("one", prefix="one two"))


class TestLimits:
    @pytest.mark.parametrize(("limit", "text"), [(1, "one "), (2, "one two "), (3, "one two three")])
    async def test_num_predict_is_the_most_it_says(self, limit: int, text: str) -> None:
        out, outcome = await say(request("one two three", num_predict=limit))
        assert out.said == text
        assert outcome.reason == ("stop" if limit == 3 else "length")

    @pytest.mark.parametrize("limit", [0, -1, -2, 99])
    async def test_or_there_is_no_limit(self, limit: int) -> None:
        out, outcome = await say(request("one two", num_predict=limit))
        assert (out.said, outcome.reason) == ("one two", "stop")

    @pytest.mark.parametrize("name", ["tokens_per_second", "first_token_ms"])
    @pytest.mark.parametrize("value", [-1, "fast", None, True, float("nan"), float("inf"), [1]])
    async def test_a_bad_option_is_refused_in_a_sentence(self, name: str, value: Any) -> None:
        with pytest.raises(EngineRefusedError, match=f"The option {name} must be a number"):
            await say(request("a", **{name: value}))

    @pytest.mark.parametrize("value", [1.5, "1", None, True])
    async def test_so_is_a_bad_limit(self, value: object) -> None:
        with pytest.raises(EngineRefusedError, match="num_predict must be a whole number"):
            await say(request("a", num_predict=value))

    async def test_options_of_other_engines_are_ignored(self) -> None:
        out, _ = await say(request("a", temperature=0.3, num_ctx="?"))
        assert out.said == "a"


class TestPace:
    @virtual_time
    async def test_words_come_in_their_time(self) -> None:
        out = Timed()
        outcome = await DemoEngine().generate(
            request("a b c d e", tokens_per_second=10, first_token_ms=500), out
        )
        assert out.times == pytest.approx([0.5, 0.6, 0.7, 0.8, 0.9], abs=0.0011)
        assert outcome.timings is not None
        assert outcome.timings.first_token_ms == pytest.approx(500, abs=2)
        assert outcome.timings.total_ms == pytest.approx(900, abs=2)
        assert outcome.timings.tokens_per_second == pytest.approx(10, rel=0.01)

    @virtual_time
    async def test_a_late_loop_makes_nothing_later_than_it_is(self) -> None:
        clock = asyncio.get_running_loop()
        assert isinstance(clock, VirtualLoop)
        advance = clock.advance

        class Slow(Timed):
            def text(self, text: str) -> None:
                super().text(text)
                if len(self.times) == 2:
                    advance(0.35)

        out = Slow()
        await DemoEngine().generate(request("a b c d e f g h", tokens_per_second=10), out)
        assert out.times == pytest.approx([0, 0.1, 0.45, 0.45, 0.45, 0.5, 0.6, 0.7], abs=0.0011)

    @virtual_time
    async def test_the_last_of_many_words_is_no_later_than_it_should_be(self) -> None:
        out = Timed()
        await DemoEngine().generate(request("a " * 30_001, tokens_per_second=3000), out)
        assert out.times[-1] == pytest.approx(10, abs=0.0011)

    @virtual_time
    async def test_as_fast_as_it_can_leaves_room_for_others(self) -> None:
        out, turns = Timed(), list[int]()
        task = asyncio.create_task(DemoEngine().generate(request("a " * 1000), out))
        while not task.done():
            await asyncio.sleep(0)
            turns.append(len(out.events))
        assert max(after - before for before, after in zip([0, *turns], turns, strict=False)) <= 16
        assert out.times[-1] == 0

    @virtual_time
    async def test_cancelled_it_says_nothing_more(self) -> None:
        out = Timed()
        task = asyncio.create_task(DemoEngine().generate(request("a b c d e", tokens_per_second=1), out))
        await asyncio.sleep(1.5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.sleep(10)
        assert out.words == ["a ", "b "]

    @virtual_time
    async def test_cancelled_by_the_one_who_listens_it_stops_at_that_word(self) -> None:
        class Impatient(Timed):
            def text(self, text: str) -> None:
                super().text(text)
                task.cancel()

        out = Impatient()
        task = asyncio.create_task(DemoEngine().generate(request("a b c d e"), out))
        with pytest.raises(asyncio.CancelledError):
            await task
        assert out.words == ["a "]

    @virtual_time
    async def test_a_mistake_of_the_one_who_listens_ends_it(self) -> None:
        class Wrong(Timed):
            def text(self, text: str) -> None:
                raise KeyError(text)

        with pytest.raises(KeyError, match="a "):
            await DemoEngine().generate(request("a b", first_token_ms=10), Wrong())

    @virtual_time
    async def test_thousands_speak_at_once(self) -> None:
        outs = [Timed() for _ in range(2000)]
        engine = DemoEngine()
        await asyncio.gather(
            *[
                engine.generate(request("a b c", tokens_per_second=10 + i % 7), out)
                for i, out in enumerate(outs)
            ]
        )
        for i, out in enumerate(outs):
            step = 1 / (10 + i % 7)
            assert out.times == pytest.approx([0, step, 2 * step], abs=0.0011)

    def test_it_speaks_on_uvloop(self) -> None:
        uvloop = pytest.importorskip("uvloop")
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            out, _ = runner.run(say(request("one two three", tokens_per_second=700)))
        assert out.words == ["one ", "two ", "three"]


class TestTools:
    """A line `!tool NAME {…}` asks for one."""

    LOOK = ToolSpec("look", "Looks.", {"type": "object"})

    async def test_echo_asks_for_what_the_message_names_and_says_what_came_back(self) -> None:
        asked = Request(
            "demo:echo",
            (Turn("user", (TextPart('Please\n!tool look {"at": "it"}\n!tool find'),)),),
            tools=(self.LOOK,),
        )
        out = Recorder()
        outcome = await DemoEngine().generate(asked, out)
        assert outcome.reason == "tool_calls"
        assert [(call.name, call.arguments) for call in out.calls] == [
            ("look", '{"at": "it"}'),
            ("find", "{}"),
        ]
        assert out.said == ""
        results = tuple(ToolResultPart(call.call, call.name, f"seen by {call.name}") for call in out.calls)
        out = Recorder()
        again = replace(asked, turns=(*asked.turns, Turn("assistant", results)))
        assert (await DemoEngine().generate(again, out)).reason == "stop"
        assert out.said == "seen by look\n\nseen by find"

    async def test_what_tools_said_to_an_earlier_message_is_not_said_again(self) -> None:
        earlier = (
            Turn("user", (TextPart("!tool look"),)),
            Turn("assistant", (ToolResultPart("c", "look", "old"),)),
        )
        out = Recorder()
        await DemoEngine().generate(
            Request("demo:echo", (*earlier, Turn("user", (TextPart("Hello"),))), tools=(self.LOOK,)), out
        )
        assert out.said == "Hello"

    async def test_without_tools_such_a_line_is_a_line_like_any_other(self) -> None:
        out = Recorder()
        await DemoEngine().generate(Request("demo:echo", (Turn("user", (TextPart("!tool look"),)),)), out)
        assert out.said == "!tool look"
