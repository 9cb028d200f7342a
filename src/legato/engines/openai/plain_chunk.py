"""The most frequent chunk of a streamed completion: more text of the answer and nothing else. Pure."""

from typing import Literal

import msgspec
from msgspec import Struct

MISSES = 4
"""After so many chunks in a row that are not plain, a reply is no longer tried: its server writes other ones."""


class _Delta(Struct, forbid_unknown_fields=True):
    content: str
    role: Literal["assistant"] | None = None
    refusal: None = None
    tool_calls: None = None
    function_call: None = None
    reasoning: None = None
    reasoning_content: None = None


class _Choice(Struct, forbid_unknown_fields=True):
    delta: _Delta
    index: Literal[0] = 0
    finish_reason: None = None
    stop_reason: None = None
    logprobs: None = None
    token_ids: None = None
    matched_stop: None = None


class _Chunk(Struct, forbid_unknown_fields=True):
    choices: tuple[_Choice]
    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
    id: str | None = None
    created: int | None = None
    model: str | None = None
    system_fingerprint: str | None = None
    service_tier: str | None = None
    obfuscation: str | None = None
    usage: None = None
    prompt_token_ids: None = None


_decode = msgspec.json.Decoder(_Chunk).decode


class PlainChunkParser:
    """Reads chunks that are plain, several times as fast as the parser of all shapes does. It takes a chunk only if both would find
    the same: a field that it does not know makes the chunk not plain.
    """

    __slots__ = ("_misses", "model")

    def __init__(self) -> None:
        self._misses = 0
        self.model: str | None = None
        """The model that the last plain chunk named."""

    def read(self, data: bytes) -> str | None:
        """Return the text of a plain chunk, which may be empty; None if it is not plain."""
        if self._misses >= MISSES:
            return None
        try:
            chunk = _decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            self._misses += 1
            return None
        self._misses = 0
        self.model = chunk.model
        return chunk.choices[0].delta.content
