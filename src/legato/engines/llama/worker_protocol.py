"""The messages between the parent and the child process: one JSON object on each line."""

from pathlib import Path

import msgspec
from msgspec import Struct


class WorkerConfig(Struct, frozen=True):
    """How to load a model, written to the child's standard input. `context` is in tokens, for each slot."""

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
    """The child accepts requests. `pid` is the process that runs the model."""

    pid: int


class WorkerFailed(Struct, frozen=True, tag_field="type", tag="unable"):
    """The child cannot start. `reason` is the cause, for a sentence."""

    reason: str


WorkerMessage = WorkerReady | WorkerFailed

encode = msgspec.json.encode
decode_launch = msgspec.json.Decoder(WorkerConfig).decode
decode_word: "msgspec.json.Decoder[WorkerMessage]" = msgspec.json.Decoder(WorkerMessage)


def socket_in(directory: Path) -> Path:
    """Return the path of the socket. llama.cpp recognizes a Unix socket by its extension."""
    return directory / "llama.sock"
