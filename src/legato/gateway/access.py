"""What a route is given: the server it belongs to, and who asks it."""

from collections.abc import Mapping
from typing import Annotated

from fastapi import Depends, Request
from msgspec import Struct

from legato.chat.person import Person
from legato.chat.reply import Speaker
from legato.chat.service import ChatService
from legato.engines.base import Engine
from legato.errors import BusyError, ForbiddenError, UnauthenticatedError
from legato.fleet.engine import FleetEngine
from legato.gateway.auth import Authenticator
from legato.gateway.events import OpenEvents
from legato.gateway.probe import Probe
from legato.gateway.pulse import Pulse
from legato.gateway.settings import DialectsSettings
from legato.stream import Flusher

ADMIN = "admin"
"""The scope of those who run the server."""


class Parts(Struct, frozen=True):
    """The parts of one running server. `fleet` is there whether an assistant speaks through it or not. `why` is a sentence that says why the default engine is what it is."""

    service: ChatService
    database: Probe
    engines: Mapping[str, Engine]
    pulse: Pulse
    fleet: FleetEngine
    speakers: Mapping[str, Speaker]
    authenticator: Authenticator
    flusher: Flusher
    events: OpenEvents
    why: str
    dialects: DialectsSettings = DialectsSettings()

    @property
    def auth_required(self) -> bool:
        return self.authenticator.open_to_all is None

    def issue_ticket(self, person: Person) -> tuple[str, float]:
        """A single-use ticket and for how many seconds it is good."""
        return self.authenticator.ticket(person), self.authenticator.ticket_seconds


class Asking(Struct, frozen=True):
    """A request whose sender is known and may chat."""

    here: Parts
    person: Person

    @property
    def service(self) -> ChatService:
        return self.here.service

    @property
    def flusher(self) -> Flusher:
        return self.here.flusher

    @property
    def events(self) -> OpenEvents:
        return self.here.events


def here(request: Request) -> Parts:
    parts: Parts = request.app.state.parts
    return parts


async def known(request: Request, parts: Annotated[Parts, Depends(here)]) -> Person:
    """Who asks: a token in `Authorization: Bearer`, or a single-use `?ticket=`.

    :raises UnauthenticatedError: nobody, or somebody who cannot show it.
    """
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    ticket = request.query_params.get("ticket")
    if scheme and scheme.lower() != "bearer" and parts.auth_required:
        raise UnauthenticatedError("Send the token as `Authorization: Bearer …`.")
    return await parts.authenticator(token=token.strip() or None, ticket=ticket if not token else None)


async def asker(parts: Annotated[Parts, Depends(here)], person: Annotated[Person, Depends(known)]) -> Asking:
    """:raises ForbiddenError: somebody who may not chat."""
    if "chat" not in person.scopes:
        raise ForbiddenError("This token does not allow its owner to chat.")
    return Asking(parts, person)


async def administers(request: Request, parts: Annotated[Parts, Depends(here)]) -> bool:
    """Whether who asks may look behind the scenes. Nobody is refused."""
    try:
        person = await known(request, parts)
    except (UnauthenticatedError, BusyError):
        return False
    return ADMIN in person.scopes


async def administrator(person: Annotated[Person, Depends(known)]) -> Person:
    """:raises ForbiddenError: somebody who may not look behind the scenes."""
    if ADMIN not in person.scopes:
        raise ForbiddenError("This needs a token whose scope says `admin`.")
    return person


Here = Annotated[Parts, Depends(here)]
Asker = Annotated[Asking, Depends(asker)]
Administers = Annotated[bool, Depends(administers)]
Administrator = Annotated[Person, Depends(administrator)]
