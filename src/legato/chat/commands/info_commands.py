"""`/help` and `/stat`."""

from legato.chat.command_types import CommandResult
from legato.chat.commands.base import ChatCommand, CommandCall
from legato.chat.commands.markdown import code, escaped
from legato.errors import NotFoundError
from legato.protocol.command_data import CommandEntry, CommandsData, StatusData


async def show_help(call: CommandCall) -> CommandResult:
    """List the commands, or describe one."""
    if not call.arguments:
        commands = call.index.all()
        lines = [f"- {code(each.written)}: {each.help}" for each in commands]
        return call.answer("\n".join(lines), CommandsData(tuple(map(_entry, commands))))
    name = call.arguments.split()[0]
    command = call.index.get(name)
    if command is None:
        raise NotFoundError(f"There is no command {code(name[:40])}. {call.index.near(name)}")
    lines = [f"{code(command.written)}", "", command.help]
    if command.aliases:
        lines += ["", "Also " + ", ".join(code("/" + alias) for alias in command.aliases) + "."]
    return call.answer("\n".join(lines), CommandsData((_entry(command),)))


def _entry(command: ChatCommand) -> CommandEntry:
    return CommandEntry(command.name, command.written, command.help, command.aliases)


async def show_status(call: CommandCall) -> CommandResult:
    """Say how the conversation, its model and its engine are."""
    service = call.service
    lines: list[str] = []
    conversation_id: str | None = None
    messages = running = participants = present = read = written = 0
    if call.request.conversation is None:
        assistant = service.assistants.named(call.request.assistant)
    else:
        tree = await call.tree()
        conversation = tree.conversation
        conversation_id = conversation.id
        assistant = service.assistants.of(conversation)
        messages = len(tree.path())
        usages = [message.usage for message in tree.messages.values() if message.usage is not None]
        read = sum(usage.prompt_tokens or 0 for usage in usages)
        written = sum(usage.completion_tokens or 0 for usage in usages)
        participants = len(tree.people())
        present = len(service.presence.present(conversation.id))
        running = len(service.subscriptions.logs(conversation.id))
        lines += [
            f"- Conversation: {escaped(conversation.title) or 'New conversation'} ({code(conversation.id)})",
            f"- Messages: {messages:,}" + (f", {running} being written" if running else ""),
            f"- People: {participants:,}, {present:,} here",
            f"- Tokens: {read:,} read, {written:,} written",
        ]
    health = await assistant.engine.health()
    detail = assistant.told(health.detail)
    lines += [
        f"- Assistant: {escaped(assistant.config.name)}",
        f"- Model: {code(assistant.model) or 'whatever its engine brings'}",
        f"- Engine: {assistant.engine.name}, {'well' if health.ok else 'not well'}. {escaped(detail)}",
    ]
    status = StatusData(
        conversation=conversation_id,
        messages=messages,
        running=running,
        participants=participants,
        present=present,
        prompt_tokens=read,
        completion_tokens=written,
        assistant=assistant.config.name,
        model=assistant.model,
        engine=assistant.engine.name,
        healthy=health.ok,
        detail=detail,
    )
    return call.answer("\n".join(lines), status)


COMMANDS = [
    ChatCommand(
        name="help",
        usage="[command]",
        help="List the commands, or say more of one.",
        run=show_help,
        needs="nothing",
    ),
    ChatCommand(
        name="stat",
        aliases=("status",),
        help="Say how this conversation, its model and its engine are.",
        run=show_status,
        needs="nothing",
    ),
]
