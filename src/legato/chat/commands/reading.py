"""Commands that change nothing."""

from legato.chat.commands.base import Answered, Call, Command, code
from legato.errors import NotFoundError


async def show_help(call: Call) -> Answered:
    if not call.arguments:
        lines = [f"- {code(each.written)}: {each.help}" for each in call.commands.all()]
        return call.answer("\n".join(lines))
    name = call.arguments.split()[0]
    command = call.commands.get(name)
    if command is None:
        raise NotFoundError(f"There is no command {code(name[:40])}. {call.commands.near(name)}")
    lines = [f"{code(command.written)}", "", command.help]
    if command.aliases:
        lines += ["", "Also " + ", ".join(code("/" + alias) for alias in command.aliases) + "."]
    return call.answer("\n".join(lines))


COMMANDS = [
    Command(
        name="help",
        usage="[command]",
        help="List the commands, or say more of one.",
        run=show_help,
        needs="nothing",
    )
]
