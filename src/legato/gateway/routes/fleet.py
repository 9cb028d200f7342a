"""The fleet over HTTP: its state, and the endpoint of browsers that speak version 1."""

from typing import Any

from fastapi import APIRouter, Response
from fastapi import Request as HttpRequest
from msgspec import Struct, field

from legato.domain.message import TextPart
from legato.engines.base import Request, Turn
from legato.engines.fallback import Timeouts
from legato.errors import InvalidError
from legato.fleet.parameters import allowed_parameters
from legato.fleet.views import AgentCount, FleetView
from legato.gateway.dependencies import Authenticated
from legato.gateway.fleet_sse import FleetStream, FleetTokenStream
from legato.gateway.json_body import answer, openapi_types, read_body

router = APIRouter(tags=["fleet"])

COMPLETIONS = "/api/chat/completions"
STATUS = "/api/agents/status"

SHARED = frozenset({COMPLETIONS, STATUS})
"""Paths that pages of any site may call, unless `cors_origins` names the sites."""


class PromptMessage(Struct, frozen=True):
    role: str = "user"
    content: str = ""


class Completion(Struct, frozen=True):
    """`parameters` are options of Ollama: sampling, `stop`, and lengths up to what the assistant `default` sets. Numbers beyond their
    bounds become the bounds; all others are dropped.
    """

    messages: list[PromptMessage] = field(default_factory=list)
    model: str = ""
    parameters: dict[str, Any] | None = None


@router.post(
    COMPLETIONS,
    openapi_extra=openapi_types.body(Completion),
    responses={
        200: {"content": {"text/event-stream": {}}, "description": "One event for each token, then `[DONE]`"},
        429: {
            "content": {"text/event-stream": {}},
            "description": "The queue is full: `Retry-After` is in seconds",
        },
    },
)
async def completions(request: HttpRequest, authenticated: Authenticated) -> Response:
    """Return a reply of the fleet, in the format of browsers that speak version 1. The timeouts and the disclaimer are those of
    the assistant `default`.
    """
    body = await read_body(request, Completion)
    if not body.messages:
        raise InvalidError("A request needs `messages`.")
    roles = {"system", "assistant", "tool"}
    turns = tuple(
        Turn(message.role if message.role in roles else "user", (TextPart(message.content),))  # type: ignore[arg-type]
        for message in body.messages
    )
    client = request.client.host if request.client is not None else ""
    user = authenticated.user.id if authenticated.context.auth_required else client
    assistant = authenticated.context.assistants["default"]
    default = assistant.config
    return FleetTokenStream(
        authenticated.sse_responses,
        authenticated.context.fleet,
        Request(model=body.model, turns=turns, user=user),
        allowed_parameters(body.parameters or {}, default.options),
        Timeouts(default.timeout, default.first_token_timeout),
        default.disclaimer,
        assistant.told,
    )


@router.get(STATUS, responses=openapi_types.response(AgentCount))
async def status(authenticated: Authenticated) -> Response:
    """Return the number of agents. `busy` counts those without a free slot."""
    return answer(authenticated.context.fleet.counted(), headers={"cache-control": "no-store"})


@router.get("/api/fleet", responses=openapi_types.response(FleetView))
async def fleet(request: HttpRequest, authenticated: Authenticated) -> Response:
    """Return the agents, their slots, models and jobs, the rate of their tokens, and the waiting requests. With `Accept: text/event-stream`
    it is `/api/fleet/stream`.
    """
    if "text/event-stream" in request.headers.get("accept", ""):
        return FleetStream(
            authenticated.sse_responses, authenticated.context.fleet, authenticated.user.expires
        )
    return answer(authenticated.context.fleet.view(), headers={"cache-control": "no-store"})


@router.get(
    "/api/fleet/stream",
    responses={
        200: {"content": {"text/event-stream": {}}, "description": "`data:` is what `/api/fleet` gives"}
    },
)
async def stream(authenticated: Authenticated) -> Response:
    """Stream the same, again after every change."""
    return FleetStream(authenticated.sse_responses, authenticated.context.fleet, authenticated.user.expires)
