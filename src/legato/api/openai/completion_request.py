"""The body of `POST /v1/completions` as a request of an engine, without I/O. The format is that of OpenAI's reference, November 2026."""

from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from legato.api.call import MAX_CHOICES
from legato.api.openai.chat_request import StreamOptions
from legato.api.request_fields import InvalidFieldError, options_of
from legato.domain.message import TextPart
from legato.engines.base import Request, Turn

MAX_TEXTS = 64
"""The largest number of texts that one response has: prompts, each as often as `n` says."""

MAX_LOGPROBS = 20


class TextCompletionBody(Struct, frozen=True):
    """The fields that are read. `user` is accepted and has no effect."""

    model: str
    prompt: str | list[Any] | None = None
    suffix: str | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: int | None = None
    best_of: int | None = None
    echo: bool | None = None
    stop: str | list[str] | None = None
    seed: int | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    repeat_penalty: float | None = None
    repetition_penalty: float | None = None
    logit_bias: dict[str, float] | None = None
    logprobs: int | None = None
    user: str | None = None


class TextCompletionRequest(Struct, frozen=True):
    """What a body asks for: `n` answers to each of `prompts`. `include_usage`: the stream ends with the usage. `echo`: each text begins
    with its prompt.
    """

    model: str
    request: Request
    prompts: tuple[str, ...]
    stream: bool
    include_usage: bool
    n: int
    echo: bool


def parse_completion_request(body: TextCompletionBody) -> TextCompletionRequest:
    """Return what the body asks for. Its model is the name that the client used.

    :raises InvalidFieldError: a field is wrong, or asks for what no engine here does.
    """
    prompts = _prompts(body.prompt)
    n = 1 if body.n is None else body.n
    if not 1 <= n <= MAX_CHOICES:
        raise InvalidFieldError(f"`n` is between 1 and {MAX_CHOICES}.", "n")
    if n * len(prompts) > MAX_TEXTS:
        raise InvalidFieldError(
            f"This asks for {n * len(prompts)} texts at once. Ask for {MAX_TEXTS} at most.", "prompt"
        )
    if body.best_of is not None and body.best_of != n:
        raise InvalidFieldError("`best_of` is not supported here. Leave it out, or use `n`.", "best_of")
    if body.logprobs is not None and not 0 <= body.logprobs <= MAX_LOGPROBS:
        raise InvalidFieldError(f"`logprobs` is between 0 and {MAX_LOGPROBS}.", "logprobs")
    if body.echo and body.logprobs is not None:
        raise InvalidFieldError("`echo` with `logprobs` is not supported: a prompt has none here.", "echo")
    if body.echo and body.suffix:
        raise InvalidFieldError("`echo` and `suffix` exclude each other.", "echo")
    request = Request(
        model="",
        turns=(),
        options=options_of(body),
        logprobs=body.logprobs,
        raw=not body.suffix,
        suffix=body.suffix or "",
    )
    return TextCompletionRequest(
        body.model,
        with_prompt(request, prompts[0]),
        prompts,
        bool(body.stream),
        bool(body.stream_options is not None and body.stream_options.include_usage),
        n,
        bool(body.echo),
    )


def with_prompt(request: Request, prompt: str) -> Request:
    """Return the request for another prompt."""
    return replace(request, turns=(Turn("user", (TextPart(prompt),)),))


def _prompts(prompt: str | list[Any] | None) -> tuple[str, ...]:
    if isinstance(prompt, str):
        return (prompt,)
    if prompt and all(isinstance(each, str) for each in prompt):
        return tuple(prompt)
    if prompt and all(isinstance(each, int | list) for each in prompt):
        raise InvalidFieldError(
            "`prompt` is a list of tokens, which no engine here takes. Send it as text.", "prompt"
        )
    raise InvalidFieldError("`prompt` is a text, or a list of texts.", "prompt")
