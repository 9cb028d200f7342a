"""From the request that opens a WebSocket to a door, or to a sentence that says why not."""

from collections.abc import Iterable, Sequence
from re import Pattern
from urllib.parse import parse_qsl, unquote

from starlette.routing import compile_path
from websockets.exceptions import InvalidHeader
from websockets.headers import parse_subprotocol

from legato.dialects.base import Endpoint, Handshake
from legato.gateway.websocket.origins import Origins

MAX_QUERY_FIELDS = 64


class RefusedError(Exception):
    """The socket is not opened. `status` is that of HTTP, `message` a sentence for a person."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class EndpointTable:
    """The doors of a server, tried in order.

    Paths are those of FastAPI: `{id}` is one segment, `{rest:path}` all that follows.
    """

    __slots__ = ("_doors",)

    def __init__(self, doors: Sequence[Endpoint]) -> None:
        self._doors: list[tuple[Pattern[str], Endpoint]] = [
            (compile_path(door.path)[0], door) for door in doors
        ]

    def find(self, path: str) -> tuple[Endpoint, dict[str, str]] | None:
        for pattern, door in self._doors:
            if match := pattern.match(path):
                return door, match.groupdict()
        return None


def admit(
    doors: EndpointTable, origins: Origins, target: str, headers: Iterable[tuple[str, str]], client: str
) -> tuple[Endpoint, Handshake]:
    """The door that `target`, the path and query as the client wrote them, leads to.

    :raises RefusedError: no such door, a page of a foreign site, or a request that cannot be understood.
    """
    raw_path, _, raw_query = target.partition("?")
    path = unquote(raw_path)
    named: dict[str, str] = {}
    for name, value in headers:
        name = name.lower()
        if name == "host" and name in named:
            raise RefusedError(400, "This request names two hosts. Send one `Host` header.")
        named[name] = f"{named[name]}, {value}" if name in named else value
    refusal = origins.refusal(named.get("origin"), named.get("host"))
    if refusal is not None:
        raise RefusedError(403, refusal)
    found = doors.find(path)
    if found is None:
        raise RefusedError(
            404, "There is no WebSocket at this path: the native protocol of Legato is spoken at /ws."
        )
    door, params = found
    query: dict[str, str] = {}
    try:
        for name, value in parse_qsl(raw_query, keep_blank_values=True, max_num_fields=MAX_QUERY_FIELDS):
            query.setdefault(name, value)
        offered = named.get("sec-websocket-protocol")
        subprotocols = parse_subprotocol(offered) if offered else []
    except (ValueError, InvalidHeader):
        raise RefusedError(
            400, "The query or the subprotocols of this request cannot be understood."
        ) from None
    spoken = next((str(name) for name in subprotocols if name in door.subprotocols), None)
    return door, Handshake(path, params, query, named, spoken, client)
