"""The parameters of a request on the browser endpoint of version 1: which of them go to an agent, and within which bounds.

What is not listed here is dropped: it names files (`template`, `raw`), decides about the machine of the agent (`num_gpu`,
`num_thread`, `num_batch`, `keep_alive`), changes the prompt (`system`, `context`, `suffix`, `images`), costs without a bound
(`grammar`, a schema in `format`, `n`), or breaks the stream (`stream`).
"""

from collections.abc import Mapping
from typing import Any

MAX_TOKENS = 32_768
"""Tokens that a request may ask for, if its assistant does not say less."""

MAX_STOPS = 8
MAX_STOP_LENGTH = 200
"""Stop texts of a request, and the characters of each. More and longer ones are dropped."""

NUMBERS: dict[str, tuple[float, float]] = {
    "temperature": (0.0, 5.0),
    "top_p": (0.0, 1.0),
    "min_p": (0.0, 1.0),
    "typical_p": (0.0, 1.0),
    "tfs_z": (0.0, 1.0),
    "repeat_penalty": (0.0, 10.0),
    "presence_penalty": (-2.0, 2.0),
    "frequency_penalty": (-2.0, 2.0),
    "mirostat_tau": (0.0, 20.0),
    "mirostat_eta": (0.0, 1.0),
}
"""Options that are numbers, with their bounds. A number beyond a bound becomes the bound."""

INTEGERS: dict[str, tuple[int, int]] = {
    "top_k": (0, 1000),
    "repeat_last_n": (-1, 8192),
    "mirostat": (0, 2),
    "seed": (-(2**31), 2**31 - 1),
}
"""The same for options that are integers."""

LENGTHS = ("num_predict", "max_tokens", "max_completion_tokens", "num_ctx")
"""Options that cost memory or time. What the assistant sets is the most that a request gets. Without it, `num_ctx` is dropped."""

THINK_LEVELS = frozenset({"low", "medium", "high"})


def allowed_parameters(parameters: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """Return what of `parameters` an agent may be given. `options` are those of the assistant."""
    allowed = {
        name: value for name in parameters if (value := _value(name, parameters[name], options)) is not None
    }
    nested = parameters.get("options")
    if isinstance(nested, dict) and (inner := allowed_parameters({**nested, "options": None}, options)):
        inner.pop("think", None)
        inner.pop("format", None)
        allowed["options"] = inner
    return allowed


def _value(name: str, value: Any, options: Mapping[str, Any]) -> Any:
    """Return the value to pass on; None to drop it."""
    is_integer = isinstance(value, int) and not isinstance(value, bool)
    if name in NUMBERS and (is_integer or isinstance(value, float)):
        return _within(value, *NUMBERS[name])
    if name in INTEGERS and is_integer:
        return _within(value, *INTEGERS[name])
    if name in LENGTHS and is_integer and value > 0:
        return _length(name, value, options)
    match name, value:
        case "stop", str():
            return value if 0 < len(value) <= MAX_STOP_LENGTH else None
        case "stop", list():
            stops = [each for each in value if isinstance(each, str) and 0 < len(each) <= MAX_STOP_LENGTH]
            return stops[:MAX_STOPS] or None
        case (("think" | "penalize_newline"), bool()):
            return value
        case "think", str():
            return value if value in THINK_LEVELS else None
        case "format", "json":
            return value
        case _:
            return None


def _within(value: Any, least: float, most: float) -> Any:
    return max(least, min(value, most))


def _length(name: str, value: int, options: Mapping[str, Any]) -> int | None:
    limits = [options.get(each) for each in (LENGTHS[:3] if name != "num_ctx" else ("num_ctx",))]
    known = [each for each in limits if isinstance(each, int) and not isinstance(each, bool) and each > 0]
    if not known:
        return None if name == "num_ctx" else min(value, MAX_TOKENS)
    return min(value, *known)
