"""Create the components of a server from the settings: the one place where they are connected."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from msgspec import Struct

from legato.api.ai_chats import AiChatTable
from legato.api.call_limiter import CallLimiter
from legato.api.catalog import ModelCatalog
from legato.api.generations import Generations
from legato.api.key_cache import ApiKeyCache
from legato.api.response_store import STORED_SECONDS
from legato.api.usage_journal import UsageJournal
from legato.broker.memory import MemoryBroker
from legato.broker.person_limits import LimitKind, PersonLimits
from legato.chat.assistant import Assistant
from legato.chat.commands import make_commands
from legato.chat.reply import ResolvedAssistant
from legato.chat.service import ChatService
from legato.engines.base import Engine
from legato.engines.fallback import Candidate, FallbackEngine, Timeouts
from legato.engines.llama.packaged_model import HINT, NAME
from legato.fleet.engine import FleetEngine
from legato.gateway.auth import Authenticator
from legato.gateway.callers import CallerAuthenticator
from legato.gateway.database_probe import DatabaseProbe
from legato.gateway.dependencies import ServerContext
from legato.gateway.engine_factory import EngineFactory
from legato.gateway.health_cache import HealthCache
from legato.gateway.lock import only_server_of
from legato.gateway.media import make_attachments, make_transcriber
from legato.gateway.open_calls import OpenCalls
from legato.gateway.settings import Settings
from legato.gateway.sse_response import OpenSseResponses
from legato.gateway.tickets import Tickets
from legato.gateway.tool_factory import ToolFactory
from legato.storage.sql import SqlStorage, open_storage
from legato.storage.sql.api_store import SqlApiStore
from legato.storage.sql.sqlite import SqliteDatabase
from legato.stream import Flusher

logger = logging.getLogger(__name__)

DATABASE = "legato.db"

KEY_END_SECONDS = 0.3
"""How long the streams of a key that was revoked have to tell their end."""


class Wired(Struct, frozen=True):
    """What `wire` created. It runs until the context ends."""

    context: ServerContext


@asynccontextmanager
async def wire(settings: Settings) -> AsyncIterator[Wired]:
    """Create the components of a server, start them, and stop them in the reverse order.

    :raises SettingsError: a setting cannot be used, or another server uses the same data.
    :raises StorageError: the database cannot be used.
    """
    async with AsyncExitStack() as stack:
        loop = asyncio.get_running_loop()
        broker = MemoryBroker(loop.time).gateway()
        stack.push_async_callback(broker.close)
        authenticator = Authenticator.from_settings(settings, Tickets(broker.once))
        stack.push_async_callback(authenticator.close)
        storage = open_database(settings)
        if isinstance(storage.database, SqliteDatabase):
            stack.enter_context(only_server_of(storage.database.path))
        stack.push_async_callback(storage.close)
        await storage.open()
        fleet = FleetEngine(settings.fleet.rules(), clock=loop.time)
        stack.push_async_callback(fleet.close)
        engines = EngineFactory(settings, fleet)
        stack.push_async_callback(engines.close)
        tools = ToolFactory(settings, stack)
        assistants = {
            name: await _resolve(engines, tools, assistant, hides_details=settings.auth.required)
            for name, assistant in settings.make_assistants().items()
        }
        why = _why(engines, assistants["default"])
        logger.info("%s", why)
        limits = PersonLimits(settings.person_rules(), loop.time, _log_refusal)
        attachments = make_attachments(settings, storage)
        stack.push_async_callback(attachments.close)
        transcriber = make_transcriber(settings)
        if transcriber is not None:
            stack.push_async_callback(transcriber.close)
        service = ChatService(
            storage,
            assistants,
            commands=make_commands,
            broker=broker,
            clock=loop.time,
            attachments=attachments,
            limits=limits,
            text_quota=settings.storage.text_quota_bytes,
            transcriber=transcriber,
        )
        stack.push_async_callback(service.close)
        await service.start()
        attachments.start()
        api_store = SqlApiStore(storage.database)
        usage = UsageJournal(api_store, now=time.time)
        stack.push_async_callback(usage.close)
        usage.start()
        calls = CallLimiter(
            settings.call_rules(),
            usage,
            api_store,
            clock=loop.time,
            now=time.time,
            refused=limits.count_refusal,
        )
        generations = Generations(api_store, now=time.time, limits=limits, calls=calls)
        stack.push_async_callback(generations.close)
        await generations.open()
        open_calls = OpenCalls()

        def stop_keys(keys: Collection[str]) -> None:
            generations.cancel_keys(keys)
            loop.call_later(KEY_END_SECONDS, open_calls.end, set(keys))

        api_keys = ApiKeyCache(
            api_store,
            now=time.time,
            clock=loop.time,
            running=lambda: generations.running_keys() | open_calls.keys,
            stop=stop_keys,
        )
        api_keys.start()
        stack.push_async_callback(api_keys.close)
        ai_chats = AiChatTable(generations, api_store)
        await ai_chats.open(time.time() - STORED_SECONDS)
        yield Wired(
            ServerContext(
                service=service,
                database=DatabaseProbe(storage.ping),
                engines=engines.made,
                health=HealthCache(engines.made, loop.time),
                fleet=fleet,
                assistants=assistants,
                authenticator=authenticator,
                flusher=Flusher(loop.call_soon),
                sse_responses=OpenSseResponses(limits),
                limits=limits,
                why=why,
                catalog=_catalog(settings, engines, fleet, assistants, loop.time),
                generations=generations,
                calls=calls,
                open_calls=open_calls,
                callers=CallerAuthenticator(
                    authenticator,
                    api_keys,
                    settings.auth.anonymous_networks,
                    settings.server.cors_origins,
                    clock=loop.time,
                ),
                ai_chats=ai_chats,
                transcriber=transcriber,
                dialect_assistants=settings.dialect_assistants(),
            )
        )


def open_database(settings: Settings) -> SqlStorage:
    """Return the configured database, or a file in the data directory.

    :raises SettingsError: there is no such kind of database, or the file cannot be created.
    """
    url = settings.server.database_url
    if url is not None:
        with settings.blaming("server", "database_url"):
            return open_storage(url.get_secret_value(), durable=settings.storage.durable)
    path: Path = settings.make_data_dir() / DATABASE
    return open_storage(f"sqlite:///{path}", durable=settings.storage.durable)


async def _resolve(
    engines: EngineFactory, tools: ToolFactory, assistant: Assistant, *, hides_details: bool
) -> ResolvedAssistant:
    """Return the assistant with its tools and its engine: the primary one, then the backup if there is one."""
    engine, model = await engines.for_model(assistant.engine, assistant.model)
    candidates = [Candidate(engine, model)]
    if assistant.backup_model is not None or assistant.backup_engine is not None:
        candidates.append(
            Candidate(
                *await engines.for_model(assistant.backup_engine or engine.name, assistant.backup_model)
            )
        )
    timeouts = Timeouts(assistant.timeout, assistant.first_token_timeout)
    fallback = FallbackEngine(candidates, timeouts=timeouts, breakers=engines.breakers, slots=engines.slots)
    return ResolvedAssistant(
        assistant, fallback, model, await tools.of(assistant.tools), hides_details=hides_details
    )


def _log_refusal(kind: LimitKind, person: str, count: int) -> None:
    more = f" ({count} times since the last line)" if count > 1 else ""
    who = "Address" if kind == "connections" else "The" if kind.startswith("api_") else "User"
    what = kind.replace("_", " ")
    logger.warning("%s %s has reached the limit of %s, and was refused%s", who, person, what, more)


def _catalog(
    settings: Settings,
    engines: EngineFactory,
    fleet: FleetEngine,
    assistants: Mapping[str, ResolvedAssistant],
    clock: Callable[[], float],
) -> ModelCatalog:
    """Return the names for clients of the APIs. A model without an assistant has the timeouts of the assistant `default`."""
    default = assistants["default"].config
    timeouts = Timeouts(default.timeout, default.first_token_timeout)

    def make_engine(engine: Engine, model: str) -> FallbackEngine:
        return FallbackEngine(
            [Candidate(engine, model)], timeouts=timeouts, breakers=engines.breakers, slots=engines.slots
        )

    return ModelCatalog(
        assistants, {**engines.made, "fleet": fleet}, settings.aliases, make_engine, clock=clock
    )


def _why(engines: EngineFactory, default: ResolvedAssistant) -> str:
    """Say which engine and model answer and why, and how to get a better model if the packaged one answers."""
    why = engines.why or _as_configured(default)
    unnamed = default.config.model is None
    return f"{why} {HINT}" if unnamed and default.model == NAME else why


def _as_configured(default: ResolvedAssistant) -> str:
    which = f" with {default.model}" if default.model else ""
    return f"The {default.engine.name} engine answers{which}, as the configuration says."
