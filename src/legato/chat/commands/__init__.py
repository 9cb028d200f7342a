"""Commands: what a user types behind a `/`. The server answers, and no model ever reads it."""

from legato.chat.command_types import CommandRequest, CommandResult
from legato.chat.commands import read_commands, write_commands
from legato.chat.commands.base import ChatCommand, CommandCall, code
from legato.chat.commands.registry import Commands, is_command, typed
from legato.chat.service import ChatService

__all__ = [
    "ChatCommand",
    "CommandCall",
    "CommandRequest",
    "CommandResult",
    "Commands",
    "code",
    "is_command",
    "make_commands",
    "typed",
]


def make_commands(service: ChatService) -> Commands:
    """Return the commands of a server: the built-in ones, then those of other packages."""
    built_in = [
        *read_commands.COMMANDS,
        *write_commands.COMMANDS,
    ]
    commands = Commands(service, built_in)
    commands.load()
    return commands
