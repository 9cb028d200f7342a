"""The models that clients of the APIs can name: assistants, the models of all engines and of the fleet, and aliases."""

import asyncio
from collections.abc import Callable, Mapping

from msgspec import Struct

from legato.api.assistant_engine import AssistantEngine
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
    `plain`, and the reverse.
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

    async def models(self) -> list[CatalogModel]:
        """Return every name: assistants, aliases, then models, each name once."""
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
        return list(found.values())

    async def find(self, name: str) -> CatalogModel:
        """Return what a name is.

        :raises ModelNotFoundError: there is no such name.
        """
        models = {model.name: model for model in await self.models()}
        for each in _spellings(name):
            if each in models:
                return models[each]
        raise _missing(name)

    async def resolve(self, name: str) -> ResolvedModel:
        """Return what answers a call for this name.

        :raises ModelNotFoundError: there is no such name, also if the engine that has it cannot be asked.
        """
        for each in _spellings(name):
            if each in self._assistants:
                assistant = self._assistants[each]
                return ResolvedModel(AssistantEngine(assistant), assistant.model, assistant)
        target = next((self._aliases[each] for each in _spellings(name) if each in self._aliases), name)
        if target != name and target in self._assistants:
            assistant = self._assistants[target]
            return ResolvedModel(AssistantEngine(assistant), assistant.model, assistant)
        for fresh in (False, True):
            models = {model.name: model for model in reversed(await self._listed(fresh=fresh))}
            for each in _spellings(target):
                if each in models:
                    engine = next(one for one in self._engines.values() if one.name == models[each].engine)
                    return ResolvedModel(self._make_engine(engine, each), each)
        raise _missing(name)

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
