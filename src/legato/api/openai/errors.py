"""Errors in OpenAI's shape: a status, and `{"error": {message, type, param, code}}`."""

from typing import Any

from legato.api.openai.chat_request import InvalidFieldError
from legato.errors import (
    ContextExceededError,
    LegatoError,
    ModelNotFoundError,
    OverLimitError,
    UnauthenticatedError,
    UnsupportedOptionError,
)

PARAMS = {
    "format": "response_format",
    "tool_choice": "tool_choice",
    "parallel_tools": "parallel_tool_calls",
    "logprobs": "logprobs",
    "raw": "prompt",
    "suffix": "suffix",
    "tools": "tools",
    "think": "reasoning_effort",
    "images": "messages",
    "audio": "messages",
    "num_predict": "max_tokens",
}
"""The field of a request for each field of an engine's `Request`."""

_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}


def error_object(error: LegatoError, status: int = 500) -> dict[str, Any]:
    """Return the body of an error."""
    code: str | None = error.code
    param = None
    if isinstance(error, ContextExceededError):
        code, param = "context_length_exceeded", "messages"
    elif isinstance(error, OverLimitError):
        code = "rate_limit_exceeded"
    elif isinstance(error, UnauthenticatedError):
        code = "invalid_api_key"
    elif isinstance(error, ModelNotFoundError):
        param = "model"
    elif isinstance(error, UnsupportedOptionError):
        code, param = "unsupported_parameter", PARAMS.get(error.option, error.option)
    elif isinstance(error, InvalidFieldError):
        code, param = "invalid_value", error.param
    kind = _TYPES.get(status, "invalid_request_error" if status < 500 else "server_error")
    return {"error": {"message": error.message, "type": kind, "param": param, "code": code}}
