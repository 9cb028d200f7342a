"""Errors in OpenAI's shape: a status, and `{"error": {message, type, param, code}}`."""

import re
from typing import Any

from legato.api.openai.responses_request import ResponseNotFoundError
from legato.api.request_fields import InvalidFieldError
from legato.domain.validation import clean_text
from legato.errors import (
    ContextExceededError,
    EngineRefusedError,
    InvalidError,
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


_MISFIT = re.compile(
    r" - at `\$\.([^`]{1,100})`|required field `([^`]{1,100})`|^The request does not fit: (\w{1,100}): "
)
"""How the decoders of bodies and of queries name a field that has the wrong type, or is missing."""

RESPONSES_PARAMS = {
    **PARAMS,
    "audio": "input",
    "format": "text.format",
    "images": "input",
    "num_predict": "max_output_tokens",
    "raw": "input",
    "think": "reasoning.effort",
}
"""The same for requests of Responses."""


def responses_error_object(error: LegatoError, status: int = 500) -> dict[str, Any]:
    """Return the body of an error of Responses, whose fields have names of their own."""
    body = error_object(error, status)
    if isinstance(error, ContextExceededError):
        body["error"]["param"] = "input"
    elif isinstance(error, UnsupportedOptionError):
        body["error"]["param"] = RESPONSES_PARAMS.get(error.option, error.option)
    return body


def response_error(error: LegatoError) -> dict[str, Any]:
    """Return the `error` of a response that failed. Its code is one of OpenAI's if there is one for it."""
    told = responses_error_object(error)["error"]
    refused = isinstance(error, InvalidError | EngineRefusedError | ModelNotFoundError)
    return {"code": told["code"] if refused else "server_error", "message": clean_text(error.message)}


class PromptExceededError(ContextExceededError):
    """The prompt of a text completion is longer than the context. The field of the request is `prompt`."""


def error_object(error: LegatoError, status: int = 500) -> dict[str, Any]:
    """Return the body of an error."""
    code: str | None = error.code
    param = None
    if isinstance(error, ContextExceededError):
        code = "context_length_exceeded"
        param = "prompt" if isinstance(error, PromptExceededError) else "messages"
    elif isinstance(error, OverLimitError):
        code = "rate_limit_exceeded"
    elif isinstance(error, UnauthenticatedError):
        code = "invalid_api_key"
    elif isinstance(error, ModelNotFoundError):
        param = "model"
    elif isinstance(error, UnsupportedOptionError):
        code, param = "unsupported_parameter", PARAMS.get(error.option, error.option)
    elif isinstance(error, ResponseNotFoundError):
        code, param = ("previous_response_not_found" if error.param else code), error.param
    elif isinstance(error, InvalidFieldError):
        code, param = "invalid_value", error.param
    elif isinstance(error, InvalidError) and (match := _MISFIT.search(error.message)):
        code, param = "invalid_type", next(filter(None, match.groups()))
    kind = _TYPES.get(status, "invalid_request_error" if status < 500 else "server_error")
    return {"error": {"message": error.message, "type": kind, "param": param, "code": code}}
