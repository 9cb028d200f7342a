"""What a route receives: the server, and the authenticated user."""

from collections.abc import Mapping
from typing import Annotated

from fastapi import Depends, Request
from msgspec import Struct

from legato.api.ai_chats import AiChatTable
from legato.api.call_limiter import CallLimiter
from legato.api.catalog import ModelCatalog
from legato.api.generations import Generations
from legato.broker.person_limits import PersonLimits
from legato.chat.reply import ResolvedAssistant
from legato.chat.service import ChatService
from legato.dialects.authentication import require_chat_scope
from legato.domain.user import User
from legato.engines.base import Engine
from legato.engines.transcription import Transcriber
from legato.errors import BusyError, ForbiddenError, UnauthenticatedError
from legato.fleet.engine import FleetEngine
from legato.gateway.auth import Authenticator
from legato.gateway.callers import CallerAuthenticator
from legato.gateway.database_probe import DatabaseProbe
from legato.gateway.health_cache import HealthCache
from legato.gateway.open_calls import OpenCalls
from legato.gateway.sse_response import OpenSseResponses
from legato.protocol.bearer import bearer_token
from legato.stream import Flusher

ADMIN = "admin"
"""The scope of those who run the server."""


class ServerContext(Struct, frozen=True):
    """The components of one running server.

    `health` is the health of the engines. `fleet` is always there, also if no assistant uses it. `why` is a sentence that
    says why the default engine answers.
    """

    service: ChatService
    database: DatabaseProbe
    engines: Mapping[str, Engine]
    health: HealthCache
    fleet: FleetEngine
    assistants: Mapping[str, ResolvedAssistant]
    authenticator: Authenticator
    flusher: Flusher
    sse_responses: OpenSseResponses
    why: str
    limits: PersonLimits
    catalog: ModelCatalog
    generations: Generations
    callers: CallerAuthenticator
    ai_chats: AiChatTable
    calls: CallLimiter
    open_calls: OpenCalls
    transcriber: Transcriber | None = None
    dialect_assistants: Mapping[str, str] = {}

    @property
    def auth_required(self) -> bool:
        return self.authenticator.anonymous_user is None

    async def issue_ticket(self, user: User) -> tuple[str, float]:
        """Return a single-use ticket, and for how many seconds it is valid."""
        return await self.authenticator.ticket(user), self.authenticator.ticket_seconds


class AuthenticatedRequest(Struct, frozen=True):
    """A request whose user is known and may chat."""

    context: ServerContext
    user: User

    @property
    def service(self) -> ChatService:
        return self.context.service

    @property
    def flusher(self) -> Flusher:
        return self.context.flusher

    @property
    def sse_responses(self) -> OpenSseResponses:
        return self.context.sse_responses


async def server_context(request: Request) -> ServerContext:
    """Return what the routes work with. It is a coroutine function: FastAPI runs others in a thread, which costs a millisecond."""
    context: ServerContext = request.app.state.context
    return context


async def authenticated_user(
    request: Request, context: Annotated[ServerContext, Depends(server_context)]
) -> User:
    """Return the user of a request: by a token in `Authorization: Bearer`, or by a single-use `?ticket=`.

    :raises UnauthenticatedError: there is no token or ticket, or it is not valid.
    :raises OverLimitError: the user sends too many requests.
    """
    authorization = request.headers.get("authorization", "")
    token = bearer_token(authorization)
    ticket = request.query_params.get("ticket")
    if authorization and token is None and context.auth_required:
        raise UnauthenticatedError("Send the token as `Authorization: Bearer …`.")
    user = await context.authenticator(token=token or None, ticket=ticket if not token else None)
    context.limits.request(user.id)
    return user


async def authenticated_request(
    context: Annotated[ServerContext, Depends(server_context)],
    user: Annotated[User, Depends(authenticated_user)],
) -> AuthenticatedRequest:
    """Return the request with its user.

    :raises ForbiddenError: the user may not chat.
    """
    require_chat_scope(user)
    return AuthenticatedRequest(context, user)


async def is_administrator(
    request: Request, context: Annotated[ServerContext, Depends(server_context)]
) -> bool:
    """Return whether the user has the scope `admin`. It refuses no request."""
    try:
        user = await authenticated_user(request, context)
    except (UnauthenticatedError, BusyError):
        return False
    return ADMIN in user.scopes


async def administrator(user: Annotated[User, Depends(authenticated_user)]) -> User:
    """Return the user of a request.

    :raises ForbiddenError: the user does not have the scope `admin`.
    """
    if ADMIN not in user.scopes:
        raise ForbiddenError("This needs a token whose scope says `admin`.")
    return user


async def token_holder(
    request: Request, asking: Annotated[AuthenticatedRequest, Depends(authenticated_request)]
) -> AuthenticatedRequest:
    """Return the request if it was authenticated by a token, or if the server asks for none.

    :raises UnauthenticatedError: a ticket came instead of a token. A ticket must not prolong itself.
    """
    if asking.context.auth_required and not request.headers.get("authorization"):
        raise UnauthenticatedError(
            "A ticket does not get another ticket. Send the token as `Authorization: Bearer …`."
        )
    return asking


Context = Annotated[ServerContext, Depends(server_context)]
Authenticated = Annotated[AuthenticatedRequest, Depends(authenticated_request)]
TokenHolder = Annotated[AuthenticatedRequest, Depends(token_holder)]
IsAdministrator = Annotated[bool, Depends(is_administrator)]
Administrator = Annotated[User, Depends(administrator)]
