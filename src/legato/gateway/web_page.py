"""The web page that is built into the package."""

import gzip
import hashlib
import mimetypes
import re
from collections.abc import Awaitable, Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import FileResponse, PlainTextResponse, Response
from starlette.datastructures import Headers
from starlette.staticfiles import NotModifiedResponse, StaticFiles

from legato.gateway.middleware import route_path

FOLDER = Path(__file__).parent / "page"

MISSING = "The page was not built into this installation. The API is described at /openapi.json, the socket is at /ws.\n"


RUNNING = "Ollama is running"
"""What clients of Ollama expect at `/`. Some ask before each call."""

HASHED = re.compile(r"-[\w-]{8}\.\w+$")

ENCODINGS = {"br": ".br", "gzip": ".gz"}
"""The encodings that the build of the page prepares, best first, and the suffixes of their files."""

PREFIX_TAG = '<meta name="legato-prefix" content="" />'
"""The tag in the built page that tells its scripts the prefix below which the server is published."""

RESERVED = ("/ai", "/api", "/v1", "/ws", "/assets", "/health", "/ready", "/metrics", "/openapi.json")
"""Paths below which an unknown one is never a page."""


def file_response(path: Path, headers: Headers, cache_control: str, status: int = 200) -> Response:
    """Return a file, in the best encoding that the client accepts and that was prepared."""
    accepted = accepted_encodings(headers.get("accept-encoding", ""))
    found = ((name, Path(f"{path}{suffix}")) for name, suffix in ENCODINGS.items() if name in accepted)
    encoding, body = next(((name, file) for name, file in found if file.is_file()), ("", path))
    media_type = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    response = FileResponse(
        body,
        status,
        {"cache-control": cache_control, "vary": "accept-encoding"},
        media_type,
        stat_result=body.stat(),
    )
    if encoding:
        response.headers["content-encoding"] = encoding
    return response


def accepted_encodings(header: str) -> set[str]:
    """Return the names in an `Accept-Encoding` header that are not refused with `q=0`."""
    accepted = set()
    for each in header.lower().split(","):
        name, *parameters = (part.strip() for part in each.split(";"))
        if not any(re.fullmatch(r"q\s*=\s*0(\.0*)?", parameter) for parameter in parameters):
            accepted.add(name)
    return accepted


class Assets(StaticFiles):
    """Static files. A file with a content hash in its name may be cached for ever; others are revalidated every time."""

    def file_response(self, full_path: Any, stat_result: Any, scope: Any, status_code: int = 200) -> Response:
        lasting = HASHED.search(str(full_path)) is not None
        cache_control = "public, max-age=31536000, immutable" if lasting else "no-cache"
        headers = Headers(scope=scope)
        response = file_response(Path(full_path), headers, cache_control, status_code)
        if self.is_not_modified(response.headers, headers):
            return NotModifiedResponse(response.headers)
        return response


def mount_page(app: FastAPI, folder: Path = FOLDER) -> None:
    """Serve the page at `/` and at `/c/…` (the address of a conversation), and its files. A client that does not ask for HTML gets
    Ollama's answer at `/`.
    """

    async def page(request: Request) -> Response:
        if route_path(request.scope) == "/" and not wants_page(request):
            return PlainTextResponse(RUNNING, headers={"cache-control": "no-store", "vary": "accept"})
        return index(request, folder) or PlainTextResponse(MISSING, 404)

    for path in ("/", "/c/{conversation:path}"):
        app.add_api_route(path, page, methods=["GET", "HEAD"], include_in_schema=False)
    if (folder / "assets").is_dir():
        app.mount("/assets", Assets(directory=folder / "assets"), name="assets")
    for file in sorted(folder.glob("*.*")) if folder.is_dir() else ():
        if (
            file.name != "index.html"
            and file.suffix not in ENCODINGS.values()
            and not file.name.startswith(".")
        ):
            app.add_api_route(f"/{file.name}", _file(file), methods=["GET", "HEAD"], include_in_schema=False)


def index(request: Request, folder: Path = FOLDER, status: int = 200) -> Response | None:
    """Return the page, or None if it was not built."""
    file = folder / "index.html"
    if not file.is_file():
        return None
    prefix = request.scope.get("root_path", "")
    if not prefix:
        return file_response(file, request.headers, "no-cache", status)
    plain, compressed = _index_below(file, file.stat().st_mtime_ns, prefix)
    accepts_gzip = "gzip" in accepted_encodings(request.headers.get("accept-encoding", ""))
    body = compressed if accepts_gzip else plain
    headers = {
        "cache-control": "no-cache",
        "vary": "accept-encoding",
        "etag": f'"{hashlib.sha256(body).hexdigest()[:32]}"',
    }
    if accepts_gzip:
        headers["content-encoding"] = "gzip"
    return Response(body, status, headers, "text/html")


@lru_cache(maxsize=16)
def _index_below(file: Path, _changed: int, prefix: str) -> tuple[bytes, bytes]:
    """Return the page for a server that is published below `prefix`: its bytes, and the same compressed."""
    text = file.read_text(encoding="utf-8")
    text = text.replace('"/assets/', f'"{prefix}/assets/').replace(
        PREFIX_TAG, PREFIX_TAG.replace('""', f'"{prefix}"')
    )
    plain = text.encode()
    return plain, gzip.compress(plain, mtime=0)


def page_for_unknown_path(request: Request) -> Response | None:
    """Return the page, with status 404, if a browser asks for a page that does not exist. The page says so."""
    path = route_path(request.scope)
    below = any(path == each or path.startswith(f"{each}/") for each in RESERVED)
    return index(request, status=404) if wants_page(request) and not below else None


def wants_page(request: Request) -> bool:
    """Return whether this is a browser that opens a page."""
    return request.method in ("GET", "HEAD") and "text/html" in request.headers.get("accept", "")


def _file(path: Path) -> Callable[[Request], Awaitable[Response]]:
    async def file(request: Request) -> Response:
        return file_response(path, request.headers, "no-cache")

    return file
