"""MCP servers as settings and the server know them."""

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from legato.settings_types import Key, Secret, SettingsSection, Words
from legato.tools.tool_type import ToolsetOptions, ToolType, check_remote

if TYPE_CHECKING:
    from legato.tools.mcp.toolset import McpTools


class McpSettings(SettingsSection):
    """The keys of `[tools.NAME]` for an MCP server: either `command` or `url`."""

    command: Words = Field((), description="The program that is the server, and its arguments.")
    env: dict[str, Secret] = Field(
        default_factory=dict,
        description="Environment variables of the program; it inherits only a few, such as `PATH` and `HOME`.",
    )
    url: Annotated[str | None, Field(pattern=r"^https?://\S+$")] = Field(
        None, description="The URL of the server (streamable HTTP), instead of `command`."
    )
    headers: dict[str, Key] = Field(default_factory=dict, description="Headers of every request to `url`.")
    only: Words = Field((), description="The tools that the model may call. Empty: all.")


def _make(settings: McpSettings, options: ToolsetOptions) -> "McpTools":
    from legato.tools.mcp.toolset import McpTools

    return McpTools(
        options.name,
        command=settings.command,
        env={key: value.get_secret_value() for key, value in settings.env.items()},
        url=settings.url,
        headers={key: value.get_secret_value() for key, value in settings.headers.items()},
        only=settings.only,
        approval=options.approval,
        seconds=options.seconds,
        max_bytes=options.max_bytes,
    )


MCP: "ToolType[McpSettings, McpTools]" = ToolType(
    name="mcp", settings=McpSettings, make=_make, check=check_remote, extra="mcp"
)
