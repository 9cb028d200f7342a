"""Bytes as a network delivers them."""

from itertools import pairwise

from hypothesis import strategies as st


def cut(data: bytes, drawn: st.DataObject) -> list[bytes]:
    """`data` in pieces, some of them empty, cut at places that Hypothesis picks."""
    places = drawn.draw(st.lists(st.integers(0, len(data)), max_size=12).map(sorted))
    edges = [0, *places, len(data)]
    return [data[start:stop] for start, stop in pairwise(edges)]
