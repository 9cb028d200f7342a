"""The conversations in memory: loaded once, then updated with every write."""

import asyncio
from collections import OrderedDict

from legato.chat.message_tree import MessageTree
from legato.domain.conversation import Conversation
from legato.domain.message import Message
from legato.domain.participant import Participant
from legato.storage.base import Storage

TREES = 1000
"""Conversations whose messages are kept in memory."""

CHARACTERS = 32 * 1024 * 1024
"""Characters that they may have together: a few long conversations take the room of many short ones."""

REVISIONS = 20_000
"""Conversations whose last written revision, and whose last change of participants, is remembered."""


class ConversationCache:
    """A cache that never shows less than this server has written.

    A tree that was read during a write may lack it; revisions and counts of changes show that, and then it is read again.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._trees: OrderedDict[str, MessageTree] = OrderedDict()
        self._loading: dict[str, asyncio.Task[bool]] = {}
        self._written: OrderedDict[str, int] = OrderedDict()
        self._peopled: OrderedDict[str, int] = OrderedDict()
        self._characters = 0

    async def get(self, conversation: str) -> MessageTree | None:
        """Return the conversation with all its messages and participants, or None if there is none.

        Callers who ask at once share one load.
        """
        while (tree := self._trees.get(conversation)) is None:
            joined = self._loading.get(conversation)
            if joined is not None and joined.done():
                # To await it would not yield, so this loop would never let its callback run.
                joined = None
            found = await asyncio.shield(joined if joined is not None else self._start_loading(conversation))
            # A load that began before this call may have missed a conversation that was created meanwhile.
            if not found and joined is None:
                return None
        self._trees.move_to_end(conversation)
        return tree

    def _start_loading(self, conversation: str) -> "asyncio.Task[bool]":
        task = asyncio.create_task(self._load(conversation), name=f"load {conversation}")
        self._loading[conversation] = task
        task.add_done_callback(lambda done: self._loaded(conversation, done))
        return task

    def _loaded(self, conversation: str, task: "asyncio.Task[bool]") -> None:
        if self._loading.get(conversation) is task:
            del self._loading[conversation]
        if not task.cancelled():
            # Those who asked may all have been cancelled; then nobody else takes the error.
            task.exception()

    async def _load(self, conversation: str) -> bool:
        """Read a conversation into memory, and again if it changed meanwhile. Return False if there is none."""
        while True:
            written, peopled = self._written.get(conversation, 0), self._peopled.get(conversation, 0)
            found = await self._storage.conversation(conversation)
            if found is None:
                return False
            messages = await self._storage.messages(conversation)
            participants = await self._storage.participants(conversation)
            # What was written before the read began is in it, whatever its number: one that was deleted may be made anew.
            now = self._written.get(conversation, 0)
            complete = now == written or now <= found.revision
            if complete and self._peopled.get(conversation, 0) == peopled:
                self._keep(MessageTree(found, messages, participants))
                return True

    def seen(self, conversation: str) -> MessageTree | None:
        """Return the conversation if it is in memory."""
        return self._trees.get(conversation)

    def wrote(self, conversation: Conversation, *messages: Message | None, new: bool = False) -> None:
        """Apply a write to memory if memory has all that came before it. `new`: the write has created the conversation."""
        self._remember(conversation.id, conversation.revision)
        tree = self._trees.get(conversation.id)
        if tree is None and new:
            tree = MessageTree(conversation)
            self._keep(tree)
        if tree is None:
            return
        if tree.conversation.revision not in (conversation.revision - 1, conversation.revision):
            self.drop(conversation.id)
            return
        tree.conversation = conversation
        before = tree.characters
        for message in messages:
            if message is not None:
                tree.put(message)
        self._characters += tree.characters - before
        self._shrink()

    def joined(self, participant: Participant) -> None:
        """Note a new participant, or a changed role."""
        self._people_changed(participant.conversation)
        if (tree := self._trees.get(participant.conversation)) is not None:
            tree.participants[participant.user] = participant

    def left(self, conversation: str, user: str) -> None:
        """Note that a user takes part no more."""
        self._people_changed(conversation)
        if (tree := self._trees.get(conversation)) is not None:
            tree.participants.pop(user, None)

    def outdated(self, conversation: str, revision: int) -> None:
        """Note a revision that was written and is not in memory: what is being read now may lack it too."""
        self._remember(conversation, revision)
        self.drop(conversation)

    def deleted(self, conversation: str) -> None:
        """Note a deletion: what is being read of the conversation now does not count."""
        self._people_changed(conversation)
        self.drop(conversation)

    def drop(self, conversation: str) -> None:
        """Remove a conversation from memory."""
        tree = self._trees.pop(conversation, None)
        if tree is not None:
            self._characters -= tree.characters

    def _remember(self, conversation: str, revision: int) -> None:
        self._written[conversation] = max(self._written.pop(conversation, 0), revision)
        while len(self._written) > REVISIONS:
            self._written.popitem(last=False)

    def _people_changed(self, conversation: str) -> None:
        self._peopled[conversation] = self._peopled.pop(conversation, 0) + 1
        while len(self._peopled) > REVISIONS:
            self._peopled.popitem(last=False)

    def _keep(self, tree: MessageTree) -> None:
        self.drop(tree.conversation.id)
        self._trees[tree.conversation.id] = tree
        self._characters += tree.characters
        self._shrink()

    def _shrink(self) -> None:
        """Drop those that were not asked for the longest, except the last one."""
        while len(self._trees) > TREES or (self._characters > CHARACTERS and len(self._trees) > 1):
            self.drop(next(iter(self._trees)))
