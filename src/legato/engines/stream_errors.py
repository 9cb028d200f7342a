"""Errors that a model server writes into a stream whose status was 200, in the shapes that servers have for them. Pure."""

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from legato.domain.surrogates import join_surrogates
from legato.engines.lenient_json import encode_text, number

LENGTH = 500
"""Characters of an error that a person is shown, at most."""

_WORDS = (
    "message", "msg", "detail", "error_message", "error_msg", "errorMessage", "errmsg", "err_msg", "status_msg",
    "error", "description", "error_description", "reason", "title", "exception", "text", "content", "errors", "err",
    "traceback",
)  # fmt: skip
_ERRORS = ("error", "errors", "err", "exception", "traceback")
_CODES = ("error_code", "err_code", "errcode", "errorCode", "err_no", "errno")
_SENTENCES = ("error_message", "error_msg", "errorMessage", "errmsg", "err_msg")
_STATUSES = ("code", "status_code", "statusCode", "status", "http_code", "error_code")
_FINE = frozenset({"", "ok", "success", "succeeded", "none", "null", "0", "200", "no error"})
_FAILED = frozenset({"error", "failed", "failure", "fail", "errored", "exception"})


class StreamError(Struct, frozen=True):
    """An error: what the server says, and the HTTP status it names, if it names one. `refusal`: the request is at fault."""

    text: str
    status: int | None = None
    refusal: bool = False


def error_in(value: Mapping[str, Any], *, bare: bool) -> StreamError | None:
    """Return the error that this object of a stream tells, or None.

    `bare`: there is nothing of a reply in the object, so that a `detail`, or a `code` beside a `message`, is an error too.
    """
    for name in _ERRORS:
        if tells(found := value.get(name)):
            return _error(value if isinstance(found, bool | int | float) else found, value)
    if any(_is_code(value.get(name)) for name in _CODES):
        return _error(value, value)
    for name in _SENTENCES:
        if tells(value.get(name)):
            return _error(value, value)
    response = value.get("base_resp")
    if isinstance(response, dict) and _is_code(response.get("status_code")):
        return _error(response, response)
    kinds = [
        found for name in ("object", "type", "status", "event") if isinstance(found := value.get(name), str)
    ]
    if any(kind.lower() in _FAILED or kind.lower().endswith(("_error", ".failed")) for kind in kinds):
        return _error(value, value)
    if value.get("success") is False or value.get("ok") is False:
        return _error(value, value)
    if not bare:
        return None
    if tells(value.get("detail")):
        return _error(value["detail"], value)
    has_words = any(tells(value.get(name)) for name in ("message", "msg", "title", "reason", "text"))
    numbers = (number(value.get(name)) for name in _STATUSES)
    if has_words and (_is_code(value.get("code")) or any(code and not 200 <= code < 300 for code in numbers)):
        return _error(value, value)
    return None


def error_of(value: object) -> StreamError:
    """Return what an event says that calls itself an error."""
    if isinstance(value, dict):
        inner = next((found for name in _ERRORS if tells(found := value.get(name))), None)
        return _error(value if inner is None or isinstance(inner, bool) else inner, value)
    return _error(value, {})


def words(value: object, depth: int = 0) -> str:
    """Return the sentence of an error: a string, or what stands in an object under a name such as `message` or `detail`.

    It has no full stop at its end.
    """
    if isinstance(value, str):
        found = value
    elif isinstance(value, list) and value and depth < 4:
        found = "; ".join(filter(None, (words(each, depth + 1) for each in value[:5])))
    elif isinstance(value, dict) and depth < 4:
        texts = (words(each, depth + 1) for name in _WORDS if tells(each := value.get(name)))
        found = next(filter(None, texts), "") or (encode_text(value) if value and not depth else "")
    else:
        found = "" if value is None or isinstance(value, bool) or depth else encode_text(value)
    return join_surrogates(" ".join(found.split()))[:LENGTH].rstrip(". ")


def tells(value: object) -> bool:
    """Return whether a field that may hold an error holds one."""
    if isinstance(value, str):
        return value.strip().lower() not in _FINE
    if isinstance(value, dict):
        code = value.get("code")
        fine = code is not None and not isinstance(code, bool) and not _is_code(code)
        return not fine and any(tells(each) for each in value.values())
    if isinstance(value, list):
        return any(tells(each) for each in value)
    return bool(value)


def _error(value: object, whole: Mapping[str, Any]) -> StreamError:
    status, kind = None, ""
    for each in (value, whole):
        if isinstance(each, Mapping):
            statuses = (number(each.get(name)) for name in _STATUSES)
            status = status or next((int(code) for code in statuses if code and 400 <= code < 600), None)
            kind = kind or " ".join(
                str(each[name]) for name in ("type", "code") if isinstance(each.get(name), str)
            )
    refused = status is not None and status < 500 and status not in (408, 429)
    asked = status is None and (
        "invalid_request" in kind or "context_length" in kind or "content_filter" in kind
    )
    return StreamError(words(value) or words(dict(whole)), status, refused or asked)


def _is_code(value: object) -> bool:
    if isinstance(value, str) and not value.strip().lstrip("-").isdigit():
        return value.strip().lower() not in _FINE
    code = number(value)
    return code is not None and code != 0 and not 200 <= code < 300
