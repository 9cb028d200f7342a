"""The HTTP side of the server: ordinary FastAPI. Tokens do not pass here, but for those who want them by SSE."""

from collections.abc import Callable

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

from legato import __version__
from legato.chat.attachments import AttachmentLimits
from legato.gateway.dependencies import ServerContext
from legato.gateway.error_handlers import HANDLERS
from legato.gateway.metrics import Metrics
from legato.gateway.middleware import RequestMiddleware
from legato.gateway.openapi import document
from legato.gateway.routes import (
    attachments,
    chat,
    commands,
    conversations,
    fleet,
    metrics,
    participants,
    server,
    streams,
)
from legato.gateway.web_page import mount_page
from legato.gateway.websocket.origins import Origins


def make_app(
    parts: ServerContext,
    origins: Origins,
    sockets: Callable[[], int] = lambda: 0,
    *,
    upload_bytes: int = AttachmentLimits().file_bytes,
) -> FastAPI:
    """The application. Its parts are started and stopped by whoever made them. `sockets` says how many are open,
    `upload_bytes` how large a file may be."""
    app = FastAPI(
        title="Legato",
        version=__version__,
        description="Streaming chat with models you run yourself. The live side is the socket at `/ws`.",
        docs_url=None,
        redoc_url=None,
    )
    app.state.parts = parts
    app.state.metrics = Metrics(parts, sockets)
    for routes in (participants, chat, conversations, attachments, commands, streams, server, metrics, fleet):
        app.include_router(routes.router)
    mount_page(app)
    for kind, handler in HANDLERS.items():
        app.add_exception_handler(kind, handler)
    app.add_middleware(
        RequestMiddleware,
        origins=origins,
        # A server without authentication must not serve a page of another site: it would act for whoever opened that page.
        shared=() if origins.allowed or origins.hosts else fleet.SHARED,
        larger={attachments.PATH: upload_bytes + attachments.ROOM},
    )
    if origins.allowed:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(origins.allowed),
            allow_methods=["*"],
            allow_headers=["*"],
            expose_headers=["location", "retry-after"],
        )
    document(app)
    return app
