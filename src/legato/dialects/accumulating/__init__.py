"""The dialect `accumulating`: every frame of a reply has all of its text so far."""

from legato.dialects.accumulating.session import AccumulatingDialect

__all__ = ["AccumulatingDialect"]
