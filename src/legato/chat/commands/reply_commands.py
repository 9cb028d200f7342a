"""Commands for running replies: stop, write again, and decide about tools."""

from legato.chat.command_types import CommandResult
from legato.chat.commands.base import ChatCommand, CommandCall
from legato.chat.commands.markdown import code, escaped
from legato.errors import InvalidError
from legato.protocol.command_data import ApprovalData, ReplyData, StoppedData


async def stop(call: CommandCall) -> CommandResult:
    """Stop the running replies of the conversation."""
    stopped = await call.service.replies.stop(call.user, call.conversation)
    if not stopped:
        text = "Nothing is being written."
    else:
        text = "Stopped." if len(stopped) == 1 else f"Stopped {len(stopped)} replies."
    return call.answer(text, StoppedData(tuple(stopped)))


async def retry(call: CommandCall) -> CommandResult:
    """Start another reply in place of the last one."""
    tree = await call.tree()
    last = next((message for message in reversed(tree.path()) if message.role == "assistant"), None)
    if last is None:
        raise InvalidError("There is no reply yet that could be another.")
    if last.status == "streaming":
        raise InvalidError(f"It is still being written. {code('/stop')} it first.")
    key = call.request.client_message_id
    started = await call.service.replies.regenerate(call.user, call.conversation, last.id, key)
    return call.answer("Here is another reply.", ReplyData(started.reply.id), started=started)


async def approve(call: CommandCall) -> CommandResult:
    """Allow a tool that waits for approval."""
    return await _decide(call, True)


async def deny(call: CommandCall) -> CommandResult:
    """Refuse a tool that waits for approval."""
    return await _decide(call, False)


async def _decide(call: CommandCall, allow: bool) -> CommandResult:
    await call.tree()
    waiting = [
        (log.stream, tool)
        for log in call.service.subscriptions.logs(call.conversation)
        for tool in log.snapshot().tools
        if tool.asking
    ]
    if call.arguments:
        waiting = [(reply, tool) for reply, tool in waiting if call.arguments in (tool.call, tool.name)]
    if not waiting:
        raise InvalidError("No tool waits for a word.")
    if len(waiting) > 1:
        lines = [
            f"- {code(f'/{call.command.name} {tool.call}')}: {escaped(tool.name)}" for _, tool in waiting
        ]
        raise InvalidError("\n".join(["Several tools wait for a word. Say which:", "", *lines]))
    reply, tool = waiting[0]
    await call.service.replies.approve(call.user, call.conversation, reply, tool.call, allow)
    return call.answer(
        f"{escaped(tool.name)} {'may' if allow else 'may not'} run.",
        ApprovalData(reply, tool.call, tool.name, allow),
    )


COMMANDS = [
    ChatCommand(
        name="stop", help="Stop what is being written. The text so far stays.", run=stop, needs="write"
    ),
    ChatCommand(
        name="retry",
        aliases=("again",),
        help="Have another reply written to the last message.",
        run=retry,
        needs="write",
    ),
    ChatCommand(
        name="approve",
        usage="[tool]",
        help="Let a tool run that waits for a word.",
        run=approve,
        needs="write",
    ),
    ChatCommand(
        name="deny", usage="[tool]", help="Refuse a tool that waits for a word.", run=deny, needs="write"
    ),
]
