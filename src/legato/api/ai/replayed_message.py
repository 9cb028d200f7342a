"""The parts that a message already has, as the stream of a page that is loaded again tells them."""

from typing import Any

import msgspec

_ENDS: dict[str, tuple[str, str]] = {
    "output-available": ("tool-output-available", "output"),
    "output-error": ("tool-output-error", "errorText"),
    "output-denied": ("tool-output-denied", ""),
}

_AS_THEY_ARE = ("file", "source-url", "source-document")


def message_frames(message: dict[str, Any]) -> bytes:
    """Return the beginning of the stream of a message that a reply goes on with. Its own `start` follows.

    The SDK begins a message anew with the first `start` of a replay. Calls of tools are told as they were written, with their
    results, and not as new calls, so that the page does not run them again.
    """
    start: dict[str, Any] = {"type": "start", "messageId": message.get("id")}
    if message.get("metadata") is not None:
        start["messageMetadata"] = message["metadata"]
    told = [start]
    for number, part in enumerate(message.get("parts") or ()):
        told += _part(part, f"0.{number}")
    return b"".join(b"data: " + msgspec.json.encode(each) + b"\n\n" for each in told)


def _part(part: dict[str, Any], name: str) -> list[dict[str, Any]]:
    kind = str(part.get("type"))
    if kind == "step-start":
        return [{"type": "start-step"}]
    if kind in ("text", "reasoning"):
        more = {"providerMetadata": part["providerMetadata"]} if "providerMetadata" in part else {}
        return [
            {"type": f"{kind}-start", "id": name, **more},
            {"type": f"{kind}-delta", "id": name, "delta": part.get("text") or ""},
            {"type": f"{kind}-end", "id": name},
        ]
    if kind == "dynamic-tool" or kind.startswith("tool-"):
        return _tool(part, kind)
    return [part] if kind in _AS_THEY_ARE or kind.startswith("data-") else []


def _tool(part: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    dynamic = kind == "dynamic-tool"
    call = {"toolCallId": part.get("toolCallId")}
    start = {
        "type": "tool-input-start",
        **call,
        "toolName": part.get("toolName") if dynamic else kind.removeprefix("tool-"),
        **{name: part[name] for name in ("title", "providerExecuted") if part.get(name) is not None},
    }
    if dynamic:
        start["dynamic"] = True
    given = msgspec.json.encode(part.get("input")).decode() if part.get("input") is not None else "{}"
    told = [start, {"type": "tool-input-delta", **call, "inputTextDelta": given}]
    end, field = _ENDS.get(str(part.get("state")), ("", ""))
    if end:
        told.append({"type": end, **call, **({field: part.get(field)} if field else {})})
    return told
