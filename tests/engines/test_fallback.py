"""The fallback: who is asked, how long, how often, and what the person is told."""

import asyncio
from functools import partial
from typing import Any

import pytest

from legato.domain.message import AudioPart, ImagePart, TextPart
from legato.engines.base import Capabilities, Engine, Outcome, Request, ToolSpec, Turn
from legato.engines.breaker import Breakers
from legato.engines.fallback import Candidate, FallbackEngine, Timeouts
from legato.errors import (
    ContextExceededError,
    EngineBrokeError,
    EngineError,
    EngineRefusedError,
    EngineTimeoutError,
    EngineUnavailableError,
    ModelNotFoundError,
)
from legato.stream import State, Text, Usage
from legato.testing.clock import virtual_time
from legato.testing.engine import Recorder, ScriptedEngine, ScriptedGeneration

REQUEST = Request("llama3", (Turn("user", (TextPart("hello"),)),))
DOWN = EngineUnavailableError("Ollama cannot be reached. Start it.")


class House:
    """A primary and a backup on one engine or two, and a fallback before them."""

    def __init__(self, *, engines: int = 1, backup: bool = True, **settings: Any) -> None:
        self.primary = ScriptedEngine("ollama", models=(), continues=True)
        self.backup = self.primary if engines == 1 else ScriptedEngine("openai", models=(), continues=True)
        self.breakers = Breakers()
        candidates = [Candidate(self.primary), Candidate(self.backup, "phi3")]
        self.engine: Engine = FallbackEngine(
            candidates if backup else candidates[:1],
            timeouts=Timeouts(**settings),
            breakers=self.breakers,
            chance=lambda: 1.0,
        )
        self.out = Recorder()

    def ask(self, request: Request = REQUEST) -> asyncio.Task[Outcome]:
        self.out = Recorder()
        return asyncio.ensure_future(self.engine.generate(request, self.out))

    async def fail(self, *errors: EngineError) -> None:
        """Let the primary fail so often."""
        for error in errors:
            run = await self.primary.asked()
            assert run.request.model == "llama3"
            run.fail(error)

    async def open(self, model: str = "llama3", times: int = 5) -> None:
        """Make the breaker of a model on the primary engine open."""
        breaker = self.breakers.of("ollama", model)
        for _ in range(times):
            leave = breaker.admit(asyncio.get_running_loop().time())
            assert leave is not None
            breaker.failed(leave, asyncio.get_running_loop().time(), "Connection refused.")


def now() -> float:
    return asyncio.get_running_loop().time()


class TestWithoutTrouble:
    @virtual_time
    async def test_the_primary_speaks_and_nothing_is_added(self) -> None:
        house = House()
        task = house.ask()
        run = await house.primary.asked()
        run.tell("reading", progress=0.5)
        run.think("hm")
        run.say("one ", "", "two")
        run.finish(usage=Usage(1, 2))
        assert await task == Outcome("stop", "llama3", Usage(1, 2))
        assert house.out.states == [State("reading", progress=0.5)]
        assert (house.out.words, house.out.thought) == (["one ", "two"], "hm")

    @virtual_time
    async def test_words_go_through_at_once_and_in_the_same_task(self) -> None:
        house = House()
        task = house.ask()
        run = await house.primary.asked()
        run.say("one")
        assert house.out.words == ["one"]
        assert len(asyncio.all_tasks()) == 2
        run.finish()
        await task


