"""Who may do what in a conversation. Every action asks here, and is answered from what is true now."""

from legato.chat.conversation_cache import ConversationCache
from legato.chat.message_tree import MessageTree
from legato.domain.participant import ParticipantRole
from legato.domain.user import User
from legato.errors import ForbiddenError, NotFoundError

NOT_FOUND = "There is no such conversation."
NO_MESSAGE = "There is no such message in this conversation."


class Access:
    """To a stranger a conversation looks exactly like one that does not exist."""

    def __init__(self, trees: ConversationCache) -> None:
        self._trees = trees

    async def reader(self, person: User, conversation: str) -> MessageTree:
        """The conversation, for one who may read it: every participant.

        :raises NotFoundError: there is none of this id that the person takes part in.
        """
        tree = await self._trees.get(conversation)
        if tree is None or tree.role(person.id) is None:
            raise NotFoundError(NOT_FOUND)
        return tree

    async def writer(self, person: User, conversation: str) -> MessageTree:
        """The conversation, for one who may write in it: its owner and its members.

        :raises NotFoundError: as above. :raises ForbiddenError: the person may only read.
        """
        tree = await self.reader(person, conversation)
        if tree.role(person.id) == "viewer":
            raise ForbiddenError(
                "You can read this conversation, but not write in it. Its owner can change that."
            )
        return tree

    async def owner(self, person: User, conversation: str) -> MessageTree:
        """The conversation, for the one who may do everything with it.

        :raises NotFoundError: as above. :raises ForbiddenError: it is somebody else's.
        """
        tree = await self.reader(person, conversation)
        if tree.role(person.id) != "owner":
            raise ForbiddenError("Only the owner of this conversation can do that.")
        return tree

    def known(self, user: str, conversation: str) -> ParticipantRole | None:
        """How somebody stands, as far as memory has it: right behind one of the above it has."""
        tree = self._trees.seen(conversation)
        return tree.role(user) if tree is not None else None
