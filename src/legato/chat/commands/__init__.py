"""What a person types behind a `/`: the server answers, and no model ever reads it."""

from typing import TYPE_CHECKING

from legato.chat.commands import reading, writing
from legato.chat.commands.base import ChatCommand, CommandCall, CommandRequest, CommandResult, code
from legato.chat.commands.registry import Commands, is_command, typed

if TYPE_CHECKING:
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


def make_commands(service: "ChatService") -> Commands:
    """The commands of a server: its own, then those of other packages."""
    commands = Commands(service, [*reading.COMMANDS, *writing.COMMANDS])
    commands.load()
    return commands
