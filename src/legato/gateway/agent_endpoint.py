"""The endpoint of agents: their keys, and the socket that becomes a connection of the fleet."""

import hashlib
import hmac
from collections.abc import Mapping

from legato.dialects.base import Endpoint, Handshake, Socket
from legato.fleet.agent_connection import FORBIDDEN, UNAUTHENTICATED, AgentConnection
from legato.fleet.engine import FleetEngine
from legato.fleet.protocol import MAX_FRAME_BYTES
from legato.gateway.settings import Settings
from legato.protocol.bearer import bearer_token

PATH = "/ws/agents"
ANY_PATH = "/{path:path}"

WRONG_KEY = "This key is not one of an agent here. Take one of the server's LEGATO_AGENT_KEYS."
NO_KEY = "Agents need a key here: set LEGATO_AGENT_KEY, or give one with --key."
NO_KEYS = "This server takes no agents: it has no keys for them. Set LEGATO_AGENT_KEYS where it is started."


class AgentKeys:
    """The keys of agents, and the models that each key permits; None: all models.

    If `needed`, an agent needs a key. If people need a token and there are no agent keys, no agent is accepted, because an
    agent reads what people write.
    """

    def __init__(self, keys: Mapping[str, frozenset[str] | None], *, needed: bool) -> None:
        self._keys = [(key.encode(), models) for key, models in keys.items()]
        self.needed = needed

    @classmethod
    def from_settings(cls, settings: Settings) -> "AgentKeys":
        keys: dict[str, frozenset[str] | None] = {
            key.get_secret_value(): None for key in settings.fleet.agent_keys
        }
        for each in settings.fleet.keys.values():
            keys[each.key.get_secret_value()] = frozenset(each.models) or None
        return cls(keys, needed=bool(keys) or settings.auth.required)

    def refusal(self, key: str | None) -> str | None:
        """Return why this key is refused; None if it is accepted."""
        if not self.needed:
            return None
        if not self._keys:
            return NO_KEYS
        if not key:
            return NO_KEY
        return None if self._find(key) is not None else WRONG_KEY

    def models(self, key: str | None) -> frozenset[str] | None:
        """Return the models that this key permits; None: all."""
        found = self._find(key or "")
        return found[1] if found is not None else None

    def owner(self, key: str | None) -> str:
        """Return a stable name for the owner of this key; empty if no key is needed."""
        found = self._find(key or "")
        return hashlib.sha256(found[0]).hexdigest() if found is not None else ""

    def _find(self, key: str) -> tuple[bytes, frozenset[str] | None] | None:
        """Compare all keys, so that the duration reveals nothing."""
        encoded = key.encode("utf-8", "surrogateescape")
        matching = [each for each in self._keys if hmac.compare_digest(each[0], encoded)]
        return matching[0] if matching else None


class AgentSession:
    """The socket of one agent. Its frames go directly to the dispatcher."""

    __slots__ = ("_connection", "_fleet", "_socket")

    def __init__(self, fleet: FleetEngine, connection: AgentConnection, socket: Socket) -> None:
        self._fleet = fleet
        self._connection = connection
        self._socket = socket

    def received(self, payload: bytes) -> None:
        self._fleet.dispatcher.received(self._connection, payload)

    def resumed(self) -> None:
        """Do nothing: an agent is sent little, and nothing waits for the socket."""

    def closed(self) -> None:
        if self._socket.at_fault:
            self._fleet.dispatcher.expelled(self._connection)
        self._fleet.dispatcher.disconnected(self._connection)


class _RefusedAgentSession:
    """A socket that was refused and is closing."""

    def received(self, payload: bytes) -> None:
        """Ignore the frame."""

    def resumed(self) -> None:
        """Do nothing: there is nothing to send."""

    def closed(self) -> None:
        """Do nothing: the socket was to be closed."""


class AgentEndpoints:
    """Where agents connect: `/ws/agents`, and any path on a port of their own."""

    def __init__(self, fleet: FleetEngine, keys: AgentKeys) -> None:
        self._fleet = fleet
        self._keys = keys

    def endpoint(self, path: str = PATH) -> Endpoint:
        return Endpoint(path, self.open, (), MAX_FRAME_BYTES, 0)

    def open(self, handshake: Handshake, socket: Socket) -> AgentSession | _RefusedAgentSession:
        """Create the session of an accepted socket. Its key is in `Authorization: Bearer` or `?key=`."""
        token = bearer_token(handshake.headers.get("authorization", ""))
        key = token if token is not None else handshake.query.get("key")
        refusal = self._keys.refusal(key)
        if refusal is not None:
            rejected = AgentConnection(self._fleet.dispatcher, "", socket.send, socket.close)
            rejected.refuse(refusal, FORBIDDEN if refusal is NO_KEYS else UNAUTHENTICATED)
            return _RefusedAgentSession()
        keys = self._keys
        connection = self._fleet.dispatcher.connect(
            socket.send, socket.close, keys.models(key), keys.owner(key)
        )
        return AgentSession(self._fleet, connection, socket)
