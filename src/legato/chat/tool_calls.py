"""Decisions about the tools that a model calls. `legato.chat.tool_runner` runs them. Pure values."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import msgspec
from msgspec import Struct

from legato.domain.message import Part, TextPart, ToolCallPart, ToolResultPart
from legato.domain.surrogates import decode_replacing_surrogates
from legato.domain.validation import clean_text
from legato.engines.base import ToolCall
from legato.stream import Event, Failed, Finished, Reasoning, ReplySnapshot, State, ToolUse
from legato.stream.log import compact_events
from legato.tools.base import Tool

CALLS = 16
"""Tools that are run for one step of the model; further calls get an error as their result."""

MOST_CALLS = 64
"""Calls of one step that are looked at at all."""

NAME_LENGTH = 128
ARGUMENTS = 32_768
"""Characters of arguments, at most."""

INTERRUPTED = "The server was restarted while this tool ran. It may have done its work or not, and it was not run again."
ENDED = "The reply ended while this tool ran. It may have done its work or not."
NEVER_ALLOWED = "The reply ended before anybody allowed this tool, so it did not run."


class RunnableCall(Struct, frozen=True):
    """A tool that may run with these arguments, after an approval if it needs one."""

    tool: Tool
    arguments: dict[str, Any]


class RefusedCall(Struct, frozen=True):
    """A call that does not run; `why` is what the model reads."""

    why: str


def decide(call: ToolCall, tools: Mapping[str, Tool], number: int) -> RunnableCall | RefusedCall:
    """Decide whether a call can run, which came as the `number`th of its step (from 0)."""
    if number >= CALLS:
        return RefusedCall(
            f"Only {CALLS} tools are run at once. Ask for this one again, with fewer beside it."
        )
    tool = tools.get(call.name)
    if tool is None:
        known = ", ".join(sorted(tools))
        return RefusedCall(
            f"There is no tool called {call.name!r}. "
            + (f"There is: {known}." if known else "There are no tools here: answer without.")
        )
    if len(call.arguments) > ARGUMENTS:
        return RefusedCall(f"The arguments are too long: {ARGUMENTS:,} characters at most.")
    try:
        arguments = decode_replacing_surrogates(msgspec.json.decode, (call.arguments or "{}").encode())
    except (msgspec.DecodeError, RecursionError, UnicodeEncodeError) as error:
        return RefusedCall(f"The arguments are not JSON ({error}). Write one JSON object.")
    if arguments is None:
        arguments = {}
    if not isinstance(arguments, dict):
        return RefusedCall("The arguments must be one JSON object.")
    return RunnableCall(tool, arguments)


def cleaned(call: ToolCall, used: Collection[str]) -> ToolCall:
    """Return the call with text that a log and a database accept, under an id that the reply has not used: engines count from the start at each step."""
    name = clean_text(call.name)[:NAME_LENGTH]
    arguments = clean_text(call.arguments)
    if len(arguments) > ARGUMENTS:
        arguments = arguments[: ARGUMENTS + 1]
    wanted = clean_text(call.call)[:NAME_LENGTH] or "call"
    unused, again = wanted, 2
    while unused in used:
        unused, again = f"{wanted}~{again}", again + 1
    return ToolCall(unused, name, arguments)


def parts_of(snapshot: ReplySnapshot) -> tuple[Part, ...]:
    """Return the parts of a reply in their order: text, a call and its result, text …"""
    parts: list[Part] = []
    text, at = snapshot.text, 0
    for tool in snapshot.tools:
        if tool.at > at:
            parts.append(TextPart(text[at : tool.at]))
            at = tool.at
        parts.append(ToolCallPart(tool.call, tool.name, tool.arguments))
        if tool.output is not None:
            parts.append(ToolResultPart(tool.call, tool.name, tool.output, tool.failed, tool.refused))
    if text[at:]:
        parts.append(TextPart(text[at:]))
    return tuple(parts)


def before_and_tail(snapshot: ReplySnapshot) -> tuple[tuple[Part, ...], str]:
    """Return a running reply as a model continues it: the parts up to its last tool, and the text behind that."""
    if not snapshot.tools:
        return (), snapshot.text
    parts = parts_of(snapshot)
    tail = snapshot.text[snapshot.tools[-1].at :]
    if tail:
        parts = parts[:-1]
    return parts, tail.removeprefix("\n\n")


def pending(snapshot: ReplySnapshot) -> list[ToolUse]:
    """Return the tools without a result."""
    return [tool for tool in snapshot.tools if tool.output is None]


def unfinished(tools: Iterable[ToolUse]) -> list[tuple[str, str]]:
    """Return the call and the result of each tool that has none, for a reply that ends."""
    return [(tool.call, NEVER_ALLOWED if tool.asking else ENDED) for tool in tools]


def kept(events: Iterable[Event]) -> list[Event]:
    """Return what a restored log begins with: all up to the last text or tool. The reasoning behind that is written anew."""
    events = compact_events([event for event in events if not isinstance(event, Finished | Failed)])
    last = max(
        (n for n, event in enumerate(events) if not isinstance(event, Reasoning | State)),
        default=-1,
    )
    return [
        event
        for event in events[: last + 1]
        if not (isinstance(event, State) and (event.phase != "answering" or not (event.model or event.agent)))
    ]
