"""Fields that the requests of several APIs share, without I/O: sampling options, stop sequences, tools, parts of a message."""

import math
from collections.abc import Sequence
from typing import Any

from legato.domain.message import AudioPart, ImagePart, Part, TextPart
from legato.engines.base import ToolSpec
from legato.errors import InvalidError

NUMBERS = {
    "temperature": (0.0, 2.0),
    "top_p": (0.0, 1.0),
    "min_p": (0.0, 1.0),
    "presence_penalty": (-2.0, 2.0),
    "frequency_penalty": (-2.0, 2.0),
    "repeat_penalty": (0.0, 10.0),
    "repetition_penalty": (0.0, 10.0),
}
"""Options that are passed on by their own name, and their limits."""


STOPS = 16
"""The largest number of stop sequences."""


class InvalidFieldError(InvalidError):
    """A field of a request is wrong. `param` is its name, as OpenAI's errors tell it."""

    def __init__(self, message: str, param: str) -> None:
        super().__init__(message)
        self.param = param


def options_of(body: Any) -> dict[str, Any]:
    """Return the sampling options of a body, by the names that all engines take.

    :raises InvalidFieldError: a number is out of its limits.
    """
    options: dict[str, Any] = {}
    for name, (least, most) in NUMBERS.items():
        number = getattr(body, name, None)
        if number is None:
            continue
        if not math.isfinite(number) or not least <= number <= most:
            raise InvalidFieldError(f"`{name}` is between {least:g} and {most:g}.", name)
        options[name] = number
    for name in ("max_tokens", "max_completion_tokens"):
        limit = getattr(body, name, None)
        if limit is not None:
            if not 1 <= limit < 2**31:
                raise InvalidFieldError(f"`{name}` is at least 1.", name)
            options["num_predict"] = limit
    for name, most in (("seed", 2**63), ("top_k", 2**31)):
        number = getattr(body, name, None)
        if number is not None:
            if not -most <= number < most:
                raise InvalidFieldError(f"`{name}` is too large.", name)
            options[name] = number
    for name in ("logit_bias", "chat_template_kwargs"):
        if getattr(body, name, None):
            options[name] = getattr(body, name)
    stop = [body.stop] if isinstance(body.stop, str) else body.stop
    if stop:
        check_stop(stop, "stop")
        options["stop"] = stop
    return options


def check_stop(texts: Sequence[str], param: str) -> None:
    """Check the stop sequences of the field `param`.

    :raises InvalidFieldError: there are too many, or one is empty.
    """
    if len(texts) > STOPS or not all(texts):
        raise InvalidFieldError(f"`{param}` has {STOPS} texts at most, and none of them is empty.", param)


def think_of(effort: str | None, param: str) -> bool | str | None:
    """Return the `think` of a request for an effort, the field `param`.

    :raises InvalidFieldError: it is none that exists.
    """
    if effort is None:
        return None
    if effort == "none":
        return False
    if effort == "minimal":
        return "low"
    if effort in ("low", "medium", "high"):
        return effort
    if effort in ("xhigh", "max"):
        return "high"
    raise InvalidFieldError(f"`{param}` is none, minimal, low, medium or high.", param)


def function_tool(tool: dict[str, Any], param: str, index: int) -> ToolSpec:
    """Return a tool of the list `param`.

    :raises InvalidFieldError: it is no function, or has no name.
    """
    match tool:
        case {"type": "function", "function": {"name": str() as name, **function}} if name:
            parameters = function.get("parameters") or {"type": "object", "properties": {}}
            description = function.get("description") or ""
            strict = function.get("strict")
            if (
                isinstance(parameters, dict)
                and isinstance(description, str)
                and isinstance(strict, bool | None)
            ):
                return ToolSpec(name, description, parameters, strict)
    raise InvalidFieldError(
        f"`{param}[{index}]` is not a function tool: it needs a name, and `parameters` is a JSON Schema.",
        f"{param}[{index}]",
    )


def tool_choice_of(choice: str | dict[str, Any] | None) -> str | None:
    """Return the `tool_choice` of a request.

    :raises InvalidFieldError: it is none that exists.
    """
    match choice:
        case None | "auto" | "none" | "required":
            return choice
        case {"type": "function", "function": {"name": str() as name}} | {"name": str() as name}:
            return f"function:{name}"
    raise InvalidFieldError(
        "`tool_choice` is none, auto, required, or {type: function, function: {name}}.", "tool_choice"
    )


def check_tool_choice(choice: str | None, tools: Sequence[ToolSpec]) -> None:
    """Check that a tool that must be called is there.

    :raises InvalidFieldError: it is not.
    """
    name = (choice or "").removeprefix("function:")
    if choice == "required" and not tools:
        raise InvalidFieldError("`tool_choice` is required, and the request has no `tools`.", "tool_choice")
    if name != (choice or "") and all(tool.name != name for tool in tools):
        raise InvalidFieldError("`tool_choice` names a function that is not in `tools`.", "tool_choice")


def parts_of(content: object, where: str) -> tuple[Part, ...]:
    """Return the parts of a message's `content`: null, a text, or a list of parts.

    :raises InvalidFieldError: a part is of a kind that no engine here takes.
    """
    if content is None:
        return ()
    if isinstance(content, str):
        return (TextPart(content),)
    if not isinstance(content, list):
        raise InvalidFieldError(f"`{where}` is a text, or a list of parts.", where)
    return tuple(_part(part, f"{where}[{index}]") for index, part in enumerate(content))


def _part(part: object, where: str) -> Part:
    match part:
        case str() as text:
            return TextPart(text)
        case {"type": "text" | "input_text" | "output_text", "text": str() as text}:
            return TextPart(text)
        case {"type": "refusal", "refusal": str() as text}:
            return TextPart(text)
        case {"type": "image_url", "image_url": {"url": str() as url} | (str() as url)}:
            if not url.startswith("data:image/"):
                raise InvalidFieldError(
                    f"`{where}` names a picture by its address. Send it as a `data:image/…;base64,…` URL: "
                    "this server fetches nothing from the network.",
                    where,
                )
            return ImagePart(url)
        case {"type": "input_audio", "input_audio": {"data": str() as data, "format": "wav" | "mp3" as form}}:
            return AudioPart(f"data:audio/{'mpeg' if form == 'mp3' else 'wav'};base64,{data}")
    raise InvalidFieldError(
        f"`{where}` is of a kind that is not supported here: text, image_url and input_audio (wav, mp3) are.",
        where,
    )
