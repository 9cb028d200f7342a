"""From the request that opens a WebSocket to an endpoint, or to a sentence that says why it is refused."""

from collections.abc import Iterable, Sequence
from re import Pattern
from urllib.parse import parse_qsl, unquote

from starlette.routing import compile_path
from websockets.exceptions import InvalidHeader
from websockets.headers import parse_subprotocol

from legato.dialects.base import Endpoint, Handshake
from legato.gateway.websocket.origins import TWO_HOSTS, Origins

MAX_QUERY_FIELDS = 64


class RefusedError(Exception):
    """The socket is not opened. `status` is an HTTP status, `message` a sentence for people."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class EndpointTable:
    """The endpoints of a server, matched in order.

    Paths are written as in FastAPI: `{id}` is one segment, `{rest:path}` everything that follows.
    """

    __slots__ = ("_endpoints",)

    def __init__(self, endpoints: Sequence[Endpoint]) -> None:
        self._endpoints: list[tuple[Pattern[str], Endpoint]] = [
            (compile_path(endpoint.path)[0], endpoint) for endpoint in endpoints
        ]

    def find(self, path: str) -> tuple[Endpoint, dict[str, str]] | None:
        for pattern, endpoint in self._endpoints:
            if match := pattern.match(path):
                return endpoint, match.groupdict()
        return None


def admit(
    endpoints: EndpointTable, origins: Origins, target: str, headers: Iterable[tuple[str, str]], client: str
) -> tuple[Endpoint, Handshake]:
    """Return the endpoint for `target`, the path and query as the client sent them.

    :raises RefusedError: there is no such endpoint, a page of another site asks, or the request is malformed.
    """
    raw_path, _, raw_query = target.partition("?")
    path = unquote(raw_path)
    by_name: dict[str, str] = {}
    for name, value in headers:
        name = name.lower()
        if name == "host" and name in by_name:
            raise RefusedError(400, TWO_HOSTS)
        by_name[name] = f"{by_name[name]}, {value}" if name in by_name else value
    refusal = origins.refusal(by_name.get("origin"), by_name.get("host"))
    if refusal is not None:
        raise RefusedError(403, refusal)
    found = endpoints.find(path)
    if found is None:
        raise RefusedError(
            404, "There is no WebSocket at this path: the native protocol of Legato is spoken at /ws."
        )
    endpoint, params = found
    query: dict[str, str] = {}
    try:
        for name, value in parse_qsl(raw_query, keep_blank_values=True, max_num_fields=MAX_QUERY_FIELDS):
            query.setdefault(name, value)
        offered = by_name.get("sec-websocket-protocol")
        subprotocols = parse_subprotocol(offered) if offered else []
    except (ValueError, InvalidHeader):
        raise RefusedError(
            400, "The query or the subprotocols of this request cannot be understood."
        ) from None
    subprotocol = next((str(name) for name in subprotocols if name in endpoint.subprotocols), None)
    return endpoint, Handshake(path, params, query, by_name, subprotocol, client)
