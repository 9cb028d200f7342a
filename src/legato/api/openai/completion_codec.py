"""The response of `POST /v1/completions`, streamed and whole, without I/O. The format is that of OpenAI's reference, November 2026."""

from collections.abc import Sequence
from typing import Any

import msgspec

from legato.api.codec import Ending
from legato.api.openai.chat_codec import DONE, EVENT_STREAM, usage_object
from legato.api.openai.errors import error_object
from legato.api.whole_codec import CollectedChoice, WholeCodec
from legato.engines.base import TokenLogprob, ToolCall
from legato.errors import LegatoError

_encode = msgspec.json.Encoder().encode


class TextChunkCodec:
    """The streamed form: `text_completion` events, then `[DONE]`. `n` choices answer each prompt. `echo` are the prompts with which the
    texts begin; empty: they begin with the answer.
    """

    media_type = EVENT_STREAM
    streams = True
    numbered = True

    def __init__(
        self,
        stream_id: str,
        created: float,
        model: str,
        *,
        choices: int = 1,
        n: int = 1,
        echo: Sequence[str] = (),
        include_usage: bool = False,
    ) -> None:
        self._base = base_fields(stream_id, created, model)
        self._n = n
        self._echo = echo
        self._include_usage = include_usage
        self._tokens = [_ChoiceLogprobs() for _ in range(choices)]
        self._endings: dict[int, Ending] = {}

    def restore(self, frames: Sequence[bytes]) -> None:
        """Do nothing: only an error can follow, and it is the same in each response."""

    def document(self) -> object:
        return None

    def begin(self) -> Sequence[bytes]:
        return [
            self._chunk(choice, self._echo[choice // self._n])
            for choice in range(len(self._tokens))
            if self._echo
        ]

    def text(self, choice: int, text: str) -> Sequence[bytes]:
        return (self._chunk(choice, text),)

    def reasoning(self, choice: int, text: str) -> Sequence[bytes]:
        """Return nothing: a text has no reasoning beside it."""
        return ()

    def logprobs(self, choice: int, tokens: Sequence[TokenLogprob]) -> None:
        self._tokens[choice].add(tokens)

    def tool_call(self, choice: int, call: ToolCall) -> Sequence[bytes]:
        """Return nothing: no tools are offered."""
        return ()

    def waiting(self) -> Sequence[bytes]:
        """Return nothing: a comment is sent on the connection."""
        return ()

    def end(self, choice: int, ending: Ending) -> Sequence[bytes]:
        self._endings[choice] = ending
        return (self._chunk(choice, "", _reason(ending)),)

    def finish(self) -> Sequence[bytes]:
        if not self._include_usage:
            return (DONE,)
        usage = {**self._base, "choices": [], "usage": usage_of(self._endings, self._n)}
        return (b"data: " + _encode(usage) + b"\n\n", DONE)

    def fail(self, error: LegatoError) -> Sequence[bytes]:
        """Return an event that the SDKs raise. No `[DONE]` follows: the response is not complete."""
        return (b"data: " + _encode(error_object(error)) + b"\n\n",)

    def _chunk(self, choice: int, text: str, finish_reason: str | None = None) -> bytes:
        one = choice_object(choice, text, self._tokens[choice].take(), finish_reason)
        chunk: dict[str, Any] = {**self._base, "choices": [one]}
        if self._include_usage:
            chunk["usage"] = None
        return b"data: " + _encode(chunk) + b"\n\n"


def text_completion_codec(
    stream_id: str, created: float, model: str, *, choices: int = 1, n: int = 1, echo: Sequence[str] = ()
) -> WholeCodec:
    """Return the codec of the whole form: one `text_completion`. The keywords are those of `TextChunkCodec`."""

    def render(collected: Sequence[CollectedChoice]) -> bytes:
        told = []
        for index, choice in enumerate(collected):
            tokens = _ChoiceLogprobs()
            tokens.add(choice.tokens)
            text = (echo[index // n] if echo else "") + choice.text
            told.append(choice_object(index, text, tokens.take(), _reason(choice.ending)))
        usage = usage_of(dict(enumerate(choice.ending for choice in collected)), n)
        return _encode({**base_fields(stream_id, created, model), "choices": told, "usage": usage})

    return WholeCodec(render, choices=choices)


class _ChoiceLogprobs:
    """The tokens of a choice that were not told yet. `_offset` is the length of the text before them."""

    def __init__(self) -> None:
        self._tokens: list[TokenLogprob] = []
        self._offset = 0

    def add(self, tokens: Sequence[TokenLogprob]) -> None:
        self._tokens += tokens

    def take(self) -> dict[str, Any] | None:
        """Return the tokens in columns, None if there are none."""
        tokens, self._tokens = self._tokens, []
        if not tokens:
            return None
        offsets: list[int] = []
        for token in tokens:
            offsets.append(self._offset)
            self._offset += len(token.token)
        return {
            "tokens": [token.token for token in tokens],
            "token_logprobs": [token.logprob for token in tokens],
            "top_logprobs": [{each.token: each.logprob for each in token.top} for token in tokens],
            "text_offset": offsets,
        }


def base_fields(stream_id: str, created: float, model: str) -> dict[str, Any]:
    """Return the fields with which each object begins. `created` is in seconds since the epoch."""
    return {
        "id": f"cmpl-{stream_id}",
        "object": "text_completion",
        "created": int(created),
        "model": model,
        "system_fingerprint": None,
    }


def choice_object(
    choice: int, text: str, logprobs: dict[str, Any] | None, finish_reason: str | None
) -> dict[str, Any]:
    """Return one choice."""
    return {"index": choice, "text": text, "logprobs": logprobs, "finish_reason": finish_reason}


def usage_of(endings: dict[int, Ending], n: int) -> dict[str, Any]:
    """Return the usage of all choices. Each prompt counts once, for its `n` answers."""
    prompts: dict[int, list[Ending]] = {}
    for choice, ending in sorted(endings.items()):
        prompts.setdefault(choice // n, []).append(ending)
    usages = [usage_object(answers) for answers in prompts.values()]
    total = {
        name: sum(usage[name] for usage in usages)
        for name in ("prompt_tokens", "completion_tokens", "total_tokens")
    }
    return total | ({"legato_counted": True} if any("legato_counted" in usage for usage in usages) else {})


def _reason(ending: Ending) -> str:
    return "length" if ending.outcome.reason == "length" else "stop"
