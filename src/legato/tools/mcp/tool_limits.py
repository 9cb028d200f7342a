"""Limits on what an MCP server says about its tools: every model reads all of it with every message."""

import logging
from collections.abc import Iterable

import msgspec
from mcp_types import Tool as Described

from legato.domain.validation import one_line

logger = logging.getLogger(__name__)

MAX_TOOLS = 128
"""The maximum number of tools of one server."""

MAX_NAME = 256
"""Characters of a tool's name."""

MAX_DESCRIPTION = 4096
"""Characters of a tool's description that the model gets."""

MAX_SCHEMA_BYTES = 64 * 1024
"""The largest schema of a tool, in bytes of JSON."""

MAX_SCHEMAS_BYTES = 512 * 1024
"""Bytes that the schemas of one server may have together."""


def within_limits(server: str, tools: Iterable[Described]) -> list[Described]:
    """Return the tools that a model can be shown, each name once, without what it does not get of them.

    Those that are too long are named in the log.
    """
    kept: list[Described] = []
    names: set[str] = set()
    total = 0
    for each in tools:
        if each.name in names:
            continue
        size = _schema_size(each)
        if len(kept) >= MAX_TOOLS:
            logger.warning(
                "The server of [tools.%s] has more than %d tools; the others are left out", server, MAX_TOOLS
            )
            break
        if len(each.name) > MAX_NAME or size > MAX_SCHEMA_BYTES or total + size > MAX_SCHEMAS_BYTES:
            logger.warning(
                "The tool %s of [tools.%s] is left out: its name or its schema is too long",
                one_line(each.name, 80),
                server,
            )
            continue
        total += size
        names.add(each.name)
        description = (each.description or each.name)[:MAX_DESCRIPTION]
        kept.append(Described(name=each.name, description=description, input_schema=each.input_schema))
    return kept


def _schema_size(tool: Described) -> int:
    try:
        return len(msgspec.json.encode(tool.input_schema))
    except (RecursionError, msgspec.MsgspecError, TypeError, ValueError):
        return MAX_SCHEMA_BYTES + 1
