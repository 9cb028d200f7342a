"""Errors in Anthropic's shape: a status, and `{"type": "error", "error": {type, message}}`."""

from typing import Any

from legato.errors import ContextExceededError, LegatoError, UnsupportedOptionError

FIELDS = {
    "audio": "messages",
    "format": "output_format",
    "images": "messages",
    "num_predict": "max_tokens",
    "parallel_tools": "tool_choice.disable_parallel_tool_use",
    "stop": "stop_sequences",
    "think": "thinking",
}
"""The field of a request for each field or option of an engine's `Request` that has another name."""

_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    409: "invalid_request_error",
    410: "not_found_error",
    413: "request_too_large",
    415: "invalid_request_error",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}


def error_object(error: LegatoError, status: int = 500) -> dict[str, Any]:
    """Return the body of an error. It has no place for a field, so the sentence names the one that is refused."""
    kind = _TYPES.get(status, "invalid_request_error" if status < 500 else "api_error")
    message = error.message
    if isinstance(error, ContextExceededError):
        # Clients look for these words, and shorten the conversation.
        told = error.limit is not None and error.asked is not None
        message = (
            f"prompt is too long: {f'{error.asked} tokens > {error.limit} maximum' if told else message}"
        )
    elif isinstance(error, UnsupportedOptionError):
        message = f"`{FIELDS.get(error.option, error.option)}`: {message}"
    return {"type": "error", "error": {"type": kind, "message": message}}
