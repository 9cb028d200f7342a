"""The chat service as the user of one socket uses it."""

from typing import Any

from legato.chat.commands import CommandRequest, CommandResult
from legato.chat.watchers import Watcher
from legato.dialects.session import DialectSession
from legato.domain.conversation import Conversation
from legato.domain.user import User
from legato.domain.validation import check_id
from legato.errors import UnauthenticatedError


class UserChat:
    """`assistant` is the one that a new conversation is with."""

    __slots__ = ("_session", "assistant")

    def __init__(self, session: DialectSession[Any], assistant: str) -> None:
        self._session = session
        self.assistant = assistant

    async def get_or_create(
        self, conversation: str, *, join: bool = False, create: bool | None = None
    ) -> Conversation:
        """Return the conversation of this id, if the user may read it. With `create` (by default if auth is off), create one
        that does not exist. With `join`, make the user a participant.

        :raises NotFoundError: it is another user's, or does not exist. :raises InvalidError: this is not an id.
        """
        check_id(conversation, "The id of a conversation")
        context = self._session.context
        if create is None:
            create = context.anyone is not None
        return await context.service.conversations.get_or_create(
            self._user, conversation, assistant=self.assistant, create=create, join=join
        )

    def subscribe(self, conversation: str, watcher: Watcher) -> None:
        """Call `watcher` for each change of a conversation that the user may read."""
        self._session.context.service.subscriptions.subscribe(self._user, conversation, watcher)

    def unsubscribe(self, conversation: str, watcher: Watcher) -> None:
        """Call `watcher` no more."""
        self._session.context.service.subscriptions.unfollow(conversation, watcher)

    async def run_command(
        self, text: str, conversation: str | None, client_message_id: str | None = None
    ) -> CommandResult:
        """Return the answer to a slash command. Raises nothing."""
        return await self._session.context.service.commands.run(
            CommandRequest(self._user, text, conversation, self.assistant, client_message_id)
        )

    @property
    def _user(self) -> User:
        user = self._session.user
        if user is None:
            raise UnauthenticatedError("This server wants to know who you are: send a token.")
        return user
