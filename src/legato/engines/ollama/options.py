"""Ollama's options, and those of other APIs under Ollama's names. Pure."""

from typing import Any, Final

from legato.errors import UnsupportedOptionError

INTEGERS: Final = frozenset({
    "main_gpu", "mirostat", "num_batch", "num_ctx", "num_gpu", "num_keep", "num_predict", "num_thread",
    "repeat_last_n", "seed", "top_k",
})  # fmt: skip
"""Options that are whole numbers."""

NUMBERS: Final = frozenset({
    "frequency_penalty", "min_p", "mirostat_eta", "mirostat_tau", "presence_penalty", "repeat_penalty",
    "temperature", "tfs_z", "top_p", "typical_p",
})  # fmt: skip
"""Options that are numbers."""

SWITCHES: Final = frozenset({
    "f16_kv", "logits_all", "low_vram", "numa", "penalize_newline", "use_mlock", "use_mmap", "vocab_only",
})  # fmt: skip
"""Options that are true or false."""

_RENAMED: Final = {
    "max_tokens": "num_predict",
    "max_completion_tokens": "num_predict",
    "n_predict": "num_predict",
    "repetition_penalty": "repeat_penalty",
}

_MISSING: Final = frozenset({"logit_bias", "chat_template_kwargs"})
"""Options of the APIs that Ollama would ignore."""


def ollama_options(options: dict[str, Any], *, strict: bool) -> dict[str, Any]:
    """Return the options under Ollama's names. An option that has both names counts under Ollama's.

    :raises UnsupportedOptionError: `strict`, and Ollama has no such option.
    """
    sent: dict[str, Any] = {}
    for name, value in options.items():
        if name in _MISSING and strict:
            raise UnsupportedOptionError(f"Ollama has no {name}. Leave this option out.", name)
        own = _RENAMED.get(name, name)
        if own == name or own not in options:
            sent[own] = value
    return sent
