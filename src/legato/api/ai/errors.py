"""Errors for the Vercel AI SDK, which shows the body of an answer that is not 200 as it is: a status and a sentence."""

from legato.errors import LegatoError, UnsupportedOptionError

FIELDS = {
    "audio": "messages",
    "images": "messages",
    "num_predict": "maxOutputTokens",
    "parallel_tools": "toolChoice",
    "stop": "stopSequences",
    "think": "reasoning",
    "tool_choice": "toolChoice",
}
"""The field of a request for each field or option of an engine's `Request` that has another name."""


class ChatStoppedError(LegatoError):
    """A person stopped the reply, or sent another message to the chat."""

    code = "stopped"


def error_text(error: LegatoError) -> str:
    """Return what a person is told. It names the field that is refused."""
    if isinstance(error, UnsupportedOptionError):
        return f"`{FIELDS.get(error.option, error.option)}`: {error.message}"
    return error.message
