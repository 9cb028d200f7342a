"""The contract of a command: what a person types behind a `/`, answered by the server and never by a model."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Literal

from msgspec import Struct

from legato.chat.message_tree import MessageTree
from legato.domain.user import User
from legato.errors import ForbiddenError, InvalidError
from legato.storage.base import TurnStarted

if TYPE_CHECKING:
    from legato.chat.commands.registry import Commands
    from legato.chat.service import ChatService

Needs = Literal["nothing", "read", "write", "own"]
"""Where it can be given: anywhere, or in a conversation that one may read, write or own."""


class CommandRequest(Struct, frozen=True):
    """A command as it came in. `conversation` is where it was typed, `assistant` whom a new conversation would be with.

    A `client_message_id` that came before with the same text, from the same person and the same place, is answered as it was then.
    """

    person: User
    text: str
    conversation: str | None = None
    assistant: str | None = None
    client_message_id: str | None = None


class CommandResult(Struct, frozen=True):
    """What the person is told: `text` is Markdown. `failed`: nothing was done.

    `conversation` is another one to be shown now, `begun` the reply that the command had written.
    """

    name: str
    text: str
    failed: bool = False
    conversation: str | None = None
    begun: TurnStarted | None = None


class CommandCall(Struct, frozen=True):
    """What a command is given: who asks for what, and the service that does it."""

    asked: CommandRequest
    command: "ChatCommand"
    arguments: str
    service: "ChatService"
    commands: "Commands"

    @property
    def person(self) -> User:
        return self.asked.person

    @property
    def conversation(self) -> str:
        """:raises InvalidError: it was typed outside of any."""
        if self.asked.conversation is None:
            raise InvalidError("There is no conversation yet. Say something first, or begin one with /new.")
        return self.asked.conversation

    async def tree(self) -> MessageTree:
        """:raises NotFoundError: the conversation is not there, or not this person's."""
        return await self.service.conversation(self.person, self.conversation)

    async def must(self, needs: Needs) -> None:
        """:raises NotFoundError: it is not this person's conversation. :raises ForbiddenError: the person may not do that there."""
        if needs == "nothing":
            return
        standing = await self.service.people.role(self.person, self.conversation)
        if needs == "own" and standing != "owner":
            raise ForbiddenError("Only the owner of this conversation can do that.")
        if needs == "write" and standing == "viewer":
            raise ForbiddenError(
                "You can read this conversation, but not write in it. Its owner can change that."
            )

    def answer(
        self, text: str, *, conversation: str | None = None, begun: TurnStarted | None = None
    ) -> CommandResult:
        return CommandResult(self.command.name, text, False, conversation, begun)

    def usage(self) -> InvalidError:
        """What to raise where the arguments make no sense."""
        return InvalidError(f"It is written {code(self.command.written)}.")


Run = Callable[[CommandCall], Awaitable[CommandResult]]


class ChatCommand(Struct, frozen=True, kw_only=True):
    """One command. `usage` shows its arguments (`[text]` may be left out), `help` says in a sentence what it does.

    Where `run` raises a `LegatoError`, its sentence is the answer, and the command counts as failed.
    """

    name: str
    help: str
    run: Run
    usage: str = ""
    aliases: tuple[str, ...] = ()
    needs: Needs = "read"

    @property
    def written(self) -> str:
        return f"/{self.name} {self.usage}".rstrip()


def code(text: str) -> str:
    """Text in Markdown as it stands, on one line."""
    plain = " ".join(text.replace("`", "'").split())
    return f"`{plain}`" if plain else ""
