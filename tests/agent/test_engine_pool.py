import asyncio

import pytest
from tests.doubles.ollama import OllamaDouble, Scripted, words
from tests.doubles.openai import OpenAIDouble, said

from legato.agent import engine_pool as rosters
from legato.agent.engine_pool import EnginePool, EngineSource
from legato.domain.message import TextPart
from legato.engines.base import Model, Request, Turn
from legato.engines.demo.engine import DemoEngine
from legato.engines.ollama.engine import OllamaEngine
from legato.engines.openai.engine import OpenAIEngine
from legato.errors import ModelNotFoundError
from legato.testing.engine import Recorder, ScriptedEngine


def ask(model: str) -> Request:
    return Request(model=model, turns=(Turn("user", (TextPart("Say it"),)),))


async def test_an_ollama_is_offered_with_its_facts_and_loaded_when_asked() -> None:
    async with OllamaDouble({"plain": Scripted(words("one two"))}) as double:
        roster = EnginePool([EngineSource(OllamaEngine(double.url))])
        [facts] = await roster.list_models()
        assert (facts.name, facts.loaded, facts.size, facts.context) == (
            "plain",
            False,
            1_100_000,
            8192,
        )
        assert facts.can is not None
        assert facts.can.supports_prefill
        await roster.load("plain")
        [facts] = await roster.list_models()
        assert (facts.loaded, facts.context) == (True, 4096)
        for name in ("plain", "plain:latest"):
            out = Recorder()
            await roster.generate(ask(name), out)
            assert out.said == "one two"
        await roster.close()


async def test_models_are_offered_under_the_names_that_were_given() -> None:
    async with OllamaDouble() as double:
        roster = EnginePool([EngineSource(OllamaEngine(double.url), ("think", "plain:latest", "none"))])
        assert [facts.name for facts in await roster.list_models()] == ["think", "plain:latest"]
        with pytest.raises(ModelNotFoundError, match="think, plain:latest"):
            await roster.generate(ask("loop"), Recorder())
        await roster.close()


async def test_a_model_that_only_embeds_is_offered_as_one() -> None:
    async with OllamaDouble({"plain": Scripted([]), "vectors": Scripted([], family="bert")}) as double:
        for names, offered in ((), ["plain", "vectors"]), (("vectors",), ["vectors"]):
            roster = EnginePool([EngineSource(OllamaEngine(double.url), names)])
            listed = await roster.list_models()
            assert [facts.name for facts in listed] == offered
            assert [facts.name for facts in listed if not facts.chats] == ["vectors"]
            await roster.close()


async def test_each_model_is_written_by_the_engine_that_has_it() -> None:
    async with OpenAIDouble() as double:
        double.script = said("from ", "afar")
        first, second = DemoEngine(), ScriptedEngine(models=("demo:echo",))
        roster = EnginePool(
            [EngineSource(OpenAIEngine(double.url)), EngineSource(first), EngineSource(second)]
        )
        assert [facts.name for facts in await roster.list_models()] == [
            "plain",
            "demo:echo",
            "demo:markov",
            "demo:canned",
            "demo:embed",
        ]
        outs = Recorder(), Recorder()
        await roster.generate(ask("plain"), outs[0])
        await roster.generate(ask("demo:echo"), outs[1])
        assert [out.said for out in outs] == ["from afar", "Say it"]
        assert not second.requests
        await roster.load("demo:echo")
        await roster.close()
        assert second.closed


class Slow(ScriptedEngine):
    def __init__(self) -> None:
        super().__init__()
        self.hangs = False

    async def models(self) -> tuple[Model, ...]:
        if self.hangs:
            await asyncio.Event().wait()
        return await super().models()


async def test_an_engine_that_is_slow_for_a_while_keeps_its_models(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rosters, "LIST_SECONDS", 0.001)
    engine = Slow()
    roster = EnginePool([EngineSource(engine)])
    assert len(await roster.list_models()) == 1
    engine.hangs = True
    assert [len(await roster.list_models()) for _ in range(rosters.SLOW_LISTS)] == [1] * (
        rosters.SLOW_LISTS - 1
    ) + [0]
    engine.hangs = False
    assert len(await roster.list_models()) == 1


async def test_an_engine_that_is_gone_offers_nothing_and_says_so_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    engine = ScriptedEngine()
    engine.down = True
    roster = EnginePool([EngineSource(engine)])
    assert await roster.list_models() == await roster.list_models() == ()
    assert caplog.text.count("does not answer") == 1
    engine.down = False
    assert len(await roster.list_models()) == 1
