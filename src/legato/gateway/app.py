"""The HTTP side of the server: FastAPI. Tokens of replies pass through it only over SSE."""

from collections.abc import Callable

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

from legato import __version__
from legato.chat.attachments import AttachmentLimits
from legato.gateway.dependencies import ServerContext
from legato.gateway.error_handlers import HANDLERS
from legato.gateway.metrics import Metrics
from legato.gateway.middleware import CALL_BYTES, CALL_PATHS, RequestMiddleware
from legato.gateway.openapi import use_openapi_types
from legato.gateway.rate_limit_headers import RATE_LIMIT_HEADERS
from legato.gateway.routes import (
    ai,
    anthropic,
    api_streams,
    attachments,
    audio,
    chat,
    commands,
    conversations,
    fleet,
    metrics,
    ollama,
    openai,
    participants,
    responses,
    server,
    streams,
    usage,
)
from legato.gateway.web_page import mount_page
from legato.gateway.websocket.origins import Origins

EXPOSED = [
    "etag", "legato-stream", "location", "retry-after", "stream-closed", "stream-cursor", "stream-next-offset",
    "stream-sse-data-encoding", "stream-up-to-date",
]  # fmt: skip
"""Headers that pages of allowed origins can read."""


def make_app(
    context: ServerContext,
    origins: Origins,
    sockets: Callable[[], int] = lambda: 0,
    *,
    upload_bytes: int = AttachmentLimits().file_bytes,
) -> FastAPI:
    """Return the application. The caller starts and stops the components of `context`.

    `sockets` returns the number of open sockets; `upload_bytes` is the largest file.
    """
    app = FastAPI(
        title="Legato",
        version=__version__,
        description="Streaming chat with models you run yourself. The live side is the socket at `/ws`.",
        docs_url=None,
        redoc_url=None,
    )
    app.state.context = context
    app.state.metrics = Metrics(context, sockets)
    for routes in (
        # The first routes are found first, and calls of this API are the most frequent requests.
        openai,
        participants,
        chat,
        conversations,
        attachments,
        commands,
        streams,
        server,
        metrics,
        fleet,
        ai,
        anthropic,
        api_streams,
        audio,
        ollama,
        responses,
        usage,
    ):
        app.include_router(routes.router)
    mount_page(app)
    for kind, handler in HANDLERS.items():
        app.add_exception_handler(kind, handler)
    app.add_middleware(
        RequestMiddleware,
        origins=origins,
        # A server without authentication must not serve a page of another site: it would act for whoever opened that page.
        shared_paths=() if origins.allowed or origins.hosts else fleet.SHARED,
        body_bytes_by_path={
            **dict.fromkeys(CALL_PATHS, CALL_BYTES),
            **dict.fromkeys((attachments.PATH, audio.PATH), upload_bytes + attachments.FORM_BYTES),
        },
    )
    if origins.allowed:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(origins.allowed),
            allow_methods=["*"],
            allow_headers=["*"],
            expose_headers=[*EXPOSED, *RATE_LIMIT_HEADERS],
        )
    use_openapi_types(app)
    return app
