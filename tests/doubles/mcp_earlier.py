"""An MCP server of the protocol of 2025, without any SDK: it tells without being asked that its tools are others now."""

import json
import sys

names = ["learn"]


def say(**message: object) -> None:
    print(json.dumps({"jsonrpc": "2.0", **message}), flush=True)


for line in sys.stdin:
    asked = json.loads(line)
    match asked["method"]:
        case "initialize":
            result = {
                "protocolVersion": "2025-06-18",
                "capabilities": {"tools": {"listChanged": True}},
                "serverInfo": {"name": "earlier", "version": "1"},
            }
        case "tools/list":
            result = {"tools": [{"name": name, "inputSchema": {"type": "object"}} for name in names]}
        case "tools/call":
            names.append("sing")
            say(method="notifications/tools/list_changed")
            result = {"content": [{"type": "text", "text": "learnt"}]}
        case _:
            if "id" in asked:
                say(id=asked["id"], error={"code": -32601, "message": "Method not found"})
            continue
    say(id=asked["id"], result=result)
