"""What the chat service and its callers know of commands. `legato.chat.commands` implements them."""

from collections.abc import Sequence
from typing import Protocol

from msgspec import Struct

from legato.domain.participant import Needs
from legato.domain.user import User
from legato.protocol.command_data import CommandData
from legato.storage.base import TurnStarted


class CommandRequest(Struct, frozen=True):
    """A command as it came in. `conversation` is where it was typed, `assistant` the one for a new conversation.

    A `client_message_id` that came before with the same text, from the same user in the same conversation, gets the same result as then.
    """

    user: User
    text: str
    conversation: str | None = None
    assistant: str | None = None
    client_message_id: str | None = None


class CommandResult(Struct, frozen=True):
    """What the user is told: `text` is Markdown. `failed`: nothing was done.

    `conversation` is another one to show now, `started` the reply that the command started.
    `data` is what `text` says, as typed fields: a client shows these, and never parses the text.
    """

    name: str
    text: str
    failed: bool = False
    conversation: str | None = None
    started: TurnStarted | None = None
    data: CommandData | None = None


class CommandInfo(Struct, frozen=True, kw_only=True):
    """How a command is described. `usage` shows its arguments (`[text]` is optional), `help` says in one sentence what it does."""

    name: str
    help: str
    usage: str = ""
    aliases: tuple[str, ...] = ()
    needs: Needs = "read"

    @property
    def written(self) -> str:
        """The command with its arguments, as a user types it."""
        return f"/{self.name} {self.usage}".rstrip()


class CommandRunner(Protocol):
    """Runs the commands of a server."""

    async def run(self, request: CommandRequest) -> CommandResult:
        """Run a command. A command that fails gives a result too; nothing is raised."""
        ...

    def all(self) -> Sequence[CommandInfo]:
        """Return every command, in the order of their names."""
        ...
