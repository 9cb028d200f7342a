from pathlib import Path

import pytest

from legato.agent.engine_config import LLAMA_SLOTS, EngineSelection, make_sources
from legato.engines.ollama.engine import OllamaEngine
from legato.engines.openai.engine import OpenAIEngine
from legato.errors import InvalidError, ModelNotFoundError, SettingsError


def made(
    environ: dict[str, str] | None = None, **asked: object
) -> tuple[list[tuple[str, tuple[str, ...]]], int]:
    sources, slots = make_sources(EngineSelection(**asked), environ or {}, Path("models"))  # type: ignore[arg-type]
    return [(source.engine.name, source.names) for source in sources], slots


def test_without_a_word_it_is_an_ollama() -> None:
    assert made() == ([("ollama", ())], 1)


def test_auto_knows_an_engine_by_its_models() -> None:
    assert made(models=("llama3", "demo:echo", "small.gguf")) == (
        [("ollama", ("llama3",)), ("llama", ()), ("demo", ("demo:echo",))],
        2 + LLAMA_SLOTS,
    )
    assert made(models=("small.gguf",)) == ([("llama", ())], LLAMA_SLOTS)


def test_several_engines_at_once() -> None:
    assert made(engines=("ollama", "demo", "ollama")) == ([("ollama", ()), ("demo", ())], 2)
    assert made(engines=("demo",), models=("echo",)) == ([("demo", ("demo:echo",))], 1)


def test_slots_are_what_is_said() -> None:
    assert made(engines=("llama",), models=("a.gguf", "b.gguf"), slots=3) == (
        [("llama", ()), ("llama", ())],
        3,
    )


@pytest.mark.parametrize(
    ("environ", "url"),
    [
        ({}, "http://127.0.0.1:11434"),
        ({"OLLAMA_HOST": "0.0.0.0:7"}, "http://127.0.0.1:7"),
        ({"OLLAMA_HOST": "elsewhere", "OLLAMA_URL": "http://box:1"}, "http://box:1"),
    ],
)
def test_the_ollama_is_where_the_environment_says(environ: dict[str, str], url: str) -> None:
    [source], _ = make_sources(EngineSelection(), environ, Path("models"))
    assert isinstance(source.engine, OllamaEngine)
    assert str(source.engine._server.url).rstrip("/") == url


def test_what_stands_around_a_key_is_no_part_of_it() -> None:
    [source], _ = make_sources(EngineSelection(("openai",)), {"OPENAI_API_KEY": " sk-1\n"}, Path("models"))
    assert isinstance(source.engine, OpenAIEngine)
    assert source.engine._server._headers["Authorization"] == "Bearer sk-1"
    with pytest.raises(SettingsError, match="OPENAI_API_KEY must be one line of text"):
        make_sources(EngineSelection(("openai",)), {"OPENAI_API_KEY": "sk-1\nsk-2"}, Path("models"))


@pytest.mark.parametrize(
    "asked",
    [
        {"engines": ("none",)},
        {"url": "http://x", "engines": ("demo",)},
        {"url": "http://x", "engines": ("ollama", "openai")},
    ],
)
def test_what_does_not_go_together_is_said(asked: dict[str, object]) -> None:
    with pytest.raises(InvalidError):
        made(**asked)


def test_one_address_for_two_engines_is_told_as_that() -> None:
    with pytest.raises(InvalidError, match="--engine names two"):
        made(engines=("ollama", "openai"), url="http://x")


def test_a_demo_model_that_does_not_exist_is_said() -> None:
    with pytest.raises(ModelNotFoundError, match="It has demo:echo, demo:markov, demo:canned"):
        made(models=("demo:nope",))
