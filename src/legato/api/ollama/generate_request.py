"""The body of `POST /api/generate` as a request of an engine, without I/O. The format is that of Ollama's `docs/api.md`, November 2026."""

from typing import Any

from msgspec import Struct

from legato.api.ollama.chat_request import OllamaRequest
from legato.api.ollama.context import History, decode_context
from legato.api.ollama.fields import (
    format_of,
    keep_alive_of,
    logprobs_of,
    model_of,
    options_of,
    pictures_of,
    think_of,
)
from legato.api.request_fields import InvalidFieldError
from legato.domain.message import TextPart
from legato.engines.base import Request, Turn


class OllamaGenerateBody(Struct, frozen=True):
    """The fields that are read. `name` stands for `model`. A prompt is never cut, so `truncate` and `shift` have no effect."""

    model: str | None = None
    name: str | None = None
    prompt: str | None = None
    suffix: str | None = None
    system: str | None = None
    template: str | None = None
    context: list[int] | None = None
    raw: bool | None = None
    images: list[str] | None = None
    format: str | dict[str, Any] | None = None
    stream: bool | None = None
    think: bool | str | None = None
    options: dict[str, Any] | None = None
    keep_alive: str | float | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    truncate: bool | None = None
    shift: bool | None = None


def parse_generate_request(body: OllamaGenerateBody) -> OllamaRequest:
    """Return what the body asks for.

    :raises InvalidFieldError: a field is wrong, or asks for what no engine here does.
    """
    model = model_of(body)
    raw = bool(body.raw)
    if body.template:
        raise InvalidFieldError(
            "`template` is not supported here: a model has its own. Use `raw` to send a whole prompt.",
            "template",
        )
    for name in ("system", "context"):
        if raw and getattr(body, name):
            raise InvalidFieldError(f"`{name}` and `raw` exclude each other.", name)
    prompt = body.prompt or ""
    history: History = decode_context(body.context) if body.context else []
    if body.system:
        history = [("system", body.system), *(each for each in history if each[0] != "system")]
    request = Request(
        model="",
        turns=(
            *(Turn(role, (TextPart(text),)) for role, text in history),
            Turn("user", (TextPart(prompt), *pictures_of(body.images, "images"))),
        ),
        options=options_of(body.options),
        think=think_of(body.think),
        keep_alive=keep_alive_of(body.keep_alive),
        format=format_of(body.format),
        logprobs=logprobs_of(body.logprobs, body.top_logprobs),
        raw=raw,
        suffix=body.suffix or "",
    )
    remembers = not raw and not body.suffix
    return OllamaRequest(
        model,
        request,
        body.stream is not False,
        loads=not prompt and not body.images,
        history=[*history, ("user", prompt)] if remembers else None,
    )
