"""The state of the server: `/health`, `/ready`, `/api/info`, `/api/models`, and tickets for browsers."""

import asyncio
from contextlib import suppress

import msgspec
from fastapi import APIRouter, Response

from legato import __version__
from legato.chat.reply import ResolvedAssistant
from legato.domain.public_text import public_error
from legato.engines.base import Capabilities, Model
from legato.errors import LegatoError, StorageError
from legato.gateway.dependencies import Authenticated, Context, IsAdministrator, ServerContext, TokenHolder
from legato.gateway.json_body import answer, openapi_types
from legato.gateway.schemas import Alive, AssistantView, EngineView, ModelList, Readiness, ServerInfo, Ticket

router = APIRouter(tags=["server"])

OK = "ok"
UNWELL = "The database cannot be used. A token whose scope says `admin` is told why."
"""It names no reason, because the reason names files and machines."""

INFO_SECONDS = 1.0
"""How long an engine may take to return the capabilities of its model."""


@router.get("/health", responses=openapi_types.response(Alive))
async def health() -> Response:
    """Return if the process lives and its event loop runs."""
    return answer(Alive())


@router.get(
    "/ready",
    responses=openapi_types.response(Readiness) | openapi_types.response(Readiness, 503, "Not ready"),
)
async def ready(context: Context, trusted: IsAdministrator) -> Response:
    """Return whether messages are accepted: the database answers, and the server is not about to stop. With authentication, only a
    token with the scope `admin` gets the reasons and the details of the engines; others get whether each is ok.
    """
    storage, states = await asyncio.gather(_storage(context), context.health())
    taken = storage == OK and not context.service.replies.draining
    if trusted:
        engines = {name: msgspec.to_builtins(state) for name, state in states.items()}
    else:
        storage = storage if storage == OK else UNWELL
        engines = {name: {"ok": state.ok} for name, state in states.items()}
    return answer(Readiness(taken, storage, engines, context.service.replies.running), 200 if taken else 503)


async def _storage(context: ServerContext) -> str:
    try:
        await context.database()
    except StorageError as error:
        return error.message
    return OK


@router.get("/api/info", responses=openapi_types.response(ServerInfo))
async def info(context: Context) -> Response:
    """Return what this server is. It needs no authentication, because a client needs it before it can authenticate."""
    assistants = await asyncio.gather(*map(_assistant, context.assistants.values()))
    default = context.assistants["default"]
    engine = EngineView(default.engine.name, default.model, "" if context.auth_required else context.why)
    upload_bytes = context.service.attachments.rules.file_bytes
    return answer(ServerInfo(__version__, context.auth_required, list(assistants), engine, upload_bytes))


async def _assistant(resolved: ResolvedAssistant) -> AssistantView:
    assistant = resolved.config
    capabilities = Capabilities()
    # The engine may be away, and the page must not wait for it.
    with suppress(TimeoutError):
        async with asyncio.timeout(INFO_SECONDS):
            capabilities = await resolved.engine.capabilities(resolved.model)
    return AssistantView(
        assistant.name,
        resolved.engine.name,
        resolved.model,
        assistant.disclaimer,
        capabilities.images,
        assistant.tools,
        _backup(resolved),
    )


def _backup(resolved: ResolvedAssistant) -> str | None:
    assistant = resolved.config
    if assistant.backup_engine is None and assistant.backup_model is None:
        return None
    return assistant.backup_engine or resolved.engine.name


@router.get("/api/models", responses=openapi_types.response(ModelList))
async def models(authenticated: Authenticated) -> Response:
    """Return the models of the engines in use."""
    found: list[Model] = []
    problems: dict[str, str] = {}
    for name, engine in authenticated.context.engines.items():
        try:
            found += await engine.models()
        except LegatoError as error:
            problems[name] = (public_error(error) if authenticated.context.auth_required else error).message
    return answer(ModelList(found, problems))


@router.post(
    "/api/tickets", status_code=201, responses=openapi_types.response(Ticket, 201, "Valid for one handshake")
)
async def ticket(authenticated: TokenHolder) -> Response:
    """Issue a single-use ticket, for a handshake in which a browser cannot send a header."""
    text, seconds = await authenticated.context.issue_ticket(authenticated.user)
    return answer(Ticket(text, seconds), 201, {"cache-control": "no-store"})
