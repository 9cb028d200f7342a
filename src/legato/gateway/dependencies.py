"""What a route is given: the server it belongs to, and who asks it."""

from collections.abc import Mapping
from typing import Annotated

from fastapi import Depends, Request
from msgspec import Struct

from legato.chat.reply import ResolvedAssistant
from legato.chat.service import ChatService
from legato.dialects.authentication import require_chat_scope
from legato.domain.user import User
from legato.engines.base import Engine
from legato.errors import BusyError, ForbiddenError, UnauthenticatedError
from legato.fleet.engine import FleetEngine
from legato.gateway.auth import Authenticator
from legato.gateway.database_probe import DatabaseProbe
from legato.gateway.health_cache import HealthCache
from legato.gateway.sse_response import OpenSseResponses
from legato.protocol.bearer import bearer_token
from legato.stream import Flusher

ADMIN = "admin"
"""The scope of those who run the server."""


class ServerContext(Struct, frozen=True):
    """The parts of one running server. `fleet` is there whether an assistant speaks through it or not. `why` is a sentence that says why the default engine is what it is."""

    service: ChatService
    database: DatabaseProbe
    engines: Mapping[str, Engine]
    pulse: HealthCache
    fleet: FleetEngine
    speakers: Mapping[str, ResolvedAssistant]
    authenticator: Authenticator
    flusher: Flusher
    events: OpenSseResponses
    why: str
    dialect_assistants: Mapping[str, str] = {}

    @property
    def auth_required(self) -> bool:
        return self.authenticator.open_to_all is None

    async def issue_ticket(self, person: User) -> tuple[str, float]:
        """A single-use ticket and for how many seconds it is good."""
        return await self.authenticator.ticket(person), self.authenticator.ticket_seconds


class AuthenticatedRequest(Struct, frozen=True):
    """A request whose sender is known and may chat."""

    here: ServerContext
    person: User

    @property
    def service(self) -> ChatService:
        return self.here.service

    @property
    def flusher(self) -> Flusher:
        return self.here.flusher

    @property
    def events(self) -> OpenSseResponses:
        return self.here.events


def here(request: Request) -> ServerContext:
    parts: ServerContext = request.app.state.parts
    return parts


async def known(request: Request, parts: Annotated[ServerContext, Depends(here)]) -> User:
    """Who asks: a token in `Authorization: Bearer`, or a single-use `?ticket=`.

    :raises UnauthenticatedError: nobody, or somebody who cannot show it.
    """
    authorization = request.headers.get("authorization", "")
    token = bearer_token(authorization)
    ticket = request.query_params.get("ticket")
    if authorization and token is None and parts.auth_required:
        raise UnauthenticatedError("Send the token as `Authorization: Bearer …`.")
    return await parts.authenticator(token=token or None, ticket=ticket if not token else None)


async def asker(
    parts: Annotated[ServerContext, Depends(here)], person: Annotated[User, Depends(known)]
) -> AuthenticatedRequest:
    """:raises ForbiddenError: somebody who may not chat."""
    require_chat_scope(person)
    return AuthenticatedRequest(parts, person)


async def administers(request: Request, parts: Annotated[ServerContext, Depends(here)]) -> bool:
    """Whether who asks may look behind the scenes. Nobody is refused."""
    try:
        person = await known(request, parts)
    except (UnauthenticatedError, BusyError):
        return False
    return ADMIN in person.scopes


async def administrator(person: Annotated[User, Depends(known)]) -> User:
    """:raises ForbiddenError: somebody who may not look behind the scenes."""
    if ADMIN not in person.scopes:
        raise ForbiddenError("This needs a token whose scope says `admin`.")
    return person


async def token_holder(
    request: Request, asking: Annotated[AuthenticatedRequest, Depends(asker)]
) -> AuthenticatedRequest:
    """Return the request if it was authenticated by a token, or if the server asks for none.

    :raises UnauthenticatedError: a ticket came instead of a token. A ticket must not prolong itself.
    """
    if asking.here.auth_required and not request.headers.get("authorization"):
        raise UnauthenticatedError(
            "A ticket does not get another ticket. Send the token as `Authorization: Bearer …`."
        )
    return asking


Here = Annotated[ServerContext, Depends(here)]
Asker = Annotated[AuthenticatedRequest, Depends(asker)]
TokenHolder = Annotated[AuthenticatedRequest, Depends(token_holder)]
Administers = Annotated[bool, Depends(administers)]
Administrator = Annotated[User, Depends(administrator)]
