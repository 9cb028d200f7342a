"""Before each route: the path prefix, the origin of the page and the size of the body. It also adds the headers of every response."""

from collections.abc import Collection, Mapping

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from legato.api.key_cache import LOST
from legato.errors import ForbiddenError, InvalidError, LegatoError, TooLargeError, UnauthenticatedError
from legato.gateway.api_errors import api_of, error_answer
from legato.gateway.json_body import answer
from legato.gateway.open_calls import OpenCall
from legato.gateway.schemas import Problem, ProblemAnswer
from legato.gateway.websocket.origins import TWO_HOSTS, Origins
from legato.gateway.websocket.path_prefix import HEADER, PathPrefix, TrustedProxies

BODY_BYTES = 4 * 1024 * 1024
"""The largest body of a request."""

CALL_BYTES = 32 * 1024 * 1024
"""The largest body of a call that can have pictures: 24 MiB of them, as base64."""

CALL_PATHS = (
    "/ai/chat",
    "/api/chat",
    "/api/generate",
    "/v1/chat/completions",
    "/v1/messages",
    "/v1/messages/count_tokens",
    "/v1/responses",
    "/v1/responses/input_tokens",
)
"""The paths of these calls."""

ANYONE = ((b"access-control-allow-origin", b"*"),)

PREFLIGHT = (
    *ANYONE,
    (b"access-control-allow-methods", b"GET, POST, OPTIONS"),
    (b"access-control-allow-headers", b"authorization, content-type"),
    (b"access-control-max-age", b"600"),
)

SAFE = frozenset({"GET", "HEAD", "OPTIONS"})

CONTENT_POLICY = (
    "default-src 'self'; script-src 'self'; style-src-elem 'self'; style-src-attr 'unsafe-inline'; "
    "img-src 'self' data: blob:; media-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; object-src 'none'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'"
)

