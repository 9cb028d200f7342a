"""Commands for the conversation as a whole: create, rename, export, and what the model reads."""

from legato.chat.command_types import CommandResult
from legato.chat.commands.base import DEFAULT, ChatCommand, CommandCall
from legato.chat.commands.markdown import code, escaped, fenced
from legato.domain.conversation import Conversation
from legato.protocol.command_data import (
    AssistantEntry,
    AssistantsData,
    ConversationData,
    ExportData,
    ExportFormat,
    SystemPromptData,
)

EXPORTED = 60_000
"""Characters of an export that an answer holds; a longer one is a file to fetch."""

FORMATS: dict[str, ExportFormat] = {"markdown": "markdown", "md": "markdown", "json": "json"}


async def create(call: CommandCall) -> CommandResult:
    """Create another conversation with the same assistant."""
    assistant = call.request.assistant
    if assistant is None and call.request.conversation is not None:
        assistant = (await call.tree()).conversation.assistant
    created = await call.service.conversations.create(call.user, assistant, call.arguments or None)
    return call.answer("Here is a new conversation.", _data(created), conversation=created.id)


async def choose_assistant(call: CommandCall) -> CommandResult:
    """List the assistants, or create a conversation with one."""
    if not call.arguments:
        assistants = call.service.assistants.all.items()
        lines = [
            f"- {code(name)}" + (f", with {code(each.model)}" if each.model else "")
            for name, each in assistants
        ]
        hint = f"{code('/assistant NAME')} begins a conversation with one."
        entries = tuple(AssistantEntry(name, each.model) for name, each in assistants)
        return call.answer("\n".join([*lines, "", hint]), AssistantsData(entries))
    created = await call.service.conversations.create(call.user, call.arguments)
    return call.answer(
        f"Here is a conversation with {code(created.assistant)}.", _data(created), conversation=created.id
    )


async def clear(call: CommandCall) -> CommandResult:
    """Let the model read nothing of what was said before."""
    tree = await call.tree()
    head = tree.conversation.head
    if head is None or head == tree.conversation.settings.cleared:
        return call.answer("There is nothing that the model would read.", _data(tree.conversation))
    changed = await call.service.conversations.set_setting(call.user, call.conversation, "cleared", head)
    return call.answer(
        "The model reads nothing of what was said before. It is all still here for you.", _data(changed)
    )


async def title(call: CommandCall) -> CommandResult:
    """Tell the title, or change it."""
    if not call.arguments:
        conversation = (await call.tree()).conversation
        named = conversation.title
        text = f"It is called {escaped(named)}." if named else "It has no title yet."
        return call.answer(text, _data(conversation))
    renamed = await call.service.conversations.rename(call.user, call.conversation, call.arguments)
    return call.answer(f"It is called {escaped(renamed.title)}.", _data(renamed))


async def system(call: CommandCall) -> CommandResult:
    """Tell the conversation's own instructions to the model, or change them."""
    if not call.arguments:
        prompt = (await call.tree()).conversation.settings.system
        if prompt is None:
            text = "There are no instructions beside the assistant's own."
            return call.answer(text, SystemPromptData(None))
        return call.answer(fenced(prompt, ""), SystemPromptData(prompt))
    prompt = None if call.arguments.lower() in DEFAULT else call.arguments
    await call.service.conversations.set_setting(call.user, call.conversation, "system", prompt)
    return call.answer(
        "The assistant has its own instructions and no others."
        if prompt is None
        else "The model reads that from the next message on, behind the assistant's own instructions.",
        SystemPromptData(prompt),
    )


async def export(call: CommandCall) -> CommandResult:
    """Show the conversation as text, or where to fetch it if it is too long."""
    form = FORMATS.get(call.arguments.lower() or "markdown")
    if form is None:
        raise call.usage()
    content = await call.service.conversations.export(call.user, call.conversation, form, EXPORTED)
    if content is None:
        path = f"/api/conversations/{call.conversation}/export?format={form}"
        text = f"It is too long to be shown here. Fetch it as a file: {code('GET ' + path)}"
        return call.answer(text, ExportData(form, path=path))
    text = content if form == "markdown" else fenced(content, "json")
    return call.answer(text, ExportData(form, content=content))


def _data(conversation: Conversation) -> ConversationData:
    return ConversationData(conversation.id, conversation.title, conversation.assistant)


COMMANDS = [
    ChatCommand(name="new", usage="[title]", help="Begin another conversation.", run=create, needs="nothing"),
    ChatCommand(
        name="assistant",
        usage="[name]",
        help="List the assistants, or begin a conversation with one.",
        run=choose_assistant,
        needs="nothing",
    ),
    ChatCommand(
        name="clear",
        help="Let the model begin afresh: it reads nothing of what was said before. Nothing is deleted.",
        run=clear,
        needs="own",
    ),
    ChatCommand(
        name="title", usage="[text]", help="Say what this conversation is called, or call it so.", run=title
    ),
    ChatCommand(
        name="system",
        usage="[text]",
        help=f"Show or set what the model is told in this conversation. {code('/system none')} takes it back.",
        run=system,
        needs="own",
    ),
    ChatCommand(
        name="export",
        usage="[markdown|json]",
        help="Show the whole conversation as text to keep.",
        run=export,
    ),
]
