"""Model files of a few hundred kilobytes that a real llama.cpp loads, created at once and without a download.

`scripted_model` writes exactly one text. Its attention and feed-forward weights are zero, so the state of the model at any
point is the embedding of the last token; the output row of the following token is set to the same vector. Greedy decoding
then writes the text from its first word to its last and ends. This also works after a prefix, if the prefix ends where the
engine itself divided two pieces of text. In the middle of a word it needs `inside`, because such a model remembers only
its last token.

Needs the packages `gguf` and `numpy`, which Legato itself does not.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from legato.testing.chat_template import CHAT_TEMPLATE, CONTROL, MARKUP

_SPACE = "\u2581"


class Shape(NamedTuple):
    """The size of a model. `quantized`: its layers have eight bits a weight (Q8_0), like most files for CPUs."""

    dim: int = 128
    layers: int = 1
    heads: int = 2
    feed: int = 256
    quantized: bool = False


SMALL = Shape(dim=1024, layers=28, heads=8, feed=4096, quantized=True)
"""About the computation per token of a model of 0.5 billion weights, without its vocabulary."""


def scripted_model(
    path: Path,
    text: str,
    *,
    loop: bool = False,
    split: str = "",
    inside: bool = False,
    context: int = 32768,
    name: str | None = None,
    shape: "Shape | None" = None,
) -> Path:
    """Write a model to `path` that answers every request with `text`, byte for byte, at temperature 0.

    A word, with the spaces before it and any newlines in it, is one token, and a word may occur only once. The characters in
    `split` come as single bytes instead, like a rare emoji in a real vocabulary. `<think>` and `<tool_call>` blocks are
    written unchanged. With `loop` the end leads back to the second word, without end. With `inside` the model also continues
    in the middle of a word, if no other word begins with the same two or more letters; that doubles its vocabulary. `shape`
    makes it as slow as a model of that size: multiplying by zero takes as long.

    :raises ValueError: a word occurs twice, or there is none.
    """
    pieces = pieces_of(text)
    vocabulary = _Vocabulary([piece for piece in pieces if piece not in MARKUP], split)
    # The newline behind `<|im_start|>assistant` is the last token before the reply.
    chain = [vocabulary.byte(0x0A)]
    ends: list[int] = []
    for piece in pieces:
        chain += vocabulary.tokens(piece)
        ends.append(len(chain) - 1)
    if len(set(chain)) != len(chain):
        twice = next(token for n, token in enumerate(chain) if token in chain[:n])
        raise ValueError(f"every word may occur only once, and {vocabulary.texts[twice]!r} occurs twice")
    if len(chain) < 2:
        raise ValueError("there is no text to say")
    after = chain[min(2, len(chain) - 1)] if loop else vocabulary.id("<|im_end|>")
    follows = dict(zip(chain, [*chain[1:], after], strict=True))
    if inside:
        for n, piece in enumerate(pieces):
            last = min(n + 1, len(pieces) - 1)
            joined = pieces[last] if last > n else ""
            for begun, rest in vocabulary.beginnings(piece, pieces):
                if (rest + joined) == "\n":
                    continue  # it would be read as the newline before the reply
                # One token is the rest of the word and the next word, which makes it unique.
                token = vocabulary.add_joined(rest + joined)
                if begun not in follows and token not in follows:
                    follows[begun], follows[token] = token, follows[chain[ends[last]]]

    import numpy as np

    shape = shape or Shape()
    embedding = _unit_vectors(len(vocabulary.texts), shape.dim)
    output = np.zeros_like(embedding)
    for token, following in follows.items():
        output[following] += 3.0 * embedding[token]
    matrix = _nothing if shape.quantized else lambda *size: np.zeros(size, np.float32)
    return _write(path, vocabulary, embedding, output, matrix, shape, context, name)


def random_model(path: Path, *, dim: int = 64, layers: int = 2, context: int = 4096, seed: int = 0) -> Path:
    """Write a model of random weights to `path`. It loads and runs like any other, and writes random text."""
    import numpy as np

    rng = np.random.default_rng(seed)
    vocabulary = _Vocabulary([" the", " and", " hello", " world"], "")

    def matrix(*shape: int) -> Any:
        return (rng.standard_normal(shape) / np.sqrt(shape[-1])).astype(np.float32)

    size = len(vocabulary.texts)
    embedding = rng.standard_normal((size, dim)).astype(np.float32)
    shape = Shape(dim, layers, heads=2, feed=2 * dim)
    return _write(path, vocabulary, embedding, 4 * matrix(size, dim), matrix, shape, context, None)


def projector(path: Path, *, dim: int = 128, seed: int = 0) -> Path:
    """Write a vision projector of random weights, which turns an image into four tokens of a model of `dim`."""
    import gguf
    import numpy as np

    rng = np.random.default_rng(seed)
    width, feed, image, patch = 32, 64, 28, 14

    def random(*shape: int) -> Any:
        return (rng.standard_normal(shape) * 0.1).astype(np.float32)

    writer = gguf.GGUFWriter(path, "clip")
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    writer.add_bool("clip.has_vision_encoder", True)
    writer.add_string("clip.projector_type", "mlp")
    writer.add_bool("clip.use_gelu", True)
    sizes = {"image_size": image, "patch_size": patch, "embedding_length": width, "feed_forward_length": feed}
    shape = {"block_count": 1, "projection_dim": dim, "attention.head_count": 2}
    for key, value in (sizes | shape).items():
        writer.add_uint32(f"clip.vision.{key}", value)
    writer.add_float32("clip.vision.attention.layer_norm_epsilon", 1e-5)
    writer.add_array("clip.vision.image_mean", [0.5, 0.5, 0.5])
    writer.add_array("clip.vision.image_std", [0.5, 0.5, 0.5])
    writer.add_tensor("v.class_embd", random(width))
    writer.add_tensor("v.patch_embd.weight", random(width, 3, patch, patch))
    writer.add_tensor("v.position_embd.weight", random((image // patch) ** 2 + 1, width))
    for part in ("attn_q", "attn_k", "attn_v", "attn_out"):
        writer.add_tensor(f"v.blk.0.{part}.weight", random(width, width))
        writer.add_tensor(f"v.blk.0.{part}.bias", random(width))
    for part in ("ln1", "ln2"):
        writer.add_tensor(f"v.blk.0.{part}.weight", np.ones(width, np.float32))
        writer.add_tensor(f"v.blk.0.{part}.bias", np.zeros(width, np.float32))
    for part, rows, columns in (("ffn_up", feed, width), ("ffn_down", width, feed)):
        writer.add_tensor(f"v.blk.0.{part}.weight", random(rows, columns))
        writer.add_tensor(f"v.blk.0.{part}.bias", random(rows))
    for part, columns in (("mm.0", width), ("mm.2", dim)):
        writer.add_tensor(f"{part}.weight", random(dim, columns))
        writer.add_tensor(f"{part}.bias", random(dim))
    _finish(writer)
    return path


def pieces_of(text: str) -> list[str]:
    """Return the pieces in which a scripted model writes `text`: words with the spaces before them, and markup."""
    pieces: list[str] = []
    for part in re.split(f"({'|'.join(MARKUP)})", text):
        pieces += [part] if part in MARKUP else re.findall(r" *[^ ]+| +", part)
    return pieces


_SYLLABLES = (
    "ba",
    "ne",
    "mi",
    "to",
    "lu",
    "ra",
    "sé",
    "wö",
    "ka",
    "di",
    "fo",
    "gü",
    "zha",
    "льо",
    "そ",
    "🎻",
    "ß",
    "ṽe",
)


def unique_words(count: int, *, seed: int = 0, newlines: bool = True) -> str:
    """Return a text of `count` different words for `scripted_model`, with characters of one to four bytes in UTF-8.

    Words are joined by single spaces; with `newlines`, some contain line breaks.
    """
    random = Random(seed)  # noqa: S311 - a repeatable text, not a secret
    seen: dict[str, None] = {}
    while len(seen) < count:
        word = "".join(random.choices(_SYLLABLES, k=random.randint(2, 5)))
        if newlines and seen and random.random() < 0.08:
            word = f"{word}.\n\n{word.title()}"
        seen[word] = None
    return " ".join(seen)


class _Vocabulary:
    """A SentencePiece vocabulary in which each word is one token.

    Each beginning of a word is a token too, because llama.cpp merges from the left, one character at a time. Unlike a byte-pair
    vocabulary, this kind has no rules that split a text at punctuation first, so a prefix is always read back as the same
    tokens with which it was written.
    """

    def __init__(self, words: Sequence[str], split: str) -> None:
        self.split = frozenset(split)
        self.texts = ["<unk>", *CONTROL, *MARKUP, *(f"<0x{byte:02X}>" for byte in range(256))]
        self._ids = {text: n for n, text in enumerate(self.texts)}
        self.fixed = len(self.texts)
        self._joined: set[int] = set()
        self._add(_SPACE)
        for word in words:
            for run in self._runs(word):
                if run not in self.split:
                    for end in range(min(2, len(run)), len(run) + 1):
                        self._add(run[:end])

    def _add(self, text: str) -> None:
        if text not in self._ids:
            self._ids[text] = len(self.texts)
            self.texts.append(text)

    def _runs(self, word: str) -> Iterable[str]:
        """Return `word` in the spelling of the vocabulary, divided at the characters that come as bytes."""
        run = ""
        for character in word.replace(" ", _SPACE):
            if character in self.split:
                yield from filter(None, (run, character))
                run = ""
            else:
                run += character
        yield from filter(None, (run,))

    def id(self, text: str) -> int:
        return self._ids[text]

    def byte(self, value: int) -> int:
        return self._ids[f"<0x{value:02X}>"]

    def tokens(self, piece: str) -> list[int]:
        if piece in MARKUP:
            return [self.id(piece)]
        tokens: list[int] = []
        for run in self._runs(piece):
            tokens += [self.byte(value) for value in run.encode()] if run in self.split else [self.id(run)]
        return tokens

    def beginnings(self, piece: str, pieces: Sequence[str]) -> Iterable[tuple[int, str]]:
        """Return the tokens with which only `piece` begins, each with the rest of the piece."""
        if piece not in MARKUP and not self.split & set(piece):
            for end in range(2, len(piece)):
                if sum(other.startswith(piece[:end]) for other in pieces) == 1:
                    yield self.id(piece[:end].replace(" ", _SPACE)), piece[end:]

    def add_joined(self, text: str) -> int:
        """Add a token that is written but never read if the text can be read as other tokens."""
        text = text.replace(" ", _SPACE)
        if text not in self._ids:
            self._joined.add(len(self.texts))
            self._add(text)
        return self._ids[text]

    def scores(self) -> list[float]:
        # The higher score is merged first: texts that begin with a space, so that a first word never forms inside another.
        return [
            -2.0 if n in self._joined else 0.0 if text.startswith(_SPACE) or n < self.fixed else -1.0
            for n, text in enumerate(self.texts)
        ]

    def types(self) -> list[int]:
        import gguf

        kinds = {"<unk>": gguf.TokenType.UNKNOWN}
        kinds |= dict.fromkeys(CONTROL, gguf.TokenType.CONTROL) | dict.fromkeys(
            MARKUP, gguf.TokenType.USER_DEFINED
        )
        fixed = [int(kinds.get(text, gguf.TokenType.BYTE)) for text in self.texts[: self.fixed]]
        return fixed + [int(gguf.TokenType.NORMAL)] * (len(self.texts) - self.fixed)


def _nothing(rows: int, columns: int) -> Any:
    """Return a matrix of zeros in Q8_0: blocks of 32 weights, each preceded by a scale of two bytes."""
    import numpy as np

    return np.zeros((rows, columns // 32 * 34), np.uint8)


def _unit_vectors(count: int, dim: int) -> Any:
    import numpy as np

    vectors = np.random.default_rng(0).standard_normal((count, dim)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def _write(
    path: Path,
    vocabulary: _Vocabulary,
    embedding: Any,
    output: Any,
    matrix: Callable[..., Any],
    shape: "Shape",
    context: int,
    name: str | None,
) -> Path:
    import gguf
    import numpy as np

    dim, heads, feed = shape.dim, shape.heads, shape.feed
    raw = gguf.GGMLQuantizationType.Q8_0 if shape.quantized else None
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name(name or path.stem)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    writer.add_context_length(context)
    writer.add_embedding_length(dim)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(feed)
    writer.add_head_count(heads)
    writer.add_head_count_kv(heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(dim // heads)
    writer.add_vocab_size(len(vocabulary.texts))
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(vocabulary.texts)
    writer.add_token_scores(vocabulary.scores())
    writer.add_token_types(vocabulary.types())
    writer.add_unk_token_id(vocabulary.id("<unk>"))
    writer.add_bos_token_id(vocabulary.id("<|endoftext|>"))
    writer.add_eos_token_id(vocabulary.id("<|im_end|>"))
    writer.add_pad_token_id(vocabulary.id("<|endoftext|>"))
    writer.add_add_bos_token(False)
    writer.add_add_space_prefix(False)
    writer.add_chat_template(CHAT_TEMPLATE)
    writer.add_tensor("token_embd.weight", embedding)
    ones = np.ones(dim, np.float32)
    for layer in range(shape.layers):
        block = f"blk.{layer}"
        for norm in ("attn_norm", "ffn_norm"):
            writer.add_tensor(f"{block}.{norm}.weight", ones)
        for part in ("attn_q", "attn_k", "attn_v", "attn_output"):
            writer.add_tensor(f"{block}.{part}.weight", matrix(dim, dim), raw_dtype=raw)
        for part, rows, columns in (("ffn_gate", feed, dim), ("ffn_up", feed, dim), ("ffn_down", dim, feed)):
            writer.add_tensor(f"{block}.{part}.weight", matrix(rows, columns), raw_dtype=raw)
    writer.add_tensor("output_norm.weight", ones)
    writer.add_tensor("output.weight", output)
    _finish(writer)
    return path


def _finish(writer: Any) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
