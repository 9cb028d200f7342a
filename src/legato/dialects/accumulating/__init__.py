"""The dialect `accumulating`: every frame of a reply has its whole text so far."""

from legato.dialects.accumulating.handler import AccumulatingDialect
from legato.dialects.dialect import DialectType

__all__ = ["DIALECT", "AccumulatingDialect"]

DIALECT = DialectType(
    name="accumulating",
    paths=("/ws/assistant",),
    create=lambda context, settings: AccumulatingDialect(context, settings.assistant),
)
