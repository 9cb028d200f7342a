"""The engines of an agent, and the models they offer now."""

import asyncio
import logging
from collections.abc import Iterable, Sequence

from msgspec import Struct
from msgspec.structs import replace

from legato.engines.base import Engine, Model, NullWriter, Outcome, ReplyWriter, Request
from legato.engines.embedding import Embedder, Embedding, embedder_of
from legato.engines.llama.engine import LlamaEngine
from legato.engines.message_format import drop_unsupported_media, has_media
from legato.engines.ollama.engine import OllamaEngine
from legato.errors import EngineError, EngineUnavailableError, ModelNotFoundError, UnsupportedOptionError
from legato.fleet.model_names import LATEST, canonical_model_name
from legato.fleet.protocol import ModelInfo

logger = logging.getLogger(__name__)

LIST_SECONDS = 5.0
"""Seconds that an engine may take to list its models."""

SLOW_LISTS = 6
"""Late listings in a row after which the models count as gone: a busy engine lists slowly, and still writes."""


class EngineSource(Struct):
    """An engine, and the names of its models that are offered; no names mean all. `listed` are its models when they were listed
    last, `late` counts the listings in a row that took too long, `complaint` is the warning that was logged last."""

    engine: Engine
    names: tuple[str, ...] = ()
    listed: tuple[Model, ...] = ()
    late: int = 0
    complaint: str = ""


class EnginePool:
    """Several engines as one. If two offer a model of the same name, the first is used."""

    def __init__(self, sources: Iterable[EngineSource]) -> None:
        self._sources = tuple(sources)
        self._offered: dict[str, Engine] = {}

    async def start(self) -> None:
        """Prepare what the first job needs: the file of an embedded model.

        :raises EngineError: the file is not here, and cannot be downloaded.
        """
        for source in self._sources:
            if isinstance(source.engine, LlamaEngine):
                await source.engine.start()

    async def list_models(self) -> tuple[ModelInfo, ...]:
        """List the models that are offered now. Never raises: an engine that does not answer offers none."""
        await asyncio.gather(*(_list(source) for source in self._sources))
        infos: dict[str, ModelInfo] = {}
        offered: dict[str, Engine] = {}
        for source in self._sources:
            for name, model in _offered_models(source):
                if name not in offered:
                    offered[name] = source.engine
                    infos[name] = await _describe(source.engine, name, model)
        self._offered = offered
        return tuple(infos.values())

    async def generate(self, request: Request, out: ReplyWriter) -> Outcome:
        """Write one reply with the engine that has its model.

        :raises ModelNotFoundError: no engine has it.
        :raises EngineError: as the engine does.
        """
        engine = self._engine(request.model)
        if has_media(request.turns):
            can = await engine.capabilities(request.model)
            turns = drop_unsupported_media(request.turns, can)
            if request.strict and turns != request.turns:
                raise UnsupportedOptionError(
                    f"The model {request.model} cannot see or hear what is in the request.", "images"
                )
            request = replace(request, turns=turns)
        return await engine.generate(request, out)

    async def embed(self, request: Request) -> Embedding:
        """Embed the texts of a job with the engine that has its model.

        :raises ModelNotFoundError: no engine has it.
        :raises EngineError: as the engine does, or it embeds no texts.
        """
        engine = self._engine(request.model)
        embedder = embedder_of(engine, engine.name)
        found = await embedder.embed(request.model, request.embed, request.dimensions)
        return replace(found, model=request.model)

    async def load(self, model: str) -> None:
        """Load a model, if the engine can do that ahead of a request.

        :raises EngineError: the engine has no such model, or cannot load it.
        """
        match self._engine(model):
            case LlamaEngine() as llama:
                await llama.ready()
            case OllamaEngine() as ollama:
                # A chat without messages loads the model and writes nothing (Ollama's API documentation).
                await ollama.generate(Request(model=model, turns=()), NullWriter())
            case _:
                pass

    async def close(self) -> None:
        for source in self._sources:
            await source.engine.close()

    def _engine(self, model: str) -> Engine:
        plain = canonical_model_name(model)
        found = self._offered.get(model) or self._offered.get(plain) or self._offered.get(f"{plain}{LATEST}")
        if found is not None:
            return found
        if len(self._sources) == 1 and not self._sources[0].names:
            return self._sources[0].engine
        raise ModelNotFoundError(
            f"This agent has no model {model!r}; it has {', '.join(self._offered) or 'none now'}."
        )


async def _list(source: EngineSource) -> None:
    try:
        async with asyncio.timeout(LIST_SECONDS):
            source.listed = await _models(source.engine)
    except TimeoutError:
        source.late += 1
        if source.late < SLOW_LISTS:
            return
        complaint = f"The engine {source.engine.name} does not list its models."
    except EngineError as error:
        complaint = error.message
    else:
        source.late = 0
        missing = [name for name in source.names if _find(source.listed, name) is None]
        complaint = f"The engine {source.engine.name} has no model {missing[0]} yet." if missing else ""
        if complaint and complaint != source.complaint:
            logger.warning(complaint)
        source.complaint = complaint
        return
    source.listed = ()
    if complaint != source.complaint:
        logger.warning("%s Until then it offers nothing.", complaint)
        source.complaint = complaint


async def _models(engine: Engine) -> tuple[Model, ...]:
    if isinstance(engine, LlamaEngine) and not (health := await engine.health()).ok:
        raise EngineUnavailableError(health.detail)
    return await engine.models()


def _offered_models(source: EngineSource) -> list[tuple[str, Model]]:
    """The models of a source by the names under which they are offered. A model that does not chat is offered if the engine embeds, or
    by name.
    """
    if not source.names:
        embeds = isinstance(source.engine, Embedder)
        return [(canonical_model_name(model.name), model) for model in source.listed if model.chats or embeds]
    found = [(name, _find(source.listed, name)) for name in source.names]
    return [(name, model) for name, model in found if model is not None]


def _find(models: Sequence[Model], name: str) -> Model | None:
    return next((model for model in models if model.name in (name, f"{name}{LATEST}")), None)


async def _describe(engine: Engine, name: str, model: Model) -> ModelInfo:
    can = await engine.capabilities(model.name)
    return ModelInfo(
        name,
        loaded=model.loaded is not False,
        size=model.size,
        context=model.context or can.context,
        can=can,
        chats=model.chats,
    )
