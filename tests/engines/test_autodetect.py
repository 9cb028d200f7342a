"""Without a setting: an Ollama that answers, else the embedded model, else the demo engine; and the reason for it."""

import asyncio
from collections.abc import Sequence

import pytest

from legato.engines.autodetect import EngineChoice, pick_engine
from legato.engines.base import Model
from legato.engines.model_kind import is_chat_model
from legato.errors import EngineUnavailableError, ModelNotFoundError, SettingsError
from legato.testing.clock import virtual_time

URL = "http://127.0.0.1:11434"


class Machine:
    """What is there to be found."""

    def __init__(
        self, *models: Model, down: bool = False, silent: bool = False, embedded: str | None = "qwen3-0.6b"
    ) -> None:
        self.models = models
        self.down = down
        self.silent = silent
        self.embedded = embedded
        self.asked: list[str] = []

    async def ollama(self) -> Sequence[Model]:
        self.asked.append("ollama")
        if self.silent:
            await asyncio.Event().wait()
        if self.down:
            raise EngineUnavailableError("Ollama cannot be reached. Start it.")
        return self.models

    async def llama(self) -> str:
        self.asked.append("llama")
        if self.embedded is None:
            raise SettingsError("The default model could not be fetched: there is no network.")
        return self.embedded

    async def pick(self, model: str | None = None) -> EngineChoice:
        return await pick_engine(self.ollama, self.llama, url=URL, model=model)


def has(name: str, *, loaded: bool | None = None) -> Model:
    return Model(name, "ollama", loaded=loaded, chats=is_chat_model(name))


async def test_an_ollama_with_a_model_is_taken_and_nothing_else_is_touched() -> None:
    machine = Machine(has("llama3:8b"), has("phi3"))
    assert await machine.pick() == EngineChoice(
        "ollama", "llama3:8b", f"Ollama answers at {URL} and has llama3:8b."
    )
    assert machine.asked == ["ollama"]


async def test_a_model_that_is_loaded_comes_first_and_one_that_cannot_chat_never() -> None:
    assert (await Machine(has("a"), has("b", loaded=True)).pick()).model == "b"
    assert (await Machine(has("nomic-embed-text", loaded=True), has("a")).pick()).model == "a"


async def test_without_an_ollama_it_is_the_embedded_engine() -> None:
    assert await Machine(down=True).pick() == EngineChoice(
        "llama",
        "qwen3-0.6b",
        f"Ollama does not answer at {URL}. The embedded engine answers with qwen3-0.6b.",
    )


@pytest.mark.parametrize("models", [(), (has("nomic-embed-text"),)])
async def test_an_ollama_without_a_model_is_not_enough(models: tuple[Model, ...]) -> None:
    choice = await Machine(*models).pick()
    assert choice.engine == "llama"
    assert choice.why.startswith(f"Ollama answers at {URL}, but has no model to chat with.")


@virtual_time
async def test_an_ollama_that_hangs_is_waited_for_a_second() -> None:
    choice = await Machine(silent=True).pick()
    assert asyncio.get_running_loop().time() == pytest.approx(1)
    assert choice.engine == "llama"
    assert choice.why.startswith(f"Ollama did not answer at {URL} within 1 s.")


async def test_with_neither_it_is_the_demo_engine_and_says_why() -> None:
    assert await Machine(down=True, embedded=None).pick() == EngineChoice(
        "demo",
        "demo:canned",
        f"Ollama does not answer at {URL}. The default model could not be fetched: there is no network. "
        "The demo engine answers instead.",
    )


async def test_a_model_that_is_wanted_decides() -> None:
    machine = Machine(has("a", loaded=True), has("phi3:latest"))
    assert (await machine.pick("phi3")).model == "phi3:latest"
    assert (await machine.pick("phi3:latest")).model == "phi3:latest"
    choice = await machine.pick("llama3")
    assert (choice.engine, choice.model) == ("llama", "qwen3-0.6b")
    assert choice.why.startswith(f"Ollama answers at {URL}, but has no model llama3.")


async def test_mistakes_are_not_taken_for_an_engine_that_is_away() -> None:
    async def broken() -> Sequence[Model]:
        raise KeyError("oh")

    with pytest.raises(KeyError):
        await pick_engine(broken, Machine().llama, url=URL)


async def test_any_trouble_with_the_embedded_engine_leads_to_the_demo_engine() -> None:
    async def llama() -> str:
        raise ModelNotFoundError("xllamacpp is not installed: pip install 'legato[llama]'.")

    choice = await pick_engine(Machine(down=True).ollama, llama, url=URL)
    assert choice.engine == "demo"
    assert "pip install 'legato[llama]'" in choice.why
