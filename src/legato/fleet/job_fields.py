"""The fields of a request that an agent may not know."""

from typing import Any, Final

from legato.engines.base import Request
from legato.engines.message_format import has_media

_FIELDS: Final[dict[str, tuple[Any, ...]]] = {
    "format": (None,),
    "format_name": ("",),
    "format_description": ("",),
    "format_strict": (None,),
    "tool_choice": (None,),
    "parallel_tools": (None,),
    "logprobs": (None,),
    "raw": (False,),
    "suffix": ("",),
    "strict": (False,),
    "embed": ((),),
    "dimensions": (None,),
}
"""Fields of revision 1 by name, and their defaults."""

PARTS: Final = ("tools", "images")
"""Parts that an older agent leaves out of a strict request if its model cannot do them."""

_WITHOUT: Final = {"tool_choice": (None, "auto", "none"), "parallel_tools": (None, True)}
"""Values with which an agent that does not know the field does the same."""


def fields_of(request: Request) -> dict[str, Any]:
    """Return the fields of revision 1 that are set."""
    values = {name: getattr(request, name) for name in _FIELDS}
    return {name: value for name, value in values.items() if value not in _FIELDS[name]}


def needed_field(request: Request) -> str | None:
    """Return the name of a field that an agent must know to write this reply; None if every agent can.

    A strict request with tools or media needs `strict`, and `PARTS` names what for: an older agent leaves out what its model cannot do.
    """
    for name, value in fields_of(request).items():
        if name == "strict":
            if request.tools:
                return "tools"
            if has_media(request.turns):
                return "images"
        elif name == "embed":
            return "input"
        elif not name.startswith("format_") and value not in _WITHOUT.get(name, ()):
            return name
    return None
