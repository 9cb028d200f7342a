"""Commands: what a user types behind a `/`. The server answers, and no model ever reads it."""

from legato.chat.command_types import CommandRequest, CommandResult
from legato.chat.commands import (
    conversation_commands,
    info_commands,
    model_commands,
    participant_commands,
    reply_commands,
)
from legato.chat.commands.base import ChatCommand, CommandCall
from legato.chat.commands.markdown import code
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

BUILT_IN = [
    *info_commands.COMMANDS,
    *participant_commands.COMMANDS,
    *conversation_commands.COMMANDS,
    *model_commands.COMMANDS,
    *reply_commands.COMMANDS,
]


def make_commands(service: ChatService) -> Commands:
    """Return the commands of a server: the built-in ones, then those of other packages."""
    commands = Commands(service, BUILT_IN)
    commands.load()
    return commands
