"""How many tokens the prompt of a request has, if no engine counts it."""

import math

import msgspec

from legato.chat.message_tree import size
from legato.domain.message import TextPart
from legato.engines.base import Request


def prompt_size(request: Request) -> int:
    """Return an estimate of the tokens of all turns and tools, on the cautious side."""
    tools = tuple(TextPart(msgspec.json.encode(tool).decode()) for tool in request.tools)
    return math.ceil(sum(size(turn.parts) for turn in request.turns) + (size(tools) if tools else 0))
