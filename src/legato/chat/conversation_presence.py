"""Who is here and who is typing in a conversation, and telling its watchers of it."""

import asyncio
import logging
from collections.abc import Callable

from msgspec import Struct

from legato.broker.base import Connections, PresenceBoard
from legato.chat.access import Access
from legato.chat.conversation_cache import ConversationCache
from legato.chat.presence import ConnectionCounts, Present, TypingTracker
from legato.chat.typing_limits import TypingLimits
from legato.chat.watchers import Watcher, Watchers
from legato.domain.participant import ParticipantRole
from legato.domain.user import MAX_USER_NAME_LENGTH, User
from legato.domain.validation import one_line
from legato.errors import LegatoError

logger = logging.getLogger(__name__)

ANNOUNCED_SECONDS = 0.05
"""Changes of who is here that come within this time are told as one: if fifty users come at once, nobody is told fifty times."""


class ParticipantPresence(Struct, frozen=True):
    """A participant, and through how many `connections` they are here (0: they are not)."""

    user: str
    name: str | None
    role: ParticipantRole
    connections: int
    typing: bool


class ConversationPresence:
    """Tracks the connections and the typing of the users of every conversation. All calls on the event loop's thread."""

    def __init__(
        self,
        cache: ConversationCache,
        access: Access,
        watchers: Watchers,
        board: PresenceBoard,
        *,
        clock: Callable[[], float],
    ) -> None:
        """`board` carries the connections to the other gateways, and has theirs. `clock` is in seconds."""
        self._cache = cache
        self._access = access
        self._watchers = watchers
        self._board = board
        self._clock = clock
        self._connections = ConnectionCounts()
        self._typing = TypingTracker()
        self._typing_limits = TypingLimits()
        self._typing_due: dict[tuple[str, str], asyncio.TimerHandle] = {}
        self._telling: tuple[str, list[ParticipantPresence]] | None = None
        self._lapse_timer: asyncio.TimerHandle | None = None
        self._due: dict[str, asyncio.TimerHandle] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    def close(self) -> None:
        """Tell nothing more."""
        self._closed = True
        lapse = [self._lapse_timer] if self._lapse_timer is not None else []
        for timer in [*self._due.values(), *self._typing_due.values(), *lapse]:
            timer.cancel()
        for task in self._tasks:
            task.cancel()

    async def everybody(self, user: User, conversation: str) -> list[ParticipantPresence]:
        """Return the participants, each with whether they are here. Nothing else happens between the reading and the return.

        :raises NotFoundError: there is no conversation with this id in which the user takes part.
        """
        await self._access.reader(user, conversation)
        return self.now(conversation)

    def now(self, conversation: str) -> list[ParticipantPresence]:
        """Return the same without waiting, for a caller that was told `on_people` or has just been authorised.

        All watchers that are told at once get the very same list, so that it can be encoded once.
        """
        if self._telling is not None and self._telling[0] == conversation:
            return self._telling[1]
        tree = self._cache.seen(conversation)
        if tree is None:
            return []
        here = self._here(conversation)
        absent = Connections(None, 0)
        return [
            ParticipantPresence(
                each.user,
                here.get(each.user, absent).name or each.name,
                tree.role(each.user) or "viewer",
                here.get(each.user, absent).connections,
                self._typing.typing(conversation, each.user),
            )
            for each in tree.people()
        ]

    def present(self, conversation: str) -> list[Present]:
        """Return the users who are here, the one who came first first. The caller is authorised already."""
        return [
            Present(user, each.name, each.connections, self._typing.typing(conversation, user))
            for user, each in self._here(conversation).items()
        ]

    async def typing(self, user: User, conversation: str, typing: bool) -> None:
        """Note that the user types, or no longer does. It lapses by itself, and ends when they send a message.

        :raises NotFoundError: as above. :raises ForbiddenError: the user may only read.
        """
        await self._access.writer(user, conversation)
        if not typing:
            self.typed(conversation, user.id)
        elif self._typing.begin(conversation, user.id, self._clock()):
            self._typing_changed(conversation, user.id, display_name(user))
            self._arm()

    def typed(self, conversation: str, user: str) -> None:
        """Note that the user has sent the message, or gave it up."""
        if self._typing.end(conversation, user):
            self._typing_changed(conversation, user, self._connections.name(conversation, user))

    def arrived(self, conversation: str, user: User) -> None:
        """Count one more connection of a user. If it is the only one there, nobody is told."""
        name = display_name(user)
        self._connections.enter(conversation, user.id, name)
        self._board.set(conversation, user.id, self._connections.count(conversation, user.id), name)
        if self._watchers.count(conversation) > 1:
            self.announce(conversation)

    def departed(self, conversation: str, user: User) -> None:
        """Count one connection of a user less."""
        last = self._connections.leave(conversation, user.id)
        self._board.set(conversation, user.id, self._connections.count(conversation, user.id))
        if last:
            self.typed(conversation, user.id)
        self.announce(conversation)

    def _here(self, conversation: str) -> dict[str, Connections]:
        """Return the users who are here, through this gateway or another."""
        here = {
            user: Connections(self._connections.name(conversation, user), connections)
            for user, connections in self._connections.here(conversation).items()
        }
        for user, other in self._board.elsewhere(conversation).items():
            own = here.get(user, Connections(None, 0))
            here[user] = Connections(own.name or other.name, own.connections + other.connections)
        return here

    def announce(self, conversation: str) -> None:
        """Tell the watchers `on_people` after `ANNOUNCED_SECONDS`."""
        if not self._closed and conversation not in self._due and self._watchers.watched(conversation):
            loop = asyncio.get_running_loop()
            self._due[conversation] = loop.call_later(ANNOUNCED_SECONDS, self._announce_now, conversation)

    def _announce_now(self, conversation: str) -> None:
        del self._due[conversation]
        if self._cache.seen(conversation) is not None:
            self._tell_people(conversation)
        elif self._watchers.watched(conversation):
            task = asyncio.create_task(self._load_and_tell(conversation), name="presence")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _load_and_tell(self, conversation: str) -> None:
        try:
            if await self._cache.get(conversation) is not None:
                self._tell_people(conversation)
        except LegatoError as error:
            logger.warning("Who is in conversation %s could not be told: %s", conversation, error.message)

    def _tell_people(self, conversation: str) -> None:
        self._telling = (conversation, self.now(conversation))
        try:
            self._watchers.tell(conversation, lambda watcher: watcher.on_people(conversation))
        finally:
            self._telling = None

    def _typing_changed(self, conversation: str, user: str, name: str | None) -> None:
        """Tell the others whether the user types. If it changes too often, only the last state is told, a moment later."""
        key = (conversation, user)
        if key in self._typing_due or self._closed:
            return
        typing = self._typing.typing(conversation, user)
        wait = self._typing_limits.tell(conversation, user, typing, self._clock())
        if wait is None:
            return
        if wait:
            loop = asyncio.get_running_loop()
            self._typing_due[key] = loop.call_later(wait, self._typing_due_now, conversation, user, name)
        else:
            self._tell_typing(conversation, user, name, typing)

    def _typing_due_now(self, conversation: str, user: str, name: str | None) -> None:
        del self._typing_due[conversation, user]
        self._typing_changed(conversation, user, name)

    def _tell_typing(self, conversation: str, user: str, name: str | None, typing: bool) -> None:
        """Tell the other users; a user's own other devices are not told."""
        own = {watcher for watcher, of in self._watchers.of(conversation).items() if of.id == user}

        def tell(watcher: Watcher) -> None:
            if watcher not in own:
                watcher.on_typing(conversation, user, name, typing)

        self._watchers.tell(conversation, tell)

    def _arm(self) -> None:
        if self._lapse_timer is None and (when := self._typing.next) is not None:
            wait = max(0.0, when - self._clock())
            self._lapse_timer = asyncio.get_running_loop().call_later(wait, self._lapse)

    def _lapse(self) -> None:
        self._lapse_timer = None
        for conversation, user in self._typing.lapse(self._clock()):
            self._typing_changed(conversation, user, self._connections.name(conversation, user))
        self._arm()


def display_name(user: User) -> str | None:
    """Return the user's name in the form in which it can be stored, or None if they have none."""
    return one_line(user.name, MAX_USER_NAME_LENGTH) or None if user.name else None
