"""The door of the agents: who may come in as one, and the socket that becomes a link of the fleet."""

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
    """Keys and the models that each is good for; None: any.

    `needed`: without one nobody comes in. Where people need a token and there are no agent keys, nobody does: whoever is an
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

    def refusal(self, shown: str | None) -> str | None:
        """Why whoever shows this does not come in; None if they do."""
        if not self.needed:
            return None
        if not self._keys:
            return NO_KEYS
        if not shown:
            return NO_KEY
        return None if self._find(shown) is not None else WRONG_KEY

    def models(self, shown: str | None) -> frozenset[str] | None:
        """The models that this key is good for."""
        found = self._find(shown or "")
        return found[1] if found is not None else None

    def owner(self, shown: str | None) -> str:
        """A name for whose key this is, the same whenever it is shown; empty where no key is needed."""
        found = self._find(shown or "")
        return hashlib.sha256(found[0]).hexdigest() if found is not None else ""

    def _find(self, shown: str) -> tuple[bytes, frozenset[str] | None] | None:
        """Every key is looked at, so that the time it takes tells nothing."""
        said = shown.encode("utf-8", "surrogateescape")
        matching = [each for each in self._keys if hmac.compare_digest(each[0], said)]
        return matching[0] if matching else None


class AgentSession:
    """One agent's socket. What it says goes straight to its link."""

    __slots__ = ("_fleet", "_link", "_socket")

    def __init__(self, fleet: FleetEngine, link: AgentConnection, socket: Socket) -> None:
        self._fleet = fleet
        self._link = link
        self._socket = socket

    def received(self, payload: bytes) -> None:
        self._fleet.desk.received(self._link, payload)

    def resumed(self) -> None:
        """Nothing waits: what an agent is told is little, and never joined."""

    def closed(self) -> None:
        if self._socket.at_fault:
            self._fleet.desk.expelled(self._link)
        self._fleet.desk.disconnected(self._link)


class _RefusedAgentSession:
    """A socket that was told why, and is closing."""

    def received(self, payload: bytes) -> None:
        """It is not listened to."""

    def resumed(self) -> None:
        """There is nothing to go on with."""

    def closed(self) -> None:
        """That was what was wanted."""


class AgentEndpoints:
    """Where agents come in: `/ws/agents`, and, on a port of their own, any path."""

    def __init__(self, fleet: FleetEngine, keys: AgentKeys) -> None:
        self._fleet = fleet
        self._keys = keys

    def door(self, path: str = PATH) -> Endpoint:
        return Endpoint(path, self.open, (), MAX_FRAME_BYTES, 0)

    def open(self, handshake: Handshake, socket: Socket) -> AgentSession | _RefusedAgentSession:
        """A socket was accepted. Its key is in `Authorization: Bearer` or `?key=`."""
        token = bearer_token(handshake.headers.get("authorization", ""))
        key = token if token is not None else handshake.query.get("key")
        refusal = self._keys.refusal(key)
        if refusal is not None:
            rejected = AgentConnection(self._fleet.desk, "", socket.send, socket.close)
            rejected.refuse(refusal, FORBIDDEN if refusal is NO_KEYS else UNAUTHENTICATED)
            return _RefusedAgentSession()
        keys = self._keys
        link = self._fleet.desk.connect(socket.send, socket.close, keys.models(key), keys.owner(key))
        return AgentSession(self._fleet, link, socket)
