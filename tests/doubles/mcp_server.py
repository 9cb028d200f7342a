"""A real MCP server, written with the official SDK: over its pipes, or (with a port) over streamable HTTP."""

import os
import sys

from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError

server = MCPServer("double")


@server.tool()
def add(a: int, b: int) -> int:
    """Adds two numbers."""
    return a + b


@server.tool(name="say.it")
def say(text: str, times: int = 1) -> str:
    """Says something, so many times."""
    return text * times


@server.tool()
def fail() -> str:
    """Fails."""
    raise ToolError("The well is dry.")


@server.tool()
def die() -> str:
    """Takes the whole server with it."""
    os._exit(1)


@server.tool()
def variable(key: str) -> str:
    """A variable of the server's environment."""
    return os.environ.get(key, "")


@server.tool()
async def learn(context: Context) -> str:
    """Learns to sing."""
    server.add_tool(lambda: "la", name="sing", description="Sings.")
    await context.notify_tools_changed()
    return "learnt"


if __name__ == "__main__":
    if len(sys.argv) > 1:
        server.run("streamable-http", host="127.0.0.1", port=int(sys.argv[1]))
    else:
        server.run("stdio")
