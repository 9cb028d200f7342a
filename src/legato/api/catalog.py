"""The models that clients of the APIs can name: assistants, the models of all engines and of the fleet, and aliases."""

import asyncio
from collections.abc import Callable, Container, Mapping

from msgspec import Struct

from legato.api.assistant_engine import AssistantEngine
from legato.api.call import Caller
from legato.api.catalog_model import CatalogModel
from legato.chat.reply import ResolvedAssistant
from legato.engines.base import Engine, Model
from legato.errors import LegatoError, ModelNotFoundError

LIST_SECONDS = 5.0
"""How long a list of models is good before the engines are asked again."""

LATEST = ":latest"


class ResolvedModel(Struct, frozen=True):
    """What answers a call: an engine with timeouts and backups, the model to request, and the assistant if the name is one's."""

    engine: Engine
    model: str
    assistant: ResolvedAssistant | None = None


class ModelCatalog:
    """Finds what a name means. An assistant has precedence over an alias, and an alias over an engine's model.

    `make_engine` adds timeouts and a breaker to an engine and its model. `clock` is in seconds. `plain:latest` answers to
    `plain`, and the reverse. For a caller who may use certain names only, the others do not exist.
    """

    def __init__(
        self,
        assistants: Mapping[str, ResolvedAssistant],
        engines: Mapping[str, Engine],
        aliases: Mapping[str, str],
        make_engine: Callable[[Engine, str], Engine],
        *,
        clock: Callable[[], float],
    ) -> None:
        self._assistants = assistants
        self._engines = engines
        self._aliases = aliases
        self._make_engine = make_engine
        self._clock = clock
        self._until = float("-inf")
        self._models: tuple[Model, ...] = ()
        self._listing: asyncio.Task[tuple[Model, ...]] | None = None

    async def models(self, caller: Caller) -> list[CatalogModel]:
        """Return every name that a caller may use: assistants, aliases, then models, each name once."""
        found: dict[str, CatalogModel] = {}
        models = await self._listed()
        known = {model.name: model for model in reversed(models)}
        for name, assistant in self._assistants.items():
            found[name] = CatalogModel(
                name, "assistant", "legato", known.get(assistant.model), assistant.model
            )
        for name, target in self._aliases.items():
            found.setdefault(name, CatalogModel(name, "alias", "legato", known.get(target), target))
        for model in models:
            found.setdefault(model.name, CatalogModel(model.name, "model", model.engine, model))
        return [each for each in found.values() if self._permits(caller, each.name, known)]

    async def find(self, name: str, caller: Caller) -> CatalogModel:
        """Return what a name is.

        :raises ModelNotFoundError: there is no such name, or the caller may not use it.
        """
        models = {model.name: model for model in await self.models(caller)}
        found = self._canonical(name, models)
        if found not in models:
            raise _missing(name)
        return models[found]

    async def resolve(self, name: str, caller: Caller) -> ResolvedModel:
        """Return what answers a call for this name.

        :raises ModelNotFoundError: there is no such name, also if the engine that has it cannot be asked, or the caller may
            not use it.
        """
        configured = self._configured(name)
        if configured is not None and not self._permits(caller, configured, {}):
            raise _missing(name)
        target = configured or name
        if target not in self._assistants:
            target = self._aliases.get(target, target)
        if target in self._assistants:
            assistant = self._assistants[target]
            return ResolvedModel(AssistantEngine(assistant), assistant.model, assistant)
        for fresh in (False, True):
            models = {model.name: model for model in reversed(await self._listed(fresh=fresh))}
            found = next((each for each in _spellings(target) if each in models), None)
            if found is not None and (configured is not None or self._permits(caller, found, models)):
                engine = next(one for one in self._engines.values() if one.name == models[found].engine)
                return ResolvedModel(self._make_engine(engine, found), found)
        raise _missing(name)

    def _configured(self, name: str) -> str | None:
        """Return the assistant or alias that a name means."""
        for names in (self._assistants, self._aliases):
            for each in _spellings(name):
                if each in names:
                    return each
        return None

    def _canonical(self, name: str, models: Container[str]) -> str | None:
        """Return the name in the catalog that a name means, None if there is none."""
        configured = self._configured(name)
        if configured is not None:
            return configured
        return next((each for each in _spellings(name) if each in models), None)

    def _permits(self, caller: Caller, found: str, models: Container[str]) -> bool:
        """Return whether a caller may use a name of the catalog. What an alias or assistant stands for has no effect on that."""
        return not caller.models or any(
            self._canonical(each, models) == found for each in caller.models if found in _spellings(each)
        )

    async def _listed(self, *, fresh: bool = False) -> tuple[Model, ...]:
        """Return the models of all engines that answer. Callers at the same time share one listing."""
        if not fresh and self._clock() < self._until:
            return self._models
        if self._listing is None or self._listing.done():
            self._listing = asyncio.create_task(self._list(), name="model list")
        return await asyncio.shield(self._listing)

    async def _list(self) -> tuple[Model, ...]:
        async def of(engine: Engine) -> tuple[Model, ...]:
            try:
                return await engine.models()
            except LegatoError:
                return ()

        lists = await asyncio.gather(*[of(engine) for engine in self._engines.values()])
        self._models = tuple(model for models in lists for model in models)
        self._until = self._clock() + LIST_SECONDS
        return self._models


def _spellings(name: str) -> tuple[str, ...]:
    return (name, name.removesuffix(LATEST)) if name.endswith(LATEST) else (name, name + LATEST)


def _missing(name: str) -> ModelNotFoundError:
    return ModelNotFoundError(
        f"There is no model {name[:200]!r} here. The list of models names all that there are."
    )
