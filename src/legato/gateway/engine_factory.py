"""The engines of a server. Each is made once, when the first assistant needs it."""

from legato.engines.autodetect import EngineChoice, pick_engine
from legato.engines.base import Engine
from legato.engines.breaker import Breakers
from legato.engines.demo.engine import DEFAULT_MODEL
from legato.engines.engine_type import EngineContext
from legato.engines.fair_slots import FairSlots
from legato.engines.registry import ENGINE_TYPES, engine_of_model
from legato.errors import EngineUnavailableError, SettingsError
from legato.gateway.settings import Settings


class EngineFactory:
    """Make engines by name. `made` contains the engines in use; `why` is a sentence that says why the default engine answers."""

    def __init__(self, settings: Settings, fleet: Engine) -> None:
        self._settings = settings
        self._fleet = fleet
        self.made: dict[str, Engine] = {}
        self.breakers = Breakers()
        self._slots: dict[int, FairSlots] = {}
        self.why = ""
        self._models: dict[str, str] = {}
        self._picked: dict[str | None, EngineChoice] = {}

    def slots(self, engine: Engine) -> FairSlots:
        """Return the slots of an engine of this server, the same for all its users. The fleet has a queue of its own."""
        known = self._slots.get(id(engine))
        if known is None:
            count: int | None = getattr(self._settings.engine_section(engine.name), "slots", None)
            known = self._slots[id(engine)] = FairSlots(count)
        return known

    async def close(self) -> None:
        for engine in self.made.values():
            await engine.close()

    async def for_model(self, engine: str, model: str | None) -> tuple[Engine, str]:
        """Return the engine of this name, and the model to request. `auto` is resolved by the model's name, or by what is available.

        :raises SettingsError: there is no such engine, or the model cannot be determined.
        :raises ModelNotFoundError: the named file or demo model does not exist.
        """
        if engine == "auto":
            owner = engine_of_model(model)
            if owner is None:
                choice = await self._pick(model)
                engine, model = choice.engine, choice.model if choice.engine != "llama" else model
            else:
                engine = owner
        if engine == "fleet":
            # An unnamed model is any model that an agent offers later.
            self.made["fleet"] = self._fleet
            return self._fleet, model or ""
        if engine not in ENGINE_TYPES:
            raise SettingsError(f"There is no engine called {engine!r}.")
        try:
            return await self._open(engine, model)
        except EngineUnavailableError as error:
            if engine != "llama" or model is not None:
                raise
            self.why = f"{error.message} The demo engine answers instead."
            return await self._open("demo", DEFAULT_MODEL)

    async def _open(self, engine: str, model: str | None) -> tuple[Engine, str]:
        """Return the engine and the model to request. An engine that serves one model only is opened once for each."""
        kind = ENGINE_TYPES[engine]
        if not kind.one_per_model:
            return (made := self._made(engine)), await kind.open_model(made, model)
        name = engine if model is None else f"{engine} {model}"
        if name not in self.made:
            self._settings.make_data_dir()
            made = make_engine(self._settings, engine, model)
            try:
                self._models[name] = await kind.open_model(made, model)
            except BaseException:
                await made.close()
                raise
            self.made[name] = made
        return self.made[name], self._models[name]

    def _made(self, engine: str) -> Engine:
        if engine not in self.made:
            self.made[engine] = make_engine(self._settings, engine)
        return self.made[engine]

    async def _pick(self, model: str | None) -> EngineChoice:
        """Resolve `auto`, once for every model."""
        if model not in self._picked:
            had = "ollama" in self.made
            ollama = self._made("ollama")

            async def llama() -> str:
                return (await self._open("llama", model))[1]

            choice = await pick_engine(
                ollama.models, llama, url=self._settings.engine_section("ollama").url, model=model
            )
            if choice.engine != "ollama" and not had:
                await self.made.pop("ollama").close()
            self._picked[model] = choice
            self.why = self.why or choice.why
        return self._picked[model]


def engine_context(settings: Settings, engine: str, model: str | None = None) -> EngineContext:
    """Return what the factory and the doctor check of an engine receive beside its section."""
    return EngineContext(
        model,
        settings.server.data_dir / "models",
        lambda field: settings.blaming("engines", engine, field),
    )


def make_engine(settings: Settings, engine: str, model: str | None = None) -> Engine:
    """Make an engine of the registry.

    :raises SettingsError: one of its settings cannot be used.
    """
    kind = ENGINE_TYPES[engine]
    return kind.make(settings.engine_section(engine), engine_context(settings, engine, model))
