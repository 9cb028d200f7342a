"""What passed when `docs/reference/compatibility.md` was written. `scripts/compatibility.py` records it anew."""

import json
import os
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

RECORDED = Path(__file__).parents[1] / "data" / "compatibility.json"


def recorded(part: str, passed: list[T]) -> list[T]:
    """Return what is recorded of `part`. While it is recorded, `passed` takes its place."""
    kept = json.loads(RECORDED.read_text()) if RECORDED.exists() else {}
    if os.environ.get("LEGATO_RECORD_COMPATIBILITY"):
        kept[part] = passed
        RECORDED.write_text(json.dumps(dict(sorted(kept.items())), indent=1) + "\n")
    found: list[T] = kept[part]
    return found