class TestBeforeTheFirstWord:
    @virtual_time
    async def test_an_engine_that_asks_for_a_pause_gets_it(self) -> None:
        house = House(backup=False, backoff=1)
        task = house.ask()
        await house.fail(
            EngineUnavailableError("No room.", retry_after=7), EngineUnavailableError("No room.")
        )
        (await house.primary.asked()).finish()
        await task
        assert now() == pytest.approx(7 + 2)

    @virtual_time
    async def test_one_that_asks_for_a_long_pause_is_left_to_its_backup(self) -> None:
        house = House(engines=2, backoff=1)
        task = house.ask()
        await house.fail(EngineUnavailableError("No room.", retry_after=60))
        (await house.backup.asked()).finish()
        await task
        assert (len(house.primary.runs), now()) == (1, 0)

    @virtual_time
    async def test_a_failure_is_tried_again_after_pauses_that_double(self) -> None:
        house = House(backup=False, backoff=1)
        task = house.ask()
        times = list[float]()
        for _ in range(2):
            await house.fail(DOWN)
        times.append(now())
        run = await house.primary.asked()
        times.append(now())
        run.say("here")
        run.finish()
        assert (await task).model == "llama3"
        assert times == pytest.approx([1, 3])
        assert house.out.events == [
            State("queued", model="llama3", detail="llama3 does not answer. Trying again (2 of 3)."),
            State("queued", model="llama3", detail="llama3 does not answer. Trying again (3 of 3)."),
            State("answering", model="llama3"),
            Text("here"),
        ]

    @virtual_time
    async def test_the_pauses_have_jitter(self) -> None:
        engine = ScriptedEngine(models=())
        for chance, pause in ((0.0, 0.5), (0.5, 0.75), (1.0, 1.0)):
            fallback = FallbackEngine(
                [Candidate(engine)], timeouts=Timeouts(backoff=1), chance=partial(float, chance)
            )
            began = now()
            task = asyncio.ensure_future(fallback.generate(REQUEST, Recorder()))
            (await engine.asked()).fail(DOWN)
            (await engine.asked()).finish()
            await task
            assert now() - began == pytest.approx(pause)

    @virtual_time
    async def test_after_three_failures_the_backup_answers_and_the_person_is_informed(self) -> None:
        house = House(engines=2)
        task = house.ask()
        await house.fail(DOWN, DOWN, EngineBrokeError("It broke."))
        run = await house.backup.asked()
        assert run.request.model == "phi3"
        run.tell("loading", progress=0.5)
        run.say("hi")
        run.finish()
        assert (await task).model == "phi3"
        notice = "llama3 does not answer (It broke). phi3 answers instead."
        assert house.out.events[2:] == [
            State("loading", model="phi3", detail=notice),
            State("loading", model="phi3", progress=0.5, detail=notice),
            State("answering", model="phi3", detail=notice),
            Text("hi"),
        ]

    @virtual_time
    async def test_a_model_that_is_not_there_is_asked_for_once(self) -> None:
        house = House()
        task = house.ask()
        await house.fail(ModelNotFoundError("Ollama has no model llama3. Pull it with `ollama pull llama3`."))
        run = await house.backup.asked()
        run.finish()
        assert (await task).model == "phi3"
        assert now() == 0
        assert house.out.states[0].detail == (
            "llama3 is not there (Ollama has no model llama3). phi3 answers instead."
        )

    @virtual_time
    async def test_a_refusal_goes_to_another_engine(self) -> None:
        house = House(engines=2)
        task = house.ask()
        await house.fail(EngineRefusedError("The context is too long."))
        (await house.backup.asked()).finish()
        assert (await task).model == "phi3"
        assert house.out.states[0].detail == "llama3 refused (The context is too long). phi3 answers instead."

    @virtual_time
    async def test_a_refusal_is_not_held_against_another_model_of_the_same_engine(self) -> None:
        house = House(engines=1)
        task = house.ask()
        error = EngineRefusedError("The option num_ctx is no number.")
        await house.fail(error)
        with pytest.raises(EngineRefusedError) as raised:
            await task
        assert raised.value is error
        assert house.out.events == []

    @virtual_time
    async def test_two_engines_with_one_model_are_distinguished(self) -> None:
        one, two = ScriptedEngine("ollama"), ScriptedEngine("openai")
        out = Recorder()
        fallback = FallbackEngine([Candidate(one, "scripted"), Candidate(two, "scripted")])
        task = asyncio.ensure_future(fallback.generate(REQUEST, out))
        (await one.asked()).fail(ModelNotFoundError("No."))
        (await two.asked()).finish()
        await task
        assert (
            out.states[0].detail
            == "scripted on ollama is not there (No). scripted on openai answers instead."
        )

    @virtual_time
    async def test_a_backup_that_cannot_think_answers_without(self) -> None:
        house = House(engines=2)
        house.backup.can = Capabilities()
        task = house.ask(Request("llama3", REQUEST.turns, think=True, prefix="so far"))
        run = await house.primary.asked()
        assert run.request.think is True
        run.fail(ModelNotFoundError("No."))
        with pytest.raises(EngineError):
            await task
        assert house.backup.requests[0].think is None


