"""The web page that is built into the package."""

import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.responses import FileResponse, PlainTextResponse, Response
from starlette.staticfiles import StaticFiles

FOLDER = Path(__file__).parent / "page"

MISSING = "The page was not built into this installation. The API is described at /openapi.json, the socket is at /ws.\n"


HASHED = re.compile(r"-[\w-]{8}\.\w+$")


class Assets(StaticFiles):
    """Static files. A file with a content hash in its name may be cached for ever; others are revalidated every time."""

    def file_response(self, full_path: Any, *args: Any, **kwargs: Any) -> Response:
        response = super().file_response(full_path, *args, **kwargs)
        lasting = HASHED.search(str(full_path)) is not None
        response.headers["cache-control"] = "public, max-age=31536000, immutable" if lasting else "no-cache"
        return response


def mount_page(app: FastAPI, folder: Path = FOLDER) -> None:
    """Serve the page at `/` and at `/c/…` (the address of a conversation), and its files."""
    index = folder / "index.html"

    async def page() -> Response:
        if not index.is_file():
            return PlainTextResponse(MISSING, 404)
        return FileResponse(index, headers={"cache-control": "no-cache"})

    app.add_api_route("/", page, include_in_schema=False)
    app.add_api_route("/c/{conversation:path}", page, include_in_schema=False)
    if (folder / "assets").is_dir():
        app.mount("/assets", Assets(directory=folder / "assets"), name="assets")
    for file in sorted(folder.glob("*.*")) if folder.is_dir() else ():
        if file.name != "index.html" and not file.name.startswith("."):
            app.add_api_route(f"/{file.name}", _file(file), include_in_schema=False)


def _file(path: Path) -> Callable[[], Awaitable[FileResponse]]:
    async def file() -> FileResponse:
        return FileResponse(path)

    return file
