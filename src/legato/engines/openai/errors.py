"""Errors of OpenAI-compatible servers: the bodies of responses that are not 2xx. It does no I/O."""

import msgspec
from msgspec import Struct

from legato.engines import stream_errors
from legato.engines.context_errors import ContextRefusal, context_refusal
from legato.engines.message_format import error_text

_WORDS = 4000


class OpenAIError(Struct, frozen=True):
    """The error in the body of a response that is not 200."""

    message: str
    code: str = ""


def failure(body: bytes) -> OpenAIError | None:
    """Return the error of an OpenAI-compatible server in any of the known formats; None if the body contains none."""
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    if not isinstance(value, dict):
        return None
    error = value.get("error") or (value if value.get("object") == "error" else None)
    if not error:
        return None
    code = (error.get("code") or error.get("type")) if isinstance(error, dict) else None
    return OpenAIError(error_text(error), str(code or ""))


def means_model(failure: OpenAIError) -> bool:
    """Return whether a 404 is about the model, and not about the URL."""
    return failure.code == "model_not_found" or "model" in failure.message.lower()


def explanation(body: bytes) -> str:
    """Return the sentence in the body of a response that is not 2xx, also in the format of another protocol."""
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""
    return stream_errors.words(value) if stream_errors.tells(value) else ""


def context_in(body: bytes, said: str) -> ContextRefusal | None:
    """Return what a refusal says of the model's context; None if it is about something else."""
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        value = None
    error = value.get("error") if isinstance(value, dict) else None
    told = error if isinstance(error, dict) else {}
    words = f"{said} {told.get('code') or ''} {told.get('type') or ''}"
    return context_refusal(words, told.get("n_ctx"), told.get("n_prompt_tokens"))


def field_in(body: bytes) -> str:
    """Return the `param` of an error, the field that it is about; empty if it names none."""
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""
    error = value.get("error") if isinstance(value, dict) else None
    param = error.get("param") if isinstance(error, dict) else None
    return param if isinstance(param, str) else ""


def details(body: bytes) -> str:
    """Return all words of a refusal, the names of the fields that it is about included."""
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return "" if body.lstrip().startswith(b"<") else body[:_WORDS].decode("utf-8", "replace")
    error = value.get("error", value) if isinstance(value, dict) else value
    if isinstance(error, dict):
        # A validator may repeat the whole request.
        error = {
            name: each
            for name, each in error.items()
            if name not in ("type", "code", "object") and each is not None
        }
    return msgspec.json.encode(_without_input(error)).decode()[:_WORDS]


def _without_input(value: object, depth: int = 0) -> object:
    if isinstance(value, dict) and depth < 5:
        return {
            name: _without_input(each, depth + 1)
            for name, each in value.items()
            if name not in ("input", "ctx")
        }
    return (
        [_without_input(each, depth + 1) for each in value[:20]]
        if isinstance(value, list) and depth < 5
        else value
    )