class TestAfterTheFirstWord:
    @pytest.mark.parametrize("shown", ["text", "reasoning", "tool"])
    @virtual_time
    async def test_a_failure_is_raised_as_it_is(self, shown: str) -> None:
        house = House(engines=2)
        task = house.ask()
        run = await house.primary.asked()
        match shown:
            case "text":
                run.say("one")
            case "reasoning":
                run.think("hm")
            case _:
                run.call("1", "clock")
        error = EngineBrokeError("It broke.")
        run.fail(error)
        with pytest.raises(EngineBrokeError) as raised:
            await task
        assert raised.value is error
        assert (len(house.primary.runs), house.backup.runs, house.out.states) == (1, [], [])

    @virtual_time
    async def test_a_state_or_an_empty_text_is_no_word(self) -> None:
        house = House(backup=False)
        task = house.ask()
        run = await house.primary.asked()
        run.tell("loading")
        run.say("")
        run.think("")
        run.fail(DOWN)
        (await house.primary.asked()).finish()
        assert (await task).reason == "stop"


class TestPatience:
    @virtual_time
    async def test_silence_before_the_first_word_is_tried_again_and_then_elsewhere(self) -> None:
        house = House(engines=2, timeout=60, first_token_timeout=20, backoff=1)
        task = house.ask()
        runs = [await house.primary.asked() for _ in range(3)]
        run = await house.backup.asked()
        assert all(each.cancelled for each in runs)
        assert now() == pytest.approx(20 * 3 + 1 + 2)
        run.finish()
        await task
        assert house.out.states[-1].detail == (
            "llama3 does not answer (it said nothing for 20 s). phi3 answers instead."
        )

    @virtual_time
    async def test_no_candidate_costs_more_than_the_timeout_before_the_next_is_asked(self) -> None:
        house = House(engines=2, timeout=60)
        task = house.ask()
        run = await house.backup.asked()
        assert now() == pytest.approx(60)
        run.finish()
        await task

    @virtual_time
    async def test_the_default_timeout_is_five_minutes(self) -> None:
        house = House(backup=False)
        with pytest.raises(EngineTimeoutError, match="llama3 said nothing for 300 s"):
            await house.ask()
        assert now() == pytest.approx(300)

    @virtual_time
    async def test_an_attempt_given_up_has_ended_before_the_next_begins(self) -> None:
        house = House(backup=False, first_token_timeout=10)
        task = house.ask()
        run = await house.primary.asked()
        run.hold()
        await asyncio.sleep(100)
        assert run.cancelled
        assert len(house.primary.runs) == 1
        run.release()
        (await house.primary.asked()).finish()
        await task

    @virtual_time
    async def test_what_a_given_up_attempt_still_says_is_not_heard(self) -> None:
        house = House(backup=False, first_token_timeout=10)
        task = house.ask()
        late = (await house.primary.asked()).out
        run = await house.primary.asked()
        run.say("new")
        late.text("old")
        late.reasoning("old")
        late.state(State("loading", detail="old"))
        run.finish()
        await task
        assert (house.out.said, house.out.thought) == ("new", "")
        assert all(state.detail != "old" for state in house.out.states)

    @virtual_time
    async def test_silence_in_mid_reply_ends_it(self) -> None:
        house = House(timeout=60, first_token_timeout=10)
        task = house.ask()
        run = await house.primary.asked()
        for _ in range(5):
            await asyncio.sleep(9)
            run.say("word ")
            await asyncio.sleep(50)
            run.say("word ")
        with pytest.raises(EngineTimeoutError, match="llama3 said nothing more for 60 s"):
            await task
        assert now() == pytest.approx(5 * 59 + 60)

    @virtual_time
    async def test_a_first_word_may_be_waited_for_longer_than_the_next_ones(self) -> None:
        house = House(backup=False, timeout=10, first_token_timeout=100)
        task = house.ask()
        run = await house.primary.asked()
        await asyncio.sleep(50)
        run.say("word")
        with pytest.raises(EngineTimeoutError, match="10 s"):
            await task
        assert now() == pytest.approx(60)

    @pytest.mark.parametrize("phase", ["queued", "loading", "reading"])
    @virtual_time
    async def test_an_engine_that_says_what_it_does_gets_the_whole_timeout(self, phase: Any) -> None:
        house = House(backup=False, timeout=60, first_token_timeout=10)
        task = house.ask()
        run = await house.primary.asked()
        for _ in range(3):
            await asyncio.sleep(9)
            run.tell(phase)
            await asyncio.sleep(50)
            run.tell(phase)
        run.say("at last")
        run.finish()
        await task
        assert len(house.primary.runs) == 1

    @virtual_time
    async def test_empty_text_is_a_sign_of_life_that_no_one_is_shown(self) -> None:
        house = House(backup=False, timeout=60, first_token_timeout=10)
        task = house.ask()
        run = await house.primary.asked()
        await asyncio.sleep(9)
        for _ in range(3):
            run.say("")
            await asyncio.sleep(59)
        run.finish("tool_calls")
        await task
        assert (len(house.primary.runs), house.out.events) == (1, [])

    @virtual_time
    async def test_that_an_agent_was_given_the_request_is_no_sign_of_its_life(self) -> None:
        house = House(backup=False, timeout=60, first_token_timeout=10)
        task = house.ask()
        run = await house.primary.asked()
        run.tell("queued")
        await asyncio.sleep(40)
        run.out.state(State("reading", agent="attic"))
        again = await house.primary.asked()
        assert run.cancelled
        assert now() == pytest.approx(40 + 10 + 0.25)
        again.finish()
        await task

    @virtual_time
    async def test_a_reply_that_ends_in_time_leaves_no_timer(self) -> None:
        fallback = FallbackEngine(
            [Candidate(ScriptedEngine(models=(), reply=["one"]))], timeouts=Timeouts(timeout=10)
        )
        await fallback.generate(REQUEST, Recorder())
        await asyncio.sleep(100)
        assert now() == pytest.approx(100)


