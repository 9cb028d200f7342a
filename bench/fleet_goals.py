"""What a figure should be, and how a set of figures is summed up."""

import statistics
from collections.abc import Sequence
from typing import NamedTuple


class Goal(NamedTuple):
    """A figure beside its goal, as a sentence."""

    sentence: str
    met: bool


def quantiles(values: Sequence[float]) -> dict[str, float]:
    """The median, and what 99 of 100 are below."""
    ordered = sorted(values)
    return {"p50": statistics.median(ordered), "p99": ordered[int(0.99 * (len(ordered) - 1))]}
