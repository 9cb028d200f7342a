"""Who may do what in a conversation. Every action asks here, and gets an answer from what is true at that moment.

What writes is checked again in the transaction that writes, by `by` in the contract of storage.
"""

from legato.chat.conversation_cache import ConversationCache
from legato.chat.message_tree import MessageTree
from legato.domain.participant import NOT_FOUND, OWNER_ONLY, READ_ONLY, Needs, ParticipantRole
from legato.domain.user import User
from legato.errors import ForbiddenError, NotFoundError
from legato.storage.base import ParticipantStore

NO_MESSAGE = "There is no such message in this conversation."


class Access:
    """Authorises users. To somebody who takes no part, a conversation looks exactly like one that does not exist.

    Nothing of a conversation is loaded for a user who takes no part in it, so both cost the same, too.
    """

    def __init__(self, cache: ConversationCache, storage: ParticipantStore) -> None:
        self._cache = cache
        self._storage = storage

    async def reader(self, user: User, conversation: str, *, missing: str = NOT_FOUND) -> MessageTree:
        """Return the conversation for a user who may read it: every participant.

        :raises NotFoundError: there is no conversation with this id in which the user takes part; `missing` is its sentence.
        """
        tree, _ = await self._reader(user, conversation, missing)
        return tree

    async def writer(self, user: User, conversation: str) -> MessageTree:
        """Return the conversation for a user who may write in it: its owner and its members.

        :raises NotFoundError: as above. :raises ForbiddenError: the user may only read.
        """
        tree, role = await self._reader(user, conversation)
        if role == "viewer":
            raise ForbiddenError(READ_ONLY)
        return tree

    async def owner(self, user: User, conversation: str) -> MessageTree:
        """Return the conversation for the user who may do everything with it.

        :raises NotFoundError: as above. :raises ForbiddenError: the user is not its owner.
        """
        tree, role = await self._reader(user, conversation)
        if role != "owner":
            raise ForbiddenError(OWNER_ONLY)
        return tree

    async def check(self, user: User, conversation: str, needs: Needs) -> None:
        """Raise what the method for `needs` raises; for `nothing`, do nothing."""
        match needs:
            case "read":
                await self.reader(user, conversation)
            case "write":
                await self.writer(user, conversation)
            case "own":
                await self.owner(user, conversation)
            case "nothing":
                pass

    async def role(self, user: User, conversation: str) -> ParticipantRole:
        """Return the user's role.

        :raises NotFoundError: as above.
        """
        _, role = await self._reader(user, conversation)
        return role

    def known(self, user: str, conversation: str) -> ParticipantRole | None:
        """Return a user's role as far as it is in memory. Right after one of the above returned, it is."""
        tree = self._cache.seen(conversation)
        return tree.role(user) if tree is not None else None

    async def _reader(
        self, user: User, conversation: str, missing: str = NOT_FOUND
    ) -> tuple[MessageTree, ParticipantRole]:
        if self.known(user.id, conversation) is None and not await self.takes_part(user, conversation):
            raise NotFoundError(missing)
        tree = await self._cache.get(conversation)
        role = tree.role(user.id) if tree is not None else None
        if tree is None or role is None:
            raise NotFoundError(missing)
        return tree, role

    async def takes_part(self, user: User, conversation: str) -> bool:
        """Return whether the conversation exists and the user takes part in it, as the database says."""
        return await self._storage.role(user.id, conversation) is not None
