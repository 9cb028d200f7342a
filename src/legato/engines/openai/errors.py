"""Errors of OpenAI-compatible servers: the bodies of answers that are not 2xx. Pure."""

import msgspec
from msgspec import Struct

from legato.engines import stream_errors
from legato.engines.message_format import error_text


class OpenAIError(Struct, frozen=True):
    """What the body of an answer that is not 200 says."""

    message: str
    code: str = ""


def failure(body: bytes) -> OpenAIError | None:
    """The error of an OpenAI-compatible server, in the shapes they have; None where the body is none."""
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
    """Whether a 404 is about the model, not about the address."""
    return failure.code == "model_not_found" or "model" in failure.message.lower()


def explanation(body: bytes) -> str:
    """Return the sentence in the body of an answer that is not 2xx, also where it has the shape of another protocol."""
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""
    return stream_errors.words(value) if stream_errors.tells(value) else ""
