"""Errors of the APIs: each in the shape that the clients of that API read."""

import math
from collections.abc import Callable, Iterable
from typing import Any, get_args

from fastapi import Response

from legato.api.ai.errors import error_text
from legato.api.anthropic.errors import error_object as anthropic_error
from legato.api.call import Api
from legato.api.ollama.errors import error_object as ollama_error
from legato.api.openai.errors import error_object as openai_error
from legato.errors import (
    BusyError,
    ConflictError,
    EngineBrokeError,
    EngineBusyError,
    EngineGaveUpError,
    EngineRefusedError,
    EngineTimeoutError,
    EngineUnavailableError,
    ForbiddenError,
    GoneError,
    InvalidError,
    LegatoError,
    ModelNotFoundError,
    NotFoundError,
    OverLimitError,
    StorageError,
    TooLargeError,
    UnauthenticatedError,
    UnsupportedError,
)
from legato.gateway.json_body import answer

STATUSES: dict[type[LegatoError], int] = {
    InvalidError: 400,
    EngineRefusedError: 400,
    UnauthenticatedError: 401,
    ForbiddenError: 403,
    NotFoundError: 404,
    ModelNotFoundError: 404,
    ConflictError: 409,
    GoneError: 410,
    TooLargeError: 413,
    UnsupportedError: 415,
    EngineBrokeError: 502,
    EngineGaveUpError: 502,
    BusyError: 503,
    OverLimitError: 429,
    EngineBusyError: 503,
    StorageError: 503,
    EngineUnavailableError: 503,
    EngineTimeoutError: 504,
}

SHAPES: dict[Api, Callable[[LegatoError, int], dict[str, Any]]] = {
    "anthropic": anthropic_error,
    "ollama": ollama_error,
    "openai": openai_error,
}
"""The body of an error in each API, by the error and its status. That of `ai` is a text."""

PREFIXES: tuple[tuple[str, Api], ...] = (
    ("/ai/", "ai"),
    ("/api/blobs/", "ollama"),
    ("/v1/messages", "anthropic"),
    ("/v1/", "openai"),
)
"""Which API's shape the errors under a path have, also those that are refused before its route."""

OLLAMA_PATHS = frozenset(
    f"/api/{name}"
    for name in (
        "chat", "copy", "create", "delete", "embed", "embeddings", "generate", "ps", "pull", "push", "show", "tags",
        "version",
    )
)  # fmt: skip
"""Ollama's paths. Others under `/api` are Legato's own."""


def api_of(path: str, headers: Iterable[tuple[bytes, bytes]] = ()) -> Api | None:
    """Return the API of a path, None if it is not one of an API. Models are Anthropic's for clients that send its header."""
    if path.startswith("/v1/models") and any(name == b"anthropic-version" for name, _ in headers):
        return "anthropic"
    if path in OLLAMA_PATHS:
        return "ollama"
    return next((api for prefix, api in PREFIXES if path.startswith(prefix)), None)


def api_named(name: str) -> Api:
    """Return the API of a stored stream."""
    return next(api for api in get_args(Api) if api == name)


def status_of(error: LegatoError) -> int:
    """Return the HTTP status of an error, as the clients of the APIs expect it."""
    for kind in type(error).__mro__:
        if kind in STATUSES:
            return STATUSES[kind]
    return 500


def error_answer(
    api: Api,
    error: LegatoError,
    status: int | None = None,
    *,
    shape: Callable[[LegatoError, int], dict[str, Any]] | None = None,
) -> Response:
    """Return an error in the shape of an API, or in one of its own."""
    status = status or status_of(error)
    headers: dict[str, str] = {}
    if isinstance(error, BusyError | EngineUnavailableError) and error.retry_after is not None:
        headers["retry-after"] = str(max(1, math.ceil(error.retry_after)))
    if status == 401:
        headers["www-authenticate"] = "Bearer"
    if api == "ai":
        return Response(error_text(error), status, headers, "text/plain")
    return answer((shape or SHAPES[api])(error, status), status, headers)
