"""Commands that change nothing."""

import math

from legato.chat.command_types import CommandResult
from legato.chat.commands.base import ChatCommand, CommandCall, code
from legato.chat.conversation_settings import eligible
from legato.chat.conversations import ExportFormat
from legato.errors import LegatoError, NotFoundError

EXPORTED = 60_000
"""Characters of an export that an answer holds; a longer one is a file to fetch."""

FORMATS: dict[str, ExportFormat] = {"markdown": "markdown", "md": "markdown", "json": "json"}


async def show_help(call: CommandCall) -> CommandResult:
    if not call.arguments:
        lines = [f"- {code(each.written)}: {each.help}" for each in call.index.all()]
        return call.answer("\n".join(lines))
    name = call.arguments.split()[0]
    command = call.index.get(name)
    if command is None:
        raise NotFoundError(f"There is no command {code(name[:40])}. {call.index.near(name)}")
    lines = [f"{code(command.written)}", "", command.help]
    if command.aliases:
        lines += ["", "Also " + ", ".join(code("/" + alias) for alias in command.aliases) + "."]
    return call.answer("\n".join(lines))


async def show_state(call: CommandCall) -> CommandResult:
    service = call.service
    lines: list[str] = []
    if call.request.conversation is None:
        assistant = service.assistants.named(call.request.assistant)
    else:
        tree = await call.tree()
        conversation = tree.conversation
        assistant = service.assistants.of(conversation)
        path = tree.path()
        usages = [message.usage for message in tree.messages.values() if message.usage is not None]
        read = sum(usage.prompt_tokens or 0 for usage in usages)
        written = sum(usage.completion_tokens or 0 for usage in usages)
        here = service.presence.present(conversation.id)
        running = len(service.subscriptions.logs(conversation.id))
        lines += [
            f"- Conversation: {text(conversation.title) or 'New conversation'} ({code(conversation.id)})",
            f"- Messages: {len(path):,}" + (f", {running} being written" if running else ""),
            f"- People: {len(tree.people()):,}, {len(here):,} here",
            f"- Tokens: {read:,} read, {written:,} written",
        ]
    health = await assistant.engine.health()
    lines += [
        f"- Assistant: {text(assistant.config.name)}",
        f"- Model: {code(assistant.model) or 'whatever its engine brings'}",
        f"- Engine: {assistant.engine.name}, {'well' if health.ok else 'not well'}. {text(health.detail)}",
    ]
    return call.answer("\n".join(lines))


async def show_people(call: CommandCall) -> CommandResult:
    lines = []
    for each in await call.service.presence.everybody(call.user, call.conversation):
        called = text(each.name or each.user)
        here = ", here" if each.connections else ""
        lines.append(f"- {called}: {each.role}{here}{', typing' if each.typing else ''}")
    return call.answer("\n".join(lines))


async def list_models(call: CommandCall) -> CommandResult:
    """Without a name `/model` only reads."""
    tree = await call.tree() if call.request.conversation is not None else None
    service = call.service
    assistant = (
        service.assistants.of(tree.conversation) if tree else service.assistants.named(call.request.assistant)
    )
    lines = [f"{code(assistant.model) or 'A model of its agents'} answers here."]
    try:
        models = await eligible(assistant)
    except LegatoError as error:
        return call.answer("\n".join([*lines, "", f"The others are not known now: {error.message}"]))
    others = [model for model in models if model.name != assistant.model]
    if not others:
        lines += ["", "There is no other to choose."]
    else:
        lines += ["", f"To choose another for this conversation, {code('/model NAME')}:", ""]
        lines += [f"- {code(each.name)}{': ' + text(each.detail) if each.detail else ''}" for each in others]
    return call.answer("\n".join(lines))


async def export(call: CommandCall) -> CommandResult:
    form = FORMATS.get(call.arguments.lower() or "markdown")
    if form is None:
        raise call.usage()
    whole = await call.service.conversations.export(call.user, call.conversation, form)
    if len(whole) > EXPORTED:
        where = f"/api/conversations/{call.conversation}/export?format={form}"
        return call.answer(f"It is too long to be shown here. Fetch it as a file: {code('GET ' + where)}")
    return call.answer(whole if form == "markdown" else fenced(whole, "json"))


def text(words: str) -> str:
    """Somebody's words inside a line of Markdown: they stay on it, and mean nothing there."""
    return "".join("\\" + each if each in "\\`*_[]<>#|~!" else each for each in " ".join(words.split()))


def fenced(whole: str, language: str) -> str:
    """A block of code that nothing inside of it can end."""
    longest, run = 2, 0
    for each in whole:
        run = run + 1 if each == "`" else 0
        longest = max(longest, run)
    fence = "`" * (longest + 1)
    return f"{fence}{language}\n{whole}\n{fence}"


def span(seconds: float) -> str:
    """A time in words, rounded up to whole minutes, hours or days."""
    for unit, length in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= length:
            count = math.ceil(seconds / length)
            return f"{count} {unit}{'s' if count > 1 else ''}"
    return f"{math.ceil(seconds)} seconds"


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
        run=show_state,
        needs="nothing",
    ),
    ChatCommand(
        name="who", aliases=("people",), help="Say who takes part, and who is here.", run=show_people
    ),
    ChatCommand(
        name="export",
        usage="[markdown|json]",
        help="Show the whole conversation as text to keep.",
        run=export,
    ),
]
