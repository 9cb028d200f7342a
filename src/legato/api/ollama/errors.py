"""Errors in Ollama's shape: a status, and `{"error": "…"}`."""

from typing import Any

from legato.errors import LegatoError, UnsupportedOptionError

FIELDS = {"parallel_tools": "tools"}
"""The field of a request for each field of an engine's `Request` that has another name."""


def error_object(error: LegatoError, status: int = 500) -> dict[str, Any]:
    """Return the body of an error. Its only field is a sentence, so the sentence names the field that is refused."""
    message = error.message
    if isinstance(error, UnsupportedOptionError):
        message = f"`{FIELDS.get(error.option, error.option)}`: {message}"
    return {"error": message}
