"""Recorded exchanges, as values."""

import json
from pathlib import Path
from typing import Any, NamedTuple

FOLDER = Path(__file__).parent.parent / "data" / "ollama"


class Exchange(NamedTuple):
    method: str
    path: str
    request: str
    status: int
    headers: dict[str, str]
    body: bytes


def exchange(name: str) -> Exchange:
    asked, sent, answered, body = (FOLDER / f"{name}.txt").read_bytes().split(b"\n", 3)
    _, method, path = asked.decode().split(" ")
    _, status, headers = answered.decode().split(" ", 2)
    return Exchange(method, path, sent.decode()[2:], int(status), json.loads(headers), body)


_VOLATILE = frozenset(
    {
        "created_at", "modified_at", "expires_at", "digest", "size", "id", "created", "total_duration", "load_duration",
        "prompt_eval_duration", "eval_duration", "prompt_eval_count", "prompt_tokens", "total_tokens", "modelfile",
        "parameters", "template", "model_info", "tensors", "parameter_size", "parent_model", "version", "system_fingerprint",
    }
)  # fmt: skip


def shape(value: Any) -> Any:
    """A JSON value whose ids, times, sizes and durations are only told by their type."""
    if isinstance(value, dict):
        return {
            key: type(one).__name__ if key in _VOLATILE and one is not None else shape(one)
            for key, one in value.items()
        }
    return [shape(one) for one in value] if isinstance(value, list) else value


def shapes(body: bytes) -> list[Any]:
    """A body line by line (or event by event): JSON by its shape, anything else as it is."""
    found: list[Any] = []
    for line in body.decode().splitlines():
        text = line.removeprefix("data: ")
        if not text.strip():
            continue
        try:
            found.append(shape(json.loads(text)))
        except ValueError:
            found.append(text)
    return found
