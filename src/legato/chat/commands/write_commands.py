"""Commands that change something."""

import re

from legato.chat.command_types import CommandResult
from legato.chat.commands.base import ChatCommand, CommandCall, code
from legato.chat.commands.read_commands import fenced, list_models, span, text
from legato.chat.conversation_settings import eligible, pick
from legato.domain.participant import ParticipantRole
from legato.errors import InvalidError

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
INVITED_SECONDS = 7 * 86400.0

DEFAULT = ("default", "none", "-")
"""Words that take a choice back."""


async def begin(call: CommandCall) -> CommandResult:
    assistant = call.request.assistant
    if assistant is None and call.request.conversation is not None:
        assistant = (await call.tree()).conversation.assistant
    made = await call.service.conversations.create(call.user, assistant, call.arguments or None)
    return call.answer("Here is a new conversation.", conversation=made.id)


async def ask_another(call: CommandCall) -> CommandResult:
    if not call.arguments:
        lines = [
            f"- {code(name)}" + (f", with {code(each.model)}" if each.model else "")
            for name, each in call.service.assistants.all.items()
        ]
        hint = f"{code('/assistant NAME')} begins a conversation with one."
        return call.answer("\n".join([*lines, "", hint]))
    made = await call.service.conversations.create(call.user, call.arguments)
    return call.answer(f"Here is a conversation with {code(made.assistant)}.", conversation=made.id)


async def clear(call: CommandCall) -> CommandResult:
    tree = await call.tree()
    head = tree.conversation.head
    if head is None or head == tree.conversation.settings.cleared:
        return call.answer("There is nothing that the model would read.")
    await call.service.conversations.set_setting(call.user, call.conversation, "cleared", head)
    return call.answer("The model reads nothing of what was said before. It is all still here for you.")


async def stop(call: CommandCall) -> CommandResult:
    stopped = await call.service.replies.stop(call.user, call.conversation)
    if not stopped:
        return call.answer("Nothing is being written.")
    return call.answer("Stopped." if len(stopped) == 1 else f"Stopped {len(stopped)} replies.")


async def retry(call: CommandCall) -> CommandResult:
    tree = await call.tree()
    last = next((message for message in reversed(tree.path()) if message.role == "assistant"), None)
    if last is None:
        raise InvalidError("There is no reply yet that could be another.")
    if last.status == "streaming":
        raise InvalidError(f"It is still being written. {code('/stop')} it first.")
    started = await call.service.replies.regenerate(
        call.user, call.conversation, last.id, call.request.client_message_id
    )
    return call.answer("Here is another reply.", started=started)


async def title(call: CommandCall) -> CommandResult:
    if not call.arguments:
        named = (await call.tree()).conversation.title
        return call.answer(f"It is called {text(named)}." if named else "It has no title yet.")
    renamed = await call.service.conversations.rename(call.user, call.conversation, call.arguments)
    return call.answer(f"It is called {text(renamed.title)}.")


async def system(call: CommandCall) -> CommandResult:
    if not call.arguments:
        said = (await call.tree()).conversation.settings.system
        if said is None:
            return call.answer("There are no instructions beside the assistant's own.")
        return call.answer(fenced(said, ""))
    if call.arguments.lower() in DEFAULT:
        await call.service.conversations.set_setting(call.user, call.conversation, "system", None)
        return call.answer("The assistant has its own instructions and no others.")
    await call.service.conversations.set_setting(call.user, call.conversation, "system", call.arguments)
    return call.answer(
        "The model reads that from the next message on, behind the assistant's own instructions."
    )


async def model(call: CommandCall) -> CommandResult:
    if not call.arguments:
        return await list_models(call)
    if call.arguments.lower() in DEFAULT:
        changed = await call.service.conversations.set_setting(call.user, call.conversation, "model", None)
    else:
        # Who may choose is known before the engine is asked what there is.
        await call.check("own")
        assistant = call.service.assistants.of((await call.tree()).conversation)
        models = await eligible(assistant)
        if not models:
            raise InvalidError("The model of this assistant cannot be chosen.")
        changed = await call.service.conversations.set_setting(
            call.user, call.conversation, "model", pick(models, call.arguments)
        )
    return call.answer(f"{code(call.service.assistants.of(changed).model)} answers from the next message on.")


async def invite(call: CommandCall) -> CommandResult:
    standing: ParticipantRole = "member"
    seconds = INVITED_SECONDS
    for word in call.arguments.lower().split():
        if word in ("member", "viewer"):
            standing = "member" if word == "member" else "viewer"
        elif found := re.fullmatch(r"(\d{1,6})([smhd])", word):
            seconds = float(found[1]) * UNITS[found[2]]
        else:
            raise call.usage()
    invitation, secret = await call.service.participants.invite(
        call.user, call.conversation, standing, seconds
    )
    may = "read and write" if invitation.role == "member" else "read"
    return call.answer(
        f"Whoever opens this within {span(seconds)} can {may} here:\n\n{code('#/join/' + secret)}\n\n"
        "Put it behind the address of this server. It is shown this once."
    )


async def approve(call: CommandCall) -> CommandResult:
    return await _decide(call, True)


async def deny(call: CommandCall) -> CommandResult:
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
        lines = [f"- {code(f'/{call.command.name} {tool.call}')}: {text(tool.name)}" for _, tool in waiting]
        raise InvalidError("\n".join(["Several tools wait for a word. Say which:", "", *lines]))
    reply, tool = waiting[0]
    await call.service.replies.approve(call.user, call.conversation, reply, tool.call, allow)
    return call.answer(f"{text(tool.name)} {'may' if allow else 'may not'} run.")


COMMANDS = [
    ChatCommand(name="new", usage="[title]", help="Begin another conversation.", run=begin, needs="nothing"),
    ChatCommand(
        name="assistant",
        usage="[name]",
        help="List the assistants, or begin a conversation with one.",
        run=ask_another,
        needs="nothing",
    ),
    ChatCommand(
        name="clear",
        help="Let the model begin afresh: it reads nothing of what was said before. Nothing is deleted.",
        run=clear,
        needs="own",
    ),
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
        name="model",
        usage="[name]",
        help=f"Say which models there are, or choose one for this conversation. {code('/model default')} takes it back.",
        run=model,
        needs="nothing",
    ),
    ChatCommand(
        name="invite",
        usage="[member|viewer] [7d]",
        help="Make a link by which others join, good for so many seconds, minutes, hours or days (s, m, h, d).",
        run=invite,
        needs="own",
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
