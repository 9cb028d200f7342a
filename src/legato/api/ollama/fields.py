"""Fields that several requests of Ollama's API have, without I/O. The format is that of Ollama's `docs/api.md`, November 2026."""

import base64
import binascii
import math
import re
from collections.abc import Sequence
from typing import Any

from legato.api.request_fields import STOPS, InvalidFieldError
from legato.domain.message import ImagePart
from legato.engines.ollama.options import INTEGERS, NUMBERS, SWITCHES

LARGEST = 2**31
"""The bound of whole numbers. A `seed` may have 64 bits."""

MOST_LOGPROBS = 20

_DURATION = re.compile(
    r"[-+]?(\d+(\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h)((\d+(\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h))*", re.ASCII
)
_NUMBER = re.compile(r"[-+]?\d{1,18}(\.\d{1,18})?", re.ASCII)
_PREFIX = re.compile(r"data:image/[\w.+-]{1,40};base64,", re.ASCII)

_PICTURES = ((b"\x89PNG\r\n\x1a\n", "png"), (b"\xff\xd8\xff", "jpeg"), (b"GIF87a", "gif"), (b"GIF89a", "gif"))


def model_of(body: Any) -> str:
    """Return the name that the client asked for. Old clients call it `name`, some beside an empty `model`.

    :raises InvalidFieldError: there is none.
    """
    name: str | None = body.model or body.name
    if not name:
        raise InvalidFieldError("`model` is required.", "model")
    return name


def options_of(options: dict[str, Any] | None) -> dict[str, Any]:
    """Return the options of a request. One that is null is not set.

    :raises InvalidFieldError: Ollama has no such option, or its value is of another type.
    """
    return {name: _option(name, value) for name, value in (options or {}).items() if value is not None}


def think_of(think: bool | str | None) -> bool | str | None:
    """Return the `think` of an engine's request.

    :raises InvalidFieldError: it is none of Ollama's values.
    """
    if think is None or think == "":
        return None
    if isinstance(think, bool) or think in ("low", "medium", "high"):
        return think
    if think == "max":
        return "high"
    raise InvalidFieldError("`think` is true, false, low, medium, high or max.", "think")


def format_of(wanted: str | dict[str, Any] | None) -> str | dict[str, Any] | None:
    """Return the `format` of an engine's request.

    :raises InvalidFieldError: it is neither `json` nor a schema.
    """
    if wanted is None or wanted == "":
        return None
    if wanted == "json" or isinstance(wanted, dict):
        return wanted
    raise InvalidFieldError("`format` is json, or a JSON Schema.", "format")


def keep_alive_of(keep_alive: str | float | None) -> str | float | None:
    """Return the `keep_alive` of an engine's request: seconds, or a duration such as `5m`.

    :raises InvalidFieldError: it is no duration.
    """
    if keep_alive is None or keep_alive == "":
        return None
    if isinstance(keep_alive, str):
        if _NUMBER.fullmatch(keep_alive):
            number = float(keep_alive)
            return int(number) if number.is_integer() else number
        if len(keep_alive) <= 100 and _DURATION.fullmatch(keep_alive):
            return keep_alive
    elif math.isfinite(keep_alive):
        return keep_alive
    raise InvalidFieldError("`keep_alive` is a duration such as 5m, or a number of seconds.", "keep_alive")


def unloads(keep_alive: str | float | None) -> bool:
    """Return whether a valid `keep_alive` is zero."""
    if isinstance(keep_alive, str):
        return not any(digit in keep_alive for digit in "123456789")
    return keep_alive == 0


def logprobs_of(wanted: bool | None, most: int | None) -> int | None:
    """Return the `logprobs` of an engine's request.

    :raises InvalidFieldError: `top_logprobs` is out of its bounds, or stands alone.
    """
    if most and not wanted:
        raise InvalidFieldError("`top_logprobs` needs `logprobs: true`.", "top_logprobs")
    if not wanted:
        return None
    if not 0 <= (most or 0) <= MOST_LOGPROBS:
        raise InvalidFieldError(f"`top_logprobs` is between 0 and {MOST_LOGPROBS}.", "top_logprobs")
    return most or 0


def pictures_of(images: Sequence[str] | None, where: str) -> tuple[ImagePart, ...]:
    """Return pictures that are base64 text, with or without the head of a `data:` URL.

    :raises InvalidFieldError: one is not base64, or no picture.
    """
    return tuple(_picture(image, f"{where}[{index}]") for index, image in enumerate(images or ()))


def _option(name: str, value: object) -> Any:
    if name in INTEGERS:
        bound = 2**63 if name == "seed" else LARGEST
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, int) and not isinstance(value, bool) and -bound <= value < bound:
            return value
        raise _wrong(name, "a whole number")
    if name in NUMBERS:
        if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e9:
            return value
        raise _wrong(name, "a number")
    if name in SWITCHES:
        if isinstance(value, bool):
            return value
        raise _wrong(name, "true or false")
    if name == "stop":
        texts = [value] if isinstance(value, str) else value
        if isinstance(texts, list) and len(texts) <= STOPS and all(isinstance(each, str) for each in texts):
            return [each for each in texts if each]
        raise _wrong(name, f"a text, or a list of {STOPS} texts at most")
    raise InvalidFieldError(f"`options.{name[:60]}` is not an option of Ollama. Leave it out.", "options")


def _wrong(name: str, what: str) -> InvalidFieldError:
    return InvalidFieldError(f"`options.{name}` is {what}.", f"options.{name}")


def _picture(image: str, where: str) -> ImagePart:
    text = image[match.end() :] if (match := _PREFIX.match(image)) else image
    try:
        data = base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        raise InvalidFieldError(f"`{where}` is not base64 text.", where) from None
    kind = next((kind for head, kind in _PICTURES if data.startswith(head)), None)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        kind = "webp"
    if kind is None:
        raise InvalidFieldError(f"`{where}` is no picture. Send a PNG, JPEG, GIF or WebP.", where)
    return ImagePart(f"data:image/{kind};base64,{base64.b64encode(data).decode()}")