HEADERS = (
    (b"content-security-policy", CONTENT_POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
)


ADDED_HEADERS = "legato.added_headers"
"""A list in the scope of a request: headers of the response, whatever it is."""

SERVER_SEND = "legato.server_send"
"""The server's own `send` in the scope of a request, for the bodies of streams: each middleware adds a call to each message, and
looks at the start of a response only."""

OPEN_CALL = "legato.open_call"
"""A list in the scope of a request: its `OpenCall` if it has an API key."""

UNRESOLVED_PROXY = "legato.unresolved_proxy"
"""Set in the scope of a request that came through a proxy, so that the address of its client is that of the proxy."""

_PROXY_HEADERS = frozenset({b"forwarded", b"via", b"x-forwarded-for", b"x-real-ip"})

NOT_STORED = (b"cache-control", b"no-store")
"""Answers under `/api/` are one user's: no cache keeps them, unless the route says for how long one may."""


class BodyTooLargeError(Exception):
    """The body exceeded the limit while it was read."""


class PrefixMiddleware:
    """Sets `root_path` to the prefix below which a proxy publishes this server, and `path` to the prefix and the path of the
    server, as ASGI defines them. It does so whether the proxy has removed the prefix or not.

    It must see the connection's own peer, so it wraps Uvicorn's `ProxyHeadersMiddleware`.
    """

    def __init__(self, app: ASGIApp, prefix: PathPrefix, trusted: TrustedProxies) -> None:
        self._app = app
        self._prefix = prefix
        self._trusted = trusted

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket"):
            scope[SERVER_SEND] = send
            client = scope["client"]
            is_trusted = client is not None and client[0] in self._trusted
            if _is_unresolved(scope, is_trusted):
                scope = {**scope, UNRESOLVED_PROXY: True}
            name = HEADER.encode()
            forwarded = [value.decode("latin-1") for each, value in scope["headers"] if each == name]
            if forwarded or self._prefix.root_path:
                believed = forwarded if is_trusted else ()
                prefix, path = self._prefix.split(scope["path"], believed)
                raw_path = self._prefix.split(scope["raw_path"].decode("ascii"), believed)[1]
                scope = {
                    **scope,
                    "root_path": prefix,
                    "path": prefix + path,
                    "raw_path": f"{prefix}{raw_path}".encode("ascii"),
                }
        await self._app(scope, receive, send)


def _is_unresolved(scope: Scope, is_trusted: bool) -> bool:
    """Return whether the request names a proxy, and Uvicorn does not replace its address with that of the client."""
    found = {name for name, value in scope["headers"] if name in _PROXY_HEADERS and value.strip()}
    return bool(found) and not (is_trusted and b"x-forwarded-for" in found)


def route_path(scope: Scope) -> str:
    """Return the path of a request without the prefix below which the server is published."""
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", ""))


class RequestMiddleware:
    """Pure ASGI, so that it costs nothing for each event of a stream.

    A page of another site may not change anything: browsers send such requests without asking, with `Origin`. The paths in
    `shared_paths` are open to pages of every site. `body_bytes_by_path` are paths with a limit other than `body_bytes`.
    """

    def __init__(
        self,
        app: ASGIApp,
        origins: Origins,
        body_bytes: int = BODY_BYTES,
        shared_paths: Collection[str] = (),
        body_bytes_by_path: Mapping[str, int] | None = None,
    ) -> None:
        self._app = app
        self._shared_paths = shared_paths
        self._origins = origins
        self._body_bytes = body_bytes
        self._body_bytes_by_path = body_bytes_by_path or {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        if sum(name == b"host" for name, _ in scope["headers"]) > 1:
            await _refuse(scope, receive, send, 400, InvalidError(TWO_HOSTS))
            return
        path = route_path(scope)
        is_shared = path in self._shared_paths
        origin = headers.get(b"origin") if scope["method"] not in SAFE and not is_shared else None
        refusal = self._origins.refusal(origin, headers.get(b"host"))
        if refusal is not None:
            await _refuse(scope, receive, send, 403, ForbiddenError(refusal))
            return
        if is_shared and scope["method"] == "OPTIONS":
            await send({"type": "http.response.start", "status": 204, "headers": [*HEADERS, *PREFLIGHT]})
            await send({"type": "http.response.body"})
            return
        length = headers.get(b"content-length", "0")
        limit = self._body_bytes_by_path.get(path, self._body_bytes)
        too_large = TooLargeError(f"A request can have {_size(limit)} at most.")
        if not length.isdecimal() or int(length) > limit:
            await _refuse(scope, receive, send, 413, too_large)
            return
        received = 0
        started = False
        prefix = scope.get("root_path", "").encode()
        private = path.startswith("/api/")
        added: list[tuple[bytes, bytes]] = []
        scope[ADDED_HEADERS] = added
        opened: list[OpenCall] = []
        scope[OPEN_CALL] = opened

        async def receive_counted() -> Message:
            nonlocal received
            message = await (opened[0].receive(receive) if opened else receive())
            received += len(message.get("body", b""))
            if received > limit:
                raise BodyTooLargeError
            return message

        async def send_with_headers(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                open_to = ANYONE if is_shared else ()
                own = [_below(prefix, each) for each in message.get("headers", ())]
                names = {name for name, _ in own}
                every = (*HEADERS, NOT_STORED) if private else HEADERS
                more = [each for each in (*every, *added) if each[0] not in names]
                message["headers"] = [*own, *more, *open_to]
            await send(message)

        try:
            await self._app(scope, receive_counted, send_with_headers)
            # A response that has begun is broken off by the server, so that its client does not take it for a whole one.
            if opened and opened[0].ended and not started:
                api = api_of(path, scope["headers"]) or "openai"
                await error_answer(api, UnauthenticatedError(LOST))(scope, receive, send_with_headers)
        except BodyTooLargeError:
            if not started:
                await _refuse(scope, receive, send, 413, too_large)
        finally:
            for call in opened:
                call.close()


def _below(prefix: bytes, header: tuple[bytes, bytes]) -> tuple[bytes, bytes]:
    """Return a header; a `Location` on this server gets the prefix."""
    name, value = header
    return (name, prefix + value) if name == b"location" and value.startswith(b"/") else header


def _size(count: int) -> str:
    kib = count / 1024
    return f"{kib:.3g} KiB" if kib < 1000 else f"{kib / 1024:.3g} MiB"


async def _refuse(scope: Scope, receive: Receive, send: Send, status: int, error: LegatoError) -> None:
    """Answer with an error, in the shape of the API that the path belongs to."""
    api = api_of(route_path(scope), scope["headers"])
    if api is not None:
        response = error_answer(api, error, status)
    else:
        response = answer(ProblemAnswer(Problem(error.code, error.message)), status)
    response.raw_headers.extend(HEADERS)
    await response(scope, receive, send)
