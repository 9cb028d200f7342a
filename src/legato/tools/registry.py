"""The tool kinds of this version, in the order in which they are listed to people. A new kind is one more line."""

from legato.tools.mcp.tool_type import MCP
from legato.tools.mongodb.tool_type import MONGODB
from legato.tools.python import PYTHON
from legato.tools.tool_type import AnyToolType

TOOL_TYPES: dict[str, AnyToolType] = {
    tool_type.name: tool_type
    for tool_type in (
        MONGODB,
        MCP,
        PYTHON,
    )
}
"""By name."""

UNNAMED: AnyToolType = PYTHON
"""The kind of a section that neither sets `kind` nor has the name of a kind: its name is an entry point."""
