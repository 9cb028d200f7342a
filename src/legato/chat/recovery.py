"""Replies that an earlier server left: their logs are rebuilt, and it is decided which of them can go on."""

from collections.abc import Awaitable, Callable

from legato.chat.disclaimer import disclaim, is_disclaimed
from legato.chat.reply import Reply, pieces
from legato.chat.tool_calls import before_and_tail, kept, pending
from legato.storage.base import AdoptedReply
from legato.stream import Failed, Finished, Reasoning, Terminal, Text

Verdict = Callable[[Reply], Awaitable[Terminal | None]]
"""Decides whether a reply that was cut off has ended; None lets it go on."""

CUT_OFF = "The server was restarted while this was being written. Ask again to have it whole."
NOT_CONFIGURED = "The server was restarted, and the assistant that wrote this is no longer set up."


def restore(reply: Reply, adopted: AdoptedReply) -> None:
    """Fill the reply's log with what the journal has of it, and take over the approvals and the stop that users sent meanwhile."""
    for event in kept(adopted.events):
        match event:
            case Text() | Reasoning():
                for piece in pieces(event.text):
                    reply.written.append(type(event)(piece))
            case _:
                reply.written.append(event)
    for tool in pending(reply.written.snapshot()):
        if tool.asking:
            reply.approvals.expect(tool.call)
            if (allow := adopted.decisions.get(tool.call)) is not None:
                reply.approvals.decide(tool.call, allow)
    if adopted.stop_requested:
        reply.end("stopped")


async def verdict_if_cut_off(reply: Reply) -> Terminal | None:
    """Decide about a reply whose assistant is still set up: it goes on if its engine can continue a text."""
    assistant, snapshot = reply.assistant, reply.written.snapshot()
    if is_disclaimed(snapshot.text, assistant.config.disclaimer):
        return Finished("stop")
    _, tail = before_and_tail(snapshot)
    if tail and not (await assistant.engine.capabilities(assistant.model)).supports_prefill:
        disclaim(reply.written, assistant.config.disclaimer)
        return Failed("interrupted", CUT_OFF)
    return None


async def verdict_if_not_configured(reply: Reply) -> Terminal | None:
    """Decide about a reply whose assistant is no longer set up: it is over."""
    return Failed("interrupted", NOT_CONFIGURED)
