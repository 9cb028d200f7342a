"""The contract of a command, and the index of all of them."""

import difflib
from collections.abc import Awaitable, Callable, Iterable

from msgspec import Struct

from legato.chat.command_types import CommandInfo, CommandRequest, CommandResult
from legato.chat.commands.markdown import code
from legato.chat.message_tree import MessageTree
from legato.chat.service import ChatService
from legato.domain.participant import Needs
from legato.domain.user import User
from legato.errors import InvalidError
from legato.protocol.command_data import CommandData
from legato.storage.base import TurnStarted

DEFAULT = ("default", "none", "-")
"""Arguments that reset a setting."""


class CommandCall(Struct, frozen=True):
    """What a command is given: who asks for what, and the service that does it."""

    request: CommandRequest
    command: "ChatCommand"
    arguments: str
    service: ChatService
    index: "CommandIndex"

    @property
    def user(self) -> User:
        return self.request.user

    @property
    def conversation(self) -> str:
        """:raises InvalidError: the command was typed outside of any conversation."""
        if self.request.conversation is None:
            raise InvalidError("There is no conversation yet. Say something first, or begin one with /new.")
        return self.request.conversation

    async def tree(self) -> MessageTree:
        """Return the conversation.

        :raises NotFoundError: it does not exist, or the user takes no part in it.
        """
        return await self.service.conversations.get(self.user, self.conversation)

    async def check(self, needs: Needs) -> None:
        """Check that the user may do this in the conversation.

        :raises NotFoundError: the user takes no part in it. :raises ForbiddenError: the user may not do that there.
        """
        if needs != "nothing":
            await self.service.conversations.check(self.user, self.conversation, needs)

    def answer(
        self,
        text: str,
        data: CommandData | None = None,
        *,
        conversation: str | None = None,
        started: TurnStarted | None = None,
    ) -> CommandResult:
        """Return the result of a command that did what it was asked for. `data` is what the text says, for programs."""
        return CommandResult(self.command.name, text, False, conversation, started, data)

    def usage(self) -> InvalidError:
        """Return what to raise if the arguments make no sense."""
        return InvalidError(f"It is written {code(self.command.written)}.")


Run = Callable[[CommandCall], Awaitable[CommandResult]]


class ChatCommand(CommandInfo, frozen=True, kw_only=True):
    """One command.

    If `run` raises a `LegatoError`, its sentence is the answer, and the command counts as failed.
    """

    run: Run


class CommandIndex:
    """The commands by name and alias. A later command never replaces an earlier one."""

    def __init__(self) -> None:
        self._commands: dict[str, ChatCommand] = {}
        self._named: dict[str, ChatCommand] = {}

    def add(self, commands: Iterable[ChatCommand]) -> None:
        """:raises ValueError: the name of one cannot be typed, or is taken. Those before it are added."""
        for command in commands:
            names = (command.name, *command.aliases)
            for name in names:
                if not name or name != name.lower() or len(name.split()) != 1 or name.startswith("/"):
                    raise ValueError(f"a command cannot be called {name!r}")
                if name in self._named:
                    raise ValueError(f"there is already a command called {name!r}")
            self._commands[command.name] = command
            self._named.update(dict.fromkeys(names, command))

    def all(self) -> list[ChatCommand]:
        """Return every command, in the order of their names."""
        return [self._commands[name] for name in sorted(self._commands)]

    def get(self, name: str) -> ChatCommand | None:
        """Return the command of this name or alias, with or without its `/`."""
        return self._named.get(name.removeprefix("/").lower())

    def near(self, name: str) -> str:
        """Return a sentence that names the command which was probably meant, and how to list all."""
        close = difflib.get_close_matches(name.removeprefix("/").lower(), self._named, n=1, cutoff=0.5)
        meant = f"Did you mean {code('/' + close[0])}? " if close else ""
        return f"{meant}{code('/help')} lists all commands."
