"""The parts of a server that its dialects use."""

from collections.abc import Callable
from datetime import UTC, datetime
from uuid import uuid4

from msgspec import Struct, field

from legato import __version__
from legato.broker.person_limits import PersonLimits, unlimited
from legato.chat.service import ChatService
from legato.dialects.authentication import Authenticate
from legato.domain.user import User
from legato.stream import Flusher


def _now() -> datetime:
    return datetime.now(UTC)


def _new_id() -> str:
    return str(uuid4())


class DialectContext(Struct, frozen=True, kw_only=True):
    """The parts of a server that a dialect uses.

    `assistant` is the one that a new conversation is with, unless the client asks for another one. `anyone` is the user of every socket if auth is off, else None. `max_frame_bytes` is the largest frame that a client may
    send. `now` gives the time of day. `version` is that of the server. `limits` are those of each person.
    """

    service: ChatService
    flusher: Flusher
    authenticate: Authenticate
    anyone: User | None
    assistant: str = "default"
    limits: PersonLimits = field(default_factory=unlimited)
    max_frame_bytes: int = 64 * 1024
    now: Callable[[], datetime] = _now
    new_id: Callable[[], str] = _new_id
    version: str = __version__
