"""What the parent tells the child process, and what the child tells the parent: one JSON object a line."""

from pathlib import Path

import msgspec
from msgspec import Struct


class WorkerConfig(Struct, frozen=True):
    """How a model is loaded, written to the child's standard input. `context` is in tokens, for each slot."""

    model: str
    name: str
    socket: str
    key: str
    slots: int
    context: int
    threads: int
    cache_mib: int
    projector: str | None = None


class WorkerReady(Struct, frozen=True, tag_field="type", tag="ready"):
    """The child takes requests. `pid` is the process that runs the model."""

    pid: int


class WorkerFailed(Struct, frozen=True, tag_field="type", tag="unable"):
    """The child cannot begin. `reason` is what it met, for a sentence."""

    reason: str


WorkerMessage = WorkerReady | WorkerFailed

encode = msgspec.json.encode
decode_launch = msgspec.json.Decoder(WorkerConfig).decode
decode_word: "msgspec.json.Decoder[WorkerMessage]" = msgspec.json.Decoder(WorkerMessage)


def socket_in(directory: Path) -> Path:
    """llama.cpp takes a host for a Unix socket by its ending."""
    return directory / "llama.sock"
