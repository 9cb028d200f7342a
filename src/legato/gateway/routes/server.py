"""What the server says of itself: `/health`, `/ready`, `/api/info`, `/api/models`, and tickets for browsers."""

import asyncio
from contextlib import suppress

import msgspec
from fastapi import APIRouter, Response

from legato import __version__
from legato.chat.reply import ResolvedAssistant
from legato.engines.base import Capabilities, Model
from legato.errors import LegatoError, StorageError
from legato.gateway.dependencies import Administers, Asker, Here, ServerContext, TokenHolder
from legato.gateway.json_body import answer, documented
from legato.gateway.schemas import Alive, AssistantView, EngineView, ModelList, Readiness, ServerInfo, Ticket

router = APIRouter(tags=["server"])

OK = "ok"
UNWELL = "The database cannot be used. A token whose scope says `admin` is told why."
"""Why it cannot names files and machines."""

INFO_SECONDS = 1.0
"""How long an engine may take to say what its model can do."""


@router.get("/health", responses=documented.gives(Alive))
async def health() -> Response:
    """The process lives and its event loop turns."""
    return answer(Alive())


@router.get("/ready", responses=documented.gives(Readiness) | documented.gives(Readiness, 503, "Not ready"))
async def ready(here: Here, trusted: Administers) -> Response:
    """Whether messages are taken: the database answers, and the server is not about to stop. Where auth is on, what is wrong
    and what engines say of themselves is told to those whose token's scope says `admin`; others hear who is well."""
    storage, states = await asyncio.gather(_storage(here), here.pulse())
    taken = storage == OK and not here.service.replies.draining
    if trusted:
        engines = {name: msgspec.to_builtins(state) for name, state in states.items()}
    else:
        storage = storage if storage == OK else UNWELL
        engines = {name: {"ok": state.ok} for name, state in states.items()}
    return answer(Readiness(taken, storage, engines, here.service.replies.running), 200 if taken else 503)


async def _storage(here: ServerContext) -> str:
    try:
        await here.database()
    except StorageError as error:
        return error.message
    return OK


@router.get("/api/info", responses=documented.gives(ServerInfo))
async def info(here: Here) -> Response:
    """What this server is: needed before one can say who one is, so it is open to all."""
    assistants = await asyncio.gather(*map(_assistant, here.speakers.values()))
    default = here.speakers["default"]
    engine = EngineView(default.engine.name, default.model, "" if here.auth_required else here.why)
    upload_bytes = here.service.attachments.rules.file_bytes
    return answer(ServerInfo(__version__, here.auth_required, list(assistants), engine, upload_bytes))


async def _assistant(speaker: ResolvedAssistant) -> AssistantView:
    assistant = speaker.assistant
    can = Capabilities()
    # Asked of the engine, which may be away; nobody waits for long for the page.
    with suppress(TimeoutError):
        async with asyncio.timeout(INFO_SECONDS):
            can = await speaker.engine.capabilities(speaker.model)
    return AssistantView(
        assistant.name, speaker.engine.name, speaker.model, assistant.disclaimer, can.images, assistant.tools
    )


@router.get("/api/models", responses=documented.gives(ModelList))
async def models(asker: Asker) -> Response:
    """The models of the engines in use."""
    found: list[Model] = []
    problems: dict[str, str] = {}
    for name, engine in asker.here.engines.items():
        try:
            found += await engine.models()
        except LegatoError as error:
            problems[name] = error.message
    return answer(ModelList(found, problems))


@router.post(
    "/api/tickets", status_code=201, responses=documented.gives(Ticket, 201, "Good for one handshake")
)
async def ticket(asker: TokenHolder) -> Response:
    """A single-use ticket, for a handshake in which a browser cannot send a header."""
    text, seconds = await asker.here.issue_ticket(asker.person)
    return answer(Ticket(text, seconds), 201, {"cache-control": "no-store"})
