"""Errors as HTTP responses: one format, a status by the class of the error, and a sentence for people."""

from collections.abc import Awaitable, Callable

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import Match

from legato.domain.public_text import public_error
from legato.errors import (
    BusyError,
    ConflictError,
    DiskFullError,
    EngineTimeoutError,
    EngineUnavailableError,
    ForbiddenError,
    InvalidError,
    LegatoError,
    NotFoundError,
    OverLimitError,
    StorageError,
    StorageTimeoutError,
    TooLargeError,
    UnauthenticatedError,
    UnsupportedError,
)
from legato.gateway.api_errors import api_of, error_answer
from legato.gateway.json_body import answer
from legato.gateway.middleware import route_path
from legato.gateway.schemas import Problem, ProblemAnswer
from legato.gateway.web_page import page_for_unknown_path

STATUSES: dict[type[LegatoError], int] = {
    InvalidError: 400,
    UnauthenticatedError: 401,
    ForbiddenError: 403,
    NotFoundError: 404,
    ConflictError: 409,
    TooLargeError: 413,
    UnsupportedError: 415,
    BusyError: 503,
    OverLimitError: 429,
    StorageError: 503,
    StorageTimeoutError: 503,
    DiskFullError: 507,
    EngineUnavailableError: 503,
    EngineTimeoutError: 504,
}

METHODS = ("DELETE", "GET", "HEAD", "PATCH", "POST", "PUT")


def status_of(error: LegatoError) -> int:
    for kind in type(error).__mro__:
        if kind in STATUSES:
            return STATUSES[kind]
    return 500


def _problem(status: int, code: str, message: str, retry_after: float | None = None) -> Response:
    headers = {"retry-after": str(max(1, round(retry_after)))} if retry_after is not None else {}
    if status == 401:
        headers["www-authenticate"] = "Bearer"
    return answer(ProblemAnswer(Problem(code, message, retry_after)), status, headers)


def _refusal(request: Request, status: int, code: str, message: str) -> Response:
    """Return an error without an exception of its own, in the shape of the API that the path belongs to."""
    api = api_of(route_path(request.scope), request.headers.raw)
    if api is None:
        return _problem(status, code, message)
    kind = InvalidError if status < 500 else LegatoError
    return error_answer(api, kind(message), status)


async def _on_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, LegatoError):
        raise error
    if request.app.state.context.auth_required:
        error = public_error(error)
    if (api := api_of(route_path(request.scope), request.headers.raw)) is not None:
        return error_answer(api, error)
    retry_after = error.retry_after if isinstance(error, BusyError) else None
    return _problem(status_of(error), error.code, error.message, retry_after)


async def _on_invalid(request: Request, error: Exception) -> Response:
    if not isinstance(error, RequestValidationError):
        raise error
    first = error.errors()[0]
    where = " ".join(str(part) for part in first["loc"] if part not in ("query", "path", "body", "header"))
    return _refusal(request, 400, InvalidError.code, f"The request does not fit: {where}: {first['msg']}.")


async def _on_http(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    if error.status_code == 404 and (page := page_for_unknown_path(request)) is not None:
        return page
    code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "invalid")
    message = {404: "There is nothing here.", 405: "That cannot be done here."}.get(
        error.status_code, str(error.detail)
    )
    refusal = _refusal(request, error.status_code, code, message)
    if error.status_code == 405:
        refusal.headers["allow"] = ", ".join(_methods_of(request))
    return refusal


def _methods_of(request: Request) -> list[str]:
    """Return the methods that the path of a request has."""
    routes = request.app.routes
    scopes = ({**request.scope, "method": method} for method in METHODS)
    return [
        scope["method"] for scope in scopes if any(route.matches(scope)[0] is Match.FULL for route in routes)
    ]


async def _on_gone(request: Request, error: Exception) -> Response:
    """Answer a client that left in the middle of its body. It does not read the answer."""
    return _refusal(request, 400, InvalidError.code, "The request was not sent to its end.")


async def _on_bug(request: Request, error: Exception) -> Response:
    return _refusal(
        request, 500, LegatoError.code, "The server failed in a way it should not. Its log says more."
    )


HANDLERS: dict[type[Exception], Callable[[Request, Exception], Awaitable[Response]]] = {
    LegatoError: _on_error,
    RequestValidationError: _on_invalid,
    HTTPException: _on_http,
    ClientDisconnect: _on_gone,
    Exception: _on_bug,
}
