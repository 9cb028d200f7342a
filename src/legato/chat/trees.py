"""The conversations in memory: read once, then carried along with every write."""

from collections import OrderedDict

from legato.chat.conversation import Tree
from legato.storage.base import Conversation, Message, Storage

TREES = 1000
"""Conversations whose messages are kept in memory."""

REVISIONS = 20_000
"""Conversations whose last written revision is remembered."""


class Trees:
    """A cache that never shows less than this server has written.

    A tree that was read while a write went on may lack it; revisions tell, and then it is read again.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._trees: OrderedDict[str, Tree] = OrderedDict()
        self._written: OrderedDict[str, int] = OrderedDict()

    async def get(self, conversation: str) -> Tree | None:
        """The conversation with all its messages, or None where there is none."""
        while (tree := self._trees.get(conversation)) is None:
            found = await self._storage.conversation(conversation)
            if found is None:
                return None
            messages = await self._storage.messages(conversation)
            if self._written.get(conversation, 0) <= found.revision:
                self._keep(Tree(found, messages))
        self._trees.move_to_end(conversation)
        return tree

    def seen(self, conversation: str) -> Tree | None:
        """The tree, where memory has it."""
        return self._trees.get(conversation)

    def wrote(self, conversation: Conversation, *messages: Message | None) -> None:
        """Carry a write over into memory, where memory has all that came before it."""
        self._written[conversation.id] = max(self._written.pop(conversation.id, 0), conversation.revision)
        while len(self._written) > REVISIONS:
            self._written.popitem(last=False)
        tree = self._trees.get(conversation.id)
        if tree is None and conversation.revision == 1:
            tree = Tree(conversation)
            self._keep(tree)
        if tree is None:
            return
        if tree.conversation.revision not in (conversation.revision - 1, conversation.revision):
            del self._trees[conversation.id]
            return
        tree.conversation = conversation
        for message in messages:
            if message is not None:
                tree.put(message)

    def drop(self, conversation: str) -> None:
        """It was deleted, or something was written that memory does not have."""
        self._trees.pop(conversation, None)

    def _keep(self, tree: Tree) -> None:
        self._trees[tree.conversation.id] = tree
        self._trees.move_to_end(tree.conversation.id)
        while len(self._trees) > TREES:
            self._trees.popitem(last=False)
