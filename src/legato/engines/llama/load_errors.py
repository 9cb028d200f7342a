"""Describe why a model cannot be loaded."""

import re
from contextlib import suppress
from pathlib import Path
from typing import Final

from legato.engines.llama.metadata import Metadata

MISSING: Final = "The engine llama needs the package xllamacpp. Install it with: pip install 'legato[llama]'"

_NO_MEMORY: Final = re.compile(
    r"insufficient memory|failed to allocate|out of memory|bad_alloc|signal 9\b", re.IGNORECASE
)
_CAUSE: Final = re.compile(r"^\S+ E \S.*?: (?:error loading model: )?(.*)$", re.MULTILINE)


def sentence(message: str, name: str, file: Path | None, slots: int) -> str:
    """Return what a child reported that could not start, with its log, as a sentence that says what to do."""
    first = message.partition("\n")[0]
    if "xllamacpp" in first:
        return MISSING
    if _NO_MEMORY.search(message):
        return no_memory(name, slots)
    found = _CAUSE.search(message)
    cause = found[1] if found else first
    return f"llama.cpp cannot load {file}: {cause.strip().rstrip('.')}. Choose another model file."


def no_memory(name: str, slots: int) -> str:
    return (
        f"There is not enough memory for the model {name} with {slots} slots. "
        "Choose a smaller model, or set fewer slots or a shorter context in [engines.llama]."
    )


def needed(metadata: Metadata, context: int, slots: int) -> int:
    """Return the bytes for the weights and for the cache of `slots` texts of `context` tokens. More memory is used beside it."""
    return metadata.size + metadata.token_bytes * context * slots


def installed(
    meminfo: Path = Path("/proc/meminfo"), limit: Path = Path("/sys/fs/cgroup/memory.max")
) -> int | None:
    """Return the bytes of memory of this machine, or of the container around this process; None if it is unknown.

    A model that needs more would not fail: the system would end other processes, or stall.
    """
    known: list[int] = []
    with suppress(OSError, ValueError):
        found = re.search(r"^MemTotal:\s+(\d+) kB", meminfo.read_text(), re.MULTILINE)
        known += [1024 * int(found[1])] if found else []
        known.append(int(limit.read_text()))
    return min(known, default=None)
