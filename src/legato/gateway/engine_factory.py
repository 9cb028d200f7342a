"""The engines of a server: each made once, when the first assistant asks for it."""

import logging
from collections.abc import Callable
from pathlib import Path

from legato.engines.autodetect import EngineChoice, first_to_chat, pick_engine
from legato.engines.base import Engine
from legato.engines.breaker import Breakers
from legato.engines.demo import DEFAULT_MODEL, DemoEngine, full_name
from legato.engines.llama.engine import LlamaEngine
from legato.engines.ollama import OllamaEngine
from legato.engines.openai import OpenAIEngine
from legato.errors import EngineError, EngineUnavailableError, SettingsError
from legato.gateway.settings import Settings

logger = logging.getLogger(__name__)


class EngineFactory:
    """`made` are the engines in use by name; `why` says in a sentence why the default one is what it is."""

    def __init__(self, settings: Settings, fleet: Engine) -> None:
        self._settings = settings
        self._fleet = fleet
        self.made: dict[str, Engine] = {}
        self.breakers = Breakers()
        self.why = ""
        self._picked: dict[str | None, EngineChoice] = {}

    async def close(self) -> None:
        for engine in self.made.values():
            await engine.close()

    async def for_model(self, engine: str, model: str | None) -> tuple[Engine, str]:
        """The engine of this name and the model to ask it for; `auto` is decided by the model's name, or by what is there.

        :raises SettingsError: there is no way to know which model is meant.
        :raises ModelNotFoundError: the file that was named is not there, or no such demo model is.
        """
        if engine == "auto":
            told = told_by(model)
            if told is None:
                choice = await self._pick(model)
                engine, model = choice.engine, choice.model if choice.engine != "llama" else model
            else:
                engine = told
        match engine:
            case "demo":
                return self._one("demo", DemoEngine), full_name(model or "")
            case "llama":
                return await self._llama_or_demo(model)
            case "ollama":
                ollama = self._one("ollama", self._ollama)
                return ollama, model or await _first_model(ollama, "ollama")
            case "openai":
                openai = self._one("openai", self._openai)
                return openai, model or await _first_model(openai, "openai")
            case "fleet":
                # Without a name it is the model that an agent brings, whenever that comes.
                return self._one("fleet", lambda: self._fleet), model or ""
        raise SettingsError(f"There is no engine called {engine!r}.")

    async def _llama_or_demo(self, model: str | None) -> tuple[Engine, str]:
        """The embedded engine. Without a model of its own and without a network to fetch one, the demo engine instead."""
        try:
            return await self._llama(model)
        except EngineUnavailableError as error:
            if model is not None:
                raise
            self.why = f"{error.message} The demo engine answers instead."
            return self._one("demo", DemoEngine), DEFAULT_MODEL

    async def _llama(self, model: str | None) -> tuple[LlamaEngine, str]:
        name = "llama" if model is None else f"llama {model}"
        engine = self.made.get(name)
        if not isinstance(engine, LlamaEngine):
            self._settings.make_data_dir()
            engine = make_llama(self._settings, model)
            try:
                await engine.start()
            except BaseException:
                await engine.close()
                raise
            self.made[name] = engine
        return engine, engine.model

    def _one(self, name: str, make: Callable[[], Engine]) -> Engine:
        if name not in self.made:
            self.made[name] = make()
        return self.made[name]

    def _ollama(self) -> Engine:
        return make_ollama(self._settings)

    def _openai(self) -> Engine:
        return make_openai(self._settings)

    async def _pick(self, model: str | None) -> EngineChoice:
        """Decide what `auto` is, once for every model."""
        if model not in self._picked:
            had = "ollama" in self.made
            ollama = self._one("ollama", self._ollama)

            async def llama() -> str:
                return (await self._llama(model))[1]

            choice = await pick_engine(
                ollama.models, llama, url=self._settings.engines.ollama.url, model=model
            )
            if choice.engine != "ollama" and not had:
                await self.made.pop("ollama").close()
            self._picked[model] = choice
            self.why = self.why or choice.why
        return self._picked[model]


def make_llama(settings: Settings, model: str | None) -> LlamaEngine:
    llama = settings.engines.llama
    return LlamaEngine(
        model,
        directory=settings.server.data_dir / "models",
        slots=llama.slots,
        context=llama.context,
        threads=llama.threads,
        mmproj=llama.mmproj,
    )


def make_ollama(settings: Settings) -> Engine:
    """:raises SettingsError: its address or its `ca_file` cannot be used."""
    ollama = settings.engines.ollama
    headers = {name: value.get_secret_value() for name, value in ollama.headers.items()}
    with settings.blaming("engines", "ollama", "ca_file" if ollama.ca_file is not None else "url"):
        return OllamaEngine(ollama.url, ca_file=ollama.ca_file, headers=headers)


def make_openai(settings: Settings) -> Engine:
    """:raises SettingsError: as above."""
    openai = settings.engines.openai
    key = openai.api_key.get_secret_value() if openai.api_key is not None else None
    with settings.blaming("engines", "openai", "ca_file" if openai.ca_file is not None else "url"):
        return OpenAIEngine(
            openai.url,
            api_key=key,
            ca_file=openai.ca_file,
            continues=openai.continues,
            sees=openai.sees,
            hears=openai.hears,
        )


def told_by(model: str | None) -> str | None:
    """The engine that a model's name tells: `demo:…`, or a file."""
    if model is None:
        return None
    if model.startswith("demo:"):
        return "demo"
    return "llama" if model.endswith(".gguf") or Path(model).is_file() else None


async def _first_model(engine: Engine, name: str) -> str:
    """The model to ask where none is named.

    :raises SettingsError: the engine has none that chats, or does not tell.
    """
    try:
        models = await engine.models()
    except EngineError as error:
        raise SettingsError(
            f"{error.message} Or name a model with --model, and it is asked for when it is needed."
        ) from None
    found = first_to_chat(models)
    if found is None:
        what = "no model to chat with" if models else "no model"
        raise SettingsError(f"The engine {name} has {what}. Get one, or name one with --model.")
    return found.name
