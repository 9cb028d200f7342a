"""The fleet over HTTP: what it does now, and the door of browsers of the first generation."""

from typing import Any

from fastapi import APIRouter, Response
from fastapi import Request as HttpRequest
from msgspec import Struct, field

from legato.domain.message import TextPart
from legato.engines.base import Request, Turn
from legato.engines.fallback import Timeouts
from legato.errors import InvalidError
from legato.fleet.agent_record import AgentCount, FleetView
from legato.gateway.dependencies import Asker
from legato.gateway.fleet_sse import FleetStream, FleetTokenStream
from legato.gateway.json_body import answer, documented, read

router = APIRouter(tags=["fleet"])

COMPLETIONS = "/api/chat/completions"
STATUS = "/api/agents/status"

SHARED = frozenset({COMPLETIONS, STATUS})
"""Paths that pages of any site may call with a token, unless `cors_origins` names the sites that may."""


class PromptMessage(Struct, frozen=True):
    role: str = "user"
    content: str = ""


class Completion(Struct, frozen=True):
    """`parameters` go into Ollama's request as they are."""

    messages: list[PromptMessage] = field(default_factory=list)
    model: str = ""
    parameters: dict[str, Any] | None = None


@router.post(
    COMPLETIONS,
    openapi_extra=documented.takes(Completion),
    responses={
        200: {"content": {"text/event-stream": {}}, "description": "A token an event, then `[DONE]`"},
        429: {
            "content": {"text/event-stream": {}},
            "description": "The line is full: `Retry-After` says for how many seconds",
        },
    },
)
async def completions(request: HttpRequest, asker: Asker) -> Response:
    """A reply of the fleet, as browsers of the first generation ask for it. The patience and the disclaimer are those of
    the assistant `default`."""
    wanted = await read(request, Completion)
    if not wanted.messages:
        raise InvalidError("A request needs `messages`.")
    roles = {"system", "assistant", "tool"}
    turns = tuple(
        Turn(said.role if said.role in roles else "user", (TextPart(said.content),))  # type: ignore[arg-type]
        for said in wanted.messages
    )
    client = request.client.host if request.client is not None else ""
    user = asker.person.id if asker.here.auth_required else client
    default = asker.here.speakers["default"].assistant
    return FleetTokenStream(
        asker.events,
        asker.here.fleet,
        Request(model=wanted.model, turns=turns, user=user),
        wanted.parameters or {},
        Timeouts(default.timeout, default.first_token_timeout),
        default.disclaimer,
    )


@router.get(STATUS, responses=documented.gives(AgentCount))
async def status(asker: Asker) -> Response:
    """How many agents there are; `busy` are those with no free slot."""
    return answer(asker.here.fleet.counted(), headers={"cache-control": "no-store"})


@router.get("/api/fleet", responses=documented.gives(FleetView))
async def fleet(request: HttpRequest, asker: Asker) -> Response:
    """The agents, their slots, models and jobs, the rate of their tokens, and who waits. With `Accept: text/event-stream`
    it is `/api/fleet/stream`."""
    if "text/event-stream" in request.headers.get("accept", ""):
        return FleetStream(asker.events, asker.here.fleet, asker.person.expires)
    return answer(asker.here.fleet.view(), headers={"cache-control": "no-store"})


@router.get(
    "/api/fleet/stream",
    responses={
        200: {"content": {"text/event-stream": {}}, "description": "`data:` is what `/api/fleet` gives"}
    },
)
async def stream(asker: Asker) -> Response:
    """The same, again whenever it has changed."""
    return FleetStream(asker.events, asker.here.fleet, asker.person.expires)