class TestCancelling:
    @pytest.mark.parametrize("spoken", [False, True])
    @virtual_time
    async def test_it_goes_through_at_once_and_no_one_else_is_asked(self, spoken: bool) -> None:
        house = House(engines=2)
        task = house.ask()
        run = await house.primary.asked()
        if spoken:
            run.say("one")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert run.cancelled
        assert now() == 0
        assert (len(house.primary.runs), len(house.backup.runs)) == (1, 0)

    @virtual_time
    async def test_it_counts_as_no_failure(self) -> None:
        house = House()
        for _ in range(10):
            task = house.ask()
            await house.primary.asked()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert house.breakers.of("ollama", "llama3").closed

    @virtual_time
    async def test_it_ends_a_pause_too(self) -> None:
        house = House(backoff=100)
        task = house.ask()
        await house.fail(DOWN)
        await asyncio.sleep(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert now() == 1

    @virtual_time
    async def test_one_that_comes_with_the_timeout_wins(self) -> None:
        house = House(engines=2, timeout=10)
        task = house.ask()
        run = await house.primary.asked()
        run.hold()
        await asyncio.sleep(10)
        assert run.cancelled
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert house.backup.runs == []

    @virtual_time
    async def test_a_timeout_leaves_the_task_as_it_was(self) -> None:
        house = House(backup=False, timeout=10)
        counts = list[int]()

        async def outer() -> None:
            task = asyncio.current_task()
            assert task is not None
            async with asyncio.timeout(1000):
                with pytest.raises(EngineTimeoutError):
                    await house.engine.generate(REQUEST, Recorder())
                counts.append(task.cancelling())
                await asyncio.sleep(1)

        await asyncio.ensure_future(outer())
        assert counts == [0]

    @virtual_time
    async def test_an_engine_that_answers_its_cancellation_with_an_error_is_believed(self) -> None:
        class Grumpy(ScriptedEngine):
            async def generate(self, request: Request, out: Any) -> Outcome:
                try:
                    return await super().generate(request, out)
                except asyncio.CancelledError:
                    raise EngineRefusedError("Do not interrupt me.") from None

        fallback = FallbackEngine([Candidate(Grumpy(models=()))], timeouts=Timeouts(timeout=10))
        with pytest.raises(EngineRefusedError):
            await fallback.generate(REQUEST, Recorder())
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0


class TestBreaking:
    @virtual_time
    async def test_an_open_backend_is_passed_over_at_once(self) -> None:
        house = House()
        await house.open()
        task = house.ask()
        run = await house.backup.asked()
        assert run.request.model == "phi3"
        run.finish()
        assert (await task).model == "phi3"
        assert now() == 0
        assert (
            house.out.states[0].detail == "llama3 does not answer (Connection refused). phi3 answers instead."
        )

    @virtual_time
    async def test_failures_of_all_requests_count_together(self) -> None:
        house = House(backup=False)
        for _ in range(2):
            task = house.ask()
            runs = 3 if len(house.primary.runs) < 3 else 2
            await house.fail(*[DOWN] * runs)
            with pytest.raises(EngineUnavailableError, match=r"Ollama cannot be reached\. Start it\."):
                await task
        assert len(house.primary.runs) == 5
        with pytest.raises(EngineUnavailableError, match="try again in 5 s") as raised:
            await house.ask()
        assert raised.value.retry_after == pytest.approx(5)
        assert len(house.primary.runs) == 5

    @virtual_time
    async def test_if_all_breakers_are_open_the_person_reads_when_to_try_again(self) -> None:
        house = House()
        await house.open("llama3")
        await asyncio.sleep(2)
        await house.open("phi3")
        with pytest.raises(EngineUnavailableError) as raised:
            await house.ask()
        assert raised.value.message == (
            "llama3 does not answer (Connection refused). phi3 does not answer (Connection refused). "
            "Please try again in 3 s."
        )
        assert raised.value.retry_after == pytest.approx(3)

    @virtual_time
    async def test_one_request_tries_it_out_while_the_others_go_elsewhere(self) -> None:
        house = House(engines=2)
        await house.open()
        await asyncio.sleep(5)
        trial = house.ask()
        run = await house.primary.asked()
        other = house.ask()
        elsewhere = await house.backup.asked()
        run.say("back again")
        third = house.ask()
        assert (await house.primary.asked()).request.model == "llama3"
        for each in (run, elsewhere, house.primary.runs[-1]):
            each.finish()
        assert [(await task).model for task in (trial, other, third)] == ["llama3", "phi3", "llama3"]
        assert house.breakers.of("ollama", "llama3").closed

    @virtual_time
    async def test_a_cancelled_trial_leaves_the_place_to_the_next(self) -> None:
        house = House()
        await house.open()
        await asyncio.sleep(5)
        task = house.ask()
        await house.primary.asked()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        task = house.ask()
        run = await house.primary.asked()
        assert run.request.model == "llama3"
        run.finish()
        await task

    @virtual_time
    async def test_breaking_in_mid_reply_counts_and_refusing_does_not(self) -> None:
        house = House(backup=False)
        for _ in range(5):
            task = house.ask()
            (await house.primary.asked()).fail(EngineRefusedError("No."))
            with pytest.raises(EngineRefusedError):
                await task
        assert house.breakers.of("ollama", "llama3").closed
        for _ in range(5):
            task = house.ask()
            run = await house.primary.asked()
            run.say("one")
            run.fail(EngineBrokeError("It broke."))
            with pytest.raises(EngineBrokeError):
                await task
        assert not house.breakers.of("ollama", "llama3").closed

    @virtual_time
    async def test_a_mistake_in_an_engine_is_not_hidden_and_holds_no_place(self) -> None:
        class Wrong(ScriptedEngine):
            async def generate(self, request: Request, out: Any) -> Outcome:
                raise KeyError("oh")

        breakers = Breakers(threshold=1)
        breaker = breakers.of("scripted", "llama3")
        leave = breaker.admit(0)
        assert leave is not None
        breaker.failed(leave, 0)
        await asyncio.sleep(5)
        fallback = FallbackEngine([Candidate(Wrong())], breakers=breakers)
        for _ in range(2):
            with pytest.raises(KeyError):
                await fallback.generate(REQUEST, Recorder())


class TestWhenAllFail:
    @virtual_time
    async def test_each_is_named_with_its_reason(self) -> None:
        house = House(engines=2)
        task = house.ask()
        await house.fail(ModelNotFoundError("Ollama has no model llama3."))
        for _ in range(3):
            run: ScriptedGeneration = await house.backup.asked()
            run.fail(EngineUnavailableError("The server is overloaded. Wait."))
        with pytest.raises(EngineUnavailableError) as raised:
            await task
        assert raised.value.message == (
            "llama3 is not there (Ollama has no model llama3). phi3 does not answer (The server is overloaded). Wait."
        )

    @pytest.mark.parametrize(
        ("first", "second", "remedy"),
        [
            ("It is away. Start it.", "It is away. Start it.", "Start it."),
            ("It is away. Start it.", "It is full. Wait, or add one.", "Start it. Wait, or add one."),
            ("It is away.", "It is full.", "Please try again in a moment."),
        ],
        ids=["the same", "two", "none"],
    )
    @virtual_time
    async def test_what_to_do_follows_the_reasons(self, first: str, second: str, remedy: str) -> None:
        house = House(engines=2)
        task = house.ask()
        for engine, message in ((house.primary, first), (house.backup, second)):
            for _ in range(3):
                run: ScriptedGeneration = await engine.asked()
                run.fail(EngineUnavailableError(message))
        with pytest.raises(EngineUnavailableError) as raised:
            await task
        assert raised.value.message.endswith(f"). {remedy}")

    @pytest.mark.parametrize(
        ("first", "second", "kind"),
        [
            (ModelNotFoundError("a"), ModelNotFoundError("b"), ModelNotFoundError),
            (EngineRefusedError("a"), ModelNotFoundError("b"), EngineRefusedError),
            (EngineRefusedError(""), EngineRefusedError(""), EngineRefusedError),
        ],
    )
    @virtual_time
    async def test_the_kind_says_whether_trying_again_may_help(
        self, first: EngineError, second: EngineError, kind: type[EngineError]
    ) -> None:
        house = House(engines=2)
        task = house.ask()
        await house.fail(first)
        (await house.backup.asked()).fail(second)
        with pytest.raises(kind) as raised:
            await task
        assert "llama3" in raised.value.message
        assert "phi3" in raised.value.message

    @virtual_time
    async def test_silence_everywhere_is_a_timeout(self) -> None:
        house = House(engines=2, timeout=10)
        with pytest.raises(EngineTimeoutError, match=r"llama3 does not answer .* phi3 does not answer"):
            await house.ask()
        assert now() == pytest.approx(20)


class TestAsOneEngine:
    async def test_it_promises_what_all_keep(self) -> None:
        one = ScriptedEngine("a", capabilities=Capabilities(supports_prefill=True, tools=True, context=8192))
        two = ScriptedEngine("b", capabilities=Capabilities(supports_prefill=False, context=2048))
        fallback = FallbackEngine([Candidate(one), Candidate(two)])
        assert await fallback.capabilities("x") == Capabilities(
            supports_prefill=True, tools=True, context=2048
        )

    async def test_it_lists_what_can_be_reached(self) -> None:
        one, two = ScriptedEngine("a", models=["x"]), ScriptedEngine("b", models=["y"])
        fallback = FallbackEngine([Candidate(one), Candidate(two), Candidate(one, "z")])
        assert [model.name for model in await fallback.models()] == ["x", "y"]
        one.down = True
        assert [model.name for model in await fallback.models()] == ["y"]
        two.down = True
        with pytest.raises(EngineUnavailableError, match="a does not answer"):
            await fallback.models()

    async def test_it_is_ok_where_one_is(self) -> None:
        one, two = ScriptedEngine("a"), ScriptedEngine("b")
        fallback = FallbackEngine([Candidate(one), Candidate(two)])
        one.down = True
        health = await fallback.health()
        assert health.ok
        assert health.detail == "a does not answer. b does as it is told."
        two.down = True
        assert not (await fallback.health()).ok

    async def test_it_has_the_name_of_the_primary_and_leaves_the_engines_open(self) -> None:
        one = ScriptedEngine("a")
        fallback = FallbackEngine([Candidate(one)])
        await fallback.close()
        assert (fallback.name, one.closed) == ("a", False)

    def test_it_needs_a_candidate(self) -> None:
        with pytest.raises(ValueError, match="candidate"):
            FallbackEngine([])


async def test_a_backup_without_vision_and_the_person_are_informed() -> None:
    house = House(engines=2)
    house.backup.can = Capabilities(audio=True)
    picture, sound = ImagePart("data:image/png;base64,AAAA"), AudioPart("data:audio/wav;base64,AAAA")
    asked = house.ask(Request("llama3", (Turn("user", (TextPart("look"), picture, sound)),)))
    await house.fail(ModelNotFoundError("There is no llama3."))
    run = await house.backup.asked()
    assert run.request.turns[0].parts == (TextPart("look"), ImagePart(), sound)
    run.say("What?")
    run.finish()
    await asked
    assert any(
        "phi3 answers instead without what it cannot see" in (state.detail or "")
        for state in house.out.states
    )


async def test_a_backup_that_cannot_use_tools_answers_without_and_says_so() -> None:
    first = ScriptedEngine("a", models=("gone",))
    second = ScriptedEngine("b", models=("m",), capabilities=Capabilities(tools=False), reply=("Hello.",))
    fallback = FallbackEngine([Candidate(first, "m"), Candidate(second, "m")])
    out = Recorder()
    await fallback.generate(Request("m", (), tools=(ToolSpec("look", "Looks.", {}),)), out)
    assert second.requests[0].tools == ()
    assert any("answers instead without tools." in (state.detail or "") for state in out.states)


@virtual_time
async def test_a_refusal_of_the_length_is_not_lost_behind_another_failure() -> None:
    house = House(engines=2, timeout=30.0)
    asking = house.ask()
    (await house.primary.asked()).fail(ContextExceededError("It is too long.", 4096, 9000))
    for _ in range(3):
        (await house.backup.asked()).fail(DOWN)
    with pytest.raises(ContextExceededError) as caught:
        await asking
    assert (caught.value.limit, caught.value.asked) == (4096, 9000)
