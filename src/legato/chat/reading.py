"""The reading half of the service: what is there, for those who take part in it, and word of what happens."""

from collections.abc import Mapping
from datetime import datetime

from legato.chat.abandonment import Abandonment
from legato.chat.access import Access
from legato.chat.conversation_cache import ConversationCache
from legato.chat.conversation_settings import with_settings
from legato.chat.counters import Counters
from legato.chat.message_tree import MessageTree
from legato.chat.participants import Participants
from legato.chat.reply import ResolvedAssistant, stored_log
from legato.chat.runner import ReplyRunner
from legato.chat.watchers import Watcher, Watchers
from legato.domain.conversation import Conversation
from legato.domain.message import Message
from legato.domain.user import User
from legato.domain.validation import clean_text
from legato.errors import InvalidError, NotFoundError
from legato.storage.base import SearchHit, Storage
from legato.stream import Log


class Reading:
    """What every participant may ask, and viewers nothing else."""

    _storage: Storage
    _trees: ConversationCache
    _audience: Watchers
    _runner: ReplyRunner
    _unwatched: Abandonment
    _access: Access
    _draining: bool
    _speakers: Mapping[str, ResolvedAssistant]
    people: Participants

    @property
    def assistants(self) -> Mapping[str, ResolvedAssistant]:
        """Who speaks for each assistant."""
        return self._speakers

    def assistant_of(self, conversation: Conversation) -> ResolvedAssistant:
        """Who speaks in a conversation; `default` for one whose assistant is no longer set up."""
        base = self._speakers.get(conversation.assistant) or self._speakers["default"]
        return with_settings(base, conversation.settings)

    def assistant_named(self, assistant: str | None) -> ResolvedAssistant:
        """Who would speak in a new conversation.

        :raises InvalidError: there is no such assistant.
        """
        name = assistant if assistant is not None else "default"
        if name not in self._speakers:
            known = ", ".join(sorted(self._speakers))
            raise InvalidError(f"There is no assistant called {name[:80]!r}. There is: {known}.")
        return self._speakers[name]

    @property
    def running(self) -> int:
        """How many replies are being written or wait in line."""
        return len(self._runner.replies)

    @property
    def counters(self) -> Counters:
        """What was counted since the start."""
        return self._runner.tally

    @property
    def draining(self) -> bool:
        """Whether no more messages are taken, because the server is about to stop."""
        return self._draining

    async def conversation(self, person: User, conversation: str) -> MessageTree:
        """:raises NotFoundError: there is none of this id in which this person takes part."""
        return await self._access.reader(person, conversation)

    async def conversations(
        self, person: User, limit: int = 50, before: tuple[datetime, str] | None = None
    ) -> list[Conversation]:
        return await self._storage.conversations(person.id, limit, before)

    async def search(self, person: User, query: str, limit: int = 20) -> list[SearchHit]:
        return await self._storage.search(person.id, clean_text(query), limit)

    async def follow(
        self, person: User, conversation: str, watcher: Watcher, since: int = 0
    ) -> tuple[Conversation, list[Message]]:
        """Be told of what happens from now on, and get what was written at revision `since` and after it.

        The watcher hears of changes before this returns; what it hears and what is returned may overlap (compare
        revisions), and leaves no gap. One revision may be several messages, of which the asker may have one only.

        :raises NotFoundError: there is no such conversation. Then nothing is followed.
        """
        await self._access.reader(person, conversation)
        self.subscribe(person, conversation, watcher)
        try:
            tree = await self._access.reader(person, conversation)
        except BaseException:
            self.unfollow(conversation, watcher)
            raise
        return tree.conversation, [message for message in tree.messages.values() if message.revision >= since]

    def subscribe(self, person: User, conversation: str, watcher: Watcher) -> None:
        """Be told from now on, without what was before.

        The caller has just asked whether its person may. Where they may no longer, `on_deleted` comes at once or soon.
        """
        if self._audience.add(conversation, watcher, person):
            self.people.arrived(conversation, person, watcher)
        self._unwatched.end(conversation)

    def unfollow(self, conversation: str, watcher: Watcher) -> None:
        """Be told no more. Where nobody is left, the assistant says what becomes of a running reply.

        Not while the server is about to stop: then it is the server that leaves, and its viewers come back to the next.
        """
        person = self._audience.remove(conversation, watcher)
        if person is None:
            return
        self.people.departed(conversation, person)
        if not self._draining and not self._audience.watched(conversation):
            self._unwatched.begin(conversation)

    def evict(self, conversation: str) -> bool:
        """Keep nothing of it in memory: whoever asks for it finds it in the database. False where somebody watches it, or
        a reply is being written."""
        if self._audience.watched(conversation) or self._runner.replies.of(conversation):
            return False
        self._trees.drop(conversation)
        self._runner.replies.forget(conversation)
        return True

    def running_log(self, reply: str) -> Log | None:
        """The log of a reply that is being written."""
        running = self._runner.replies.get(reply)
        return running.log if running is not None else None

    def logs(self, conversation: str) -> list[Log]:
        """The logs of the running replies of a conversation, in their order."""
        return [reply.log for reply in self._runner.replies.of(conversation)]

    async def log(self, person: User, stream: str) -> tuple[str, Log]:
        """The conversation and the log of any reply: running, ended lately, or told again from its message.

        :raises NotFoundError: there is no such stream that is this person's.
        """
        found = self._runner.replies.log(stream)
        if found is None:
            message = await self._storage.message(stream)
            if message is None or message.role != "assistant":
                raise NotFoundError("There is no such stream.")
            found = self._runner.replies.log(stream) or (message.conversation, stored_log(message))
        tree = await self._trees.get(found[0])
        if tree is None or tree.role(person.id) is None:
            raise NotFoundError("There is no such stream.")
        return found
