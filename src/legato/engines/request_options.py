"""Options of a request that not every engine can do. An engine refuses those by name, and ignores none."""

from collections.abc import Collection
from typing import Any

from legato.domain.message import AudioPart, ImagePart
from legato.engines.base import Request
from legato.errors import UnsupportedOptionError

_DEFAULTS: dict[str, tuple[Any, ...]] = {
    "format": (None,),
    "tool_choice": (None, "auto", "none"),
    "parallel_tools": (None, True),
    "logprobs": (None,),
    "raw": (False,),
    "suffix": ("",),
}
"""What every engine does, by the name of the field in `Request`."""


def refuse_unsupported(request: Request, who: str, supported: Collection[str] = ()) -> None:
    """Check that the request asks for nothing beyond `supported`, the names of fields. `who` names the engine.

    :raises UnsupportedOptionError: it does.
    """
    for name, usual in _DEFAULTS.items():
        if name not in supported and getattr(request, name) not in usual:
            raise UnsupportedOptionError(
                f"{who} cannot do what the request asks for. Leave this option out.", name
            )


def refuse_media(request: Request, who: str, *, images: bool = False, audio: bool = False) -> None:
    """Check that a strict request has no picture and no recording that the model does not get. Of other requests the model is told
    that there was one.

    :raises UnsupportedOptionError: it has one.
    """
    if not request.strict:
        return
    for turn in request.turns:
        for part in turn.parts:
            if isinstance(part, ImagePart) and part.data and not images:
                raise UnsupportedOptionError(f"{who} cannot see pictures. Leave them out.", "images")
            if isinstance(part, AudioPart) and part.data and not audio:
                raise UnsupportedOptionError(f"{who} cannot hear recordings. Leave them out.", "audio")
