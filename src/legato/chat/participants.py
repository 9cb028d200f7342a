"""Several people in one conversation: who takes part, how one comes in and goes, who is here, who is typing."""

import asyncio
import hashlib
import logging
import secrets
from collections.abc import Callable, Coroutine
from datetime import datetime, timedelta
from typing import Any

from msgspec import Struct

from legato.chat.access import NOT_FOUND, Access
from legato.chat.conversation_cache import ConversationCache
from legato.chat.presence import Presence, Present, TypingTracker
from legato.chat.watchers import Watcher, Watchers
from legato.domain.conversation import Conversation
from legato.domain.invitation import Invitation
from legato.domain.participant import Participant, ParticipantRole
from legato.domain.user import MAX_USER_NAME_LENGTH, User
from legato.domain.validation import one_line
from legato.errors import ConflictError, InvalidError, LegatoError, NotFoundError
from legato.storage.base import Storage

logger = logging.getLogger(__name__)

WEEK = 7 * 24 * 3600.0
"""For how many seconds an invitation is good, where nothing else is said."""

YEAR = 366 * 24 * 3600.0
"""The longest that one can be good."""

INVITATIONS = 100
"""Invitations of one conversation that can be open at once."""

ANNOUNCED_SECONDS = 0.05
"""Changes of who is here that come within it are told as one: of fifty who come at once, nobody hears fifty times."""

NO_INVITATION = "This invitation is not valid, or no longer. Ask for a new one."
NOBODY = "Nobody of this name takes part in the conversation."


class ParticipantPresence(Struct, frozen=True):
    """A participant, and whether they are here: through so many `connections`."""

    user: str
    name: str | None
    role: ParticipantRole
    connections: int
    typing: bool


def digest_of(secret: str) -> str:
    """What is kept of an invitation's secret."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


class Participants:
    """Part of the service, and authorised like it: by what is true when something is asked."""

    def __init__(
        self,
        storage: Storage,
        trees: ConversationCache,
        access: Access,
        audience: Watchers,
        *,
        clock: Callable[[], float],
        now: Callable[[], datetime],
        new_id: Callable[[], str],
        unfollow: Callable[[str, Watcher], None],
        new_secret: Callable[[], str] = lambda: secrets.token_urlsafe(32),
    ) -> None:
        """`new_secret` makes what an invitation's link ends with, of 128 random bits at the very least."""
        self._storage = storage
        self._trees = trees
        self._access = access
        self._audience = audience
        self._clock = clock
        self._now = now
        self._new_id = new_id
        self._unfollow = unfollow
        self._new_secret = new_secret
        self._presence = Presence()
        self._typing = TypingTracker()
        self._telling: tuple[str, list[ParticipantPresence]] | None = None
        self._lapsing: asyncio.TimerHandle | None = None
        self._due: dict[str, asyncio.TimerHandle] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False
        # What the database did first must be known first, or one who was removed would come back by an older write.
        self._writing = asyncio.Lock()

    def close(self) -> None:
        """Tell nothing more."""
        self._closed = True
        for timer in [*self._due.values(), *([self._lapsing] if self._lapsing is not None else [])]:
            timer.cancel()
        for task in self._tasks:
            task.cancel()

    async def role(self, person: User, conversation: str) -> ParticipantRole:
        """:raises NotFoundError: the person has none, or there is no such conversation."""
        standing = (await self._access.reader(person, conversation)).role(person.id)
        if standing is None:
            raise NotFoundError(NOT_FOUND)
        return standing

    async def roles(self, person: User, conversations: list[Conversation]) -> dict[str, ParticipantRole]:
        """How the person stands in conversations that they were just given."""
        theirs = [each.id for each in conversations if each.owner != person.id]
        found: dict[str, ParticipantRole] = {
            each.id: "owner" for each in conversations if each.owner == person.id
        }
        return found | (await self._storage.roles(person.id, theirs) if theirs else {})

    def known(self, user: str, conversation: str) -> ParticipantRole | None:
        """How somebody stands, as far as memory has it: behind anything that was just asked of a conversation, it has."""
        return self._access.known(user, conversation)

    async def participants(self, person: User, conversation: str) -> list[Participant]:
        """The owner, then those who joined. :raises NotFoundError: as above."""
        return (await self._access.reader(person, conversation)).people()

    async def everybody(self, person: User, conversation: str) -> list[ParticipantPresence]:
        """The participants, each with whether they are here. Nothing happens between that and the return.

        :raises NotFoundError: as above.
        """
        await self._access.reader(person, conversation)
        return self.now(conversation)

    def now(self, conversation: str) -> list[ParticipantPresence]:
        """The same, without a wait, for who was told `on_people` or has just asked for it.

        All who are told at once get the very same list: what is made of it may be made once.
        """
        if self._telling is not None and self._telling[0] == conversation:
            return self._telling[1]
        tree = self._trees.seen(conversation)
        if tree is None:
            return []
        here = self._presence.here(conversation)
        return [
            ParticipantPresence(
                each.user,
                self._presence.name(conversation, each.user) or each.name,
                tree.role(each.user) or "viewer",
                here.get(each.user, 0),
                self._typing.typing(conversation, each.user),
            )
            for each in tree.people()
        ]

    def present(self, conversation: str) -> list[Present]:
        """Those who are here, first come first. For one who is authorised already."""
        return [
            Present(
                user,
                self._presence.name(conversation, user),
                connections,
                self._typing.typing(conversation, user),
            )
            for user, connections in self._presence.here(conversation).items()
        ]

    async def typing(self, person: User, conversation: str, typing: bool) -> None:
        """They type, or no longer do. It lapses by itself, and ends when they send.

        :raises NotFoundError: as above. :raises ForbiddenError: they may only read.
        """
        await self._access.writer(person, conversation)
        if not typing:
            self.typed(conversation, person.id)
        elif self._typing.begin(conversation, person.id, self._clock()):
            self._tell_typing(conversation, person.id, _named(person), True)
            self._arm()

    def typed(self, conversation: str, user: str) -> None:
        """They have sent it, or gave it up."""
        if self._typing.end(conversation, user):
            self._tell_typing(conversation, user, self._presence.name(conversation, user), False)

    def arrived(self, conversation: str, person: User, watcher: Watcher) -> None:
        """A connection of the person watches. One who is alone there is told of nobody.

        Whether they may was asked before; they may have been removed while the database wrote what they came for.
        """
        self._presence.enter(conversation, person.id, _named(person))
        if self._audience.count(conversation) > 1:
            self._announce(conversation)
        if self._trees.seen(conversation) is None:
            self._soon(self._look_again(conversation, person, watcher))
        elif self._access.known(person.id, conversation) is None:
            self._shut_out(conversation, watcher)

    def departed(self, conversation: str, person: User) -> None:
        """It watches no more."""
        if self._presence.leave(conversation, person.id):
            self.typed(conversation, person.id)
        self._announce(conversation)

    async def invite(
        self, person: User, conversation: str, standing: ParticipantRole = "member", ttl: float = WEEK
    ) -> tuple[Invitation, str]:
        """An invitation that is good for `ttl` seconds, and its secret, which is told this once.

        :raises NotFoundError: as above. :raises ForbiddenError: it is not theirs to share.
        :raises InvalidError: for an owner there is no invitation; the time is out of bounds. :raises ConflictError: there are too many.
        """
        await self._access.owner(person, conversation)
        if standing not in ("member", "viewer"):
            raise InvalidError("One can be invited as a member or as a viewer.")
        if not 1 <= ttl <= YEAR:
            raise InvalidError("An invitation can be good for a second to a year.")
        now = self._now()
        if len(await self._storage.invitations(conversation, now)) >= INVITATIONS:
            raise ConflictError(f"There are {INVITATIONS} open invitations already. Take some back first.")
        secret = self._new_secret()
        invitation = Invitation(
            self._new_id(), digest_of(secret), conversation, standing, now, now + timedelta(seconds=ttl)
        )
        await self._storage.invite(invitation)
        if (name := _named(person)) is not None:
            # From now on others may read what the owner wrote, and want to know who that is.
            await self._admit(Participant(conversation, person.id, "owner", now, name))
        return invitation, secret

    async def invitations(self, person: User, conversation: str) -> list[Invitation]:
        """Those by which one can still join. :raises NotFoundError: as above. :raises ForbiddenError: as above."""
        await self._access.owner(person, conversation)
        return await self._storage.invitations(conversation, self._now())

    async def revoke_invitation(self, person: User, conversation: str, invitation: str) -> None:
        """Nobody joins by it any more. :raises NotFoundError: as above, or there is none. :raises ForbiddenError: as above."""
        await self._access.owner(person, conversation)
        if not await self._storage.revoke_invitation(conversation, invitation):
            raise NotFoundError("There is no such invitation.")

    async def join(self, person: User, secret: str) -> Conversation:
        """Take part in what this secret invites to. Doing it again changes nothing, and never lowers a standing.

        :raises NotFoundError: there is no such invitation, or it is over. :raises ConflictError: nobody else fits in.
        """
        async with self._writing:
            joined = await self._storage.join(digest_of(secret), person.id, _named(person), self._now())
            if joined is not None:
                self._trees.joined(joined)
        if joined is None:
            raise NotFoundError(NO_INVITATION)
        self._announce(joined.conversation)
        return (await self._access.reader(person, joined.conversation)).conversation

    async def add_participant(self, person: User, conversation: str) -> None:
        """Let somebody in as a member who came without a link, where that is how the server is set up.

        :raises NotFoundError: there is no such conversation. :raises ConflictError: nobody else fits in.
        """
        await self._admit(Participant(conversation, person.id, "member", self._now(), _named(person)))

    async def leave(self, person: User, conversation: str) -> None:
        """Take part no more. :raises NotFoundError: as above. :raises ConflictError: they own it."""
        tree = await self._access.reader(person, conversation)
        if tree.role(person.id) == "owner":
            raise ConflictError(
                "This conversation is yours. Make somebody else in it the owner first, or delete it."
            )
        await self._expel(conversation, person.id)

    async def remove(self, person: User, conversation: str, user: str) -> None:
        """Somebody takes part no more, and hears nothing more of it from this moment on. Removing oneself is leaving.

        :raises NotFoundError: as above, or `user` does not take part. :raises ForbiddenError: only the owner may.
        """
        if user == person.id:
            await self.leave(person, conversation)
            return
        await self._access.owner(person, conversation)
        await self._expel(conversation, user)

    async def change(
        self, person: User, conversation: str, user: str, standing: ParticipantRole
    ) -> list[Participant]:
        """Another standing for a participant; all of them as they stand now. As `owner` they get the conversation, and who gave it stays as a member.

        :raises NotFoundError: as above, or `user` does not take part. :raises ForbiddenError: only the owner may.
        :raises ConflictError: the owner cannot stop to be it without another.
        """
        await self._access.owner(person, conversation)
        if user == person.id:
            if standing != "owner":
                raise ConflictError("This conversation is yours. Make somebody else in it the owner instead.")
        elif standing == "owner":
            await self._hand_over(conversation, person, user)
        else:
            async with self._writing:
                changed = await self._storage.change_role(conversation, user, standing)
                if changed is not None:
                    self._trees.joined(changed)
            if changed is None:
                raise NotFoundError(NOBODY)
            if standing == "viewer":
                self.typed(conversation, user)
        self._announce(conversation)
        return await self.participants(person, conversation)

    async def _hand_over(self, conversation: str, person: User, user: str) -> None:
        async with self._writing:
            changed = await self._storage.transfer_ownership(conversation, user, self._now())
            if changed is not None:
                self._trees.joined(
                    Participant(conversation, person.id, "member", self._now(), _named(person))
                )
                self._trees.wrote(changed)
        if changed is None:
            raise NotFoundError(NOBODY)
        self._audience.tell(conversation, lambda watcher: watcher.on_conversation(changed))

    async def _admit(self, participant: Participant) -> None:
        async with self._writing:
            self._trees.joined(await self._storage.add_participant(participant))
        self._announce(participant.conversation)

    async def _expel(self, conversation: str, user: str) -> None:
        async with self._writing:
            gone = await self._storage.remove_participant(conversation, user)
            if gone:
                self._trees.left(conversation, user)
        if not gone:
            raise NotFoundError(NOBODY)
        for watcher, person in self._audience.of(conversation).items():
            if person.id == user:
                self._shut_out(conversation, watcher)
        self._announce(conversation)

    def _shut_out(self, conversation: str, watcher: Watcher) -> None:
        self._unfollow(conversation, watcher)
        try:
            watcher.on_deleted(conversation)
        except Exception:
            logger.exception("A watcher of conversation %s failed", conversation)

    async def _look_again(self, conversation: str, person: User, watcher: Watcher) -> None:
        try:
            await self._access.reader(person, conversation)
        except NotFoundError:
            self._shut_out(conversation, watcher)
        except LegatoError as error:
            logger.warning("Conversation %s could not be looked up again: %s", conversation, error.message)

    def _announce(self, conversation: str) -> None:
        """Have those who watch told, in a moment."""
        if not self._closed and conversation not in self._due and self._audience.watched(conversation):
            loop = asyncio.get_running_loop()
            self._due[conversation] = loop.call_later(ANNOUNCED_SECONDS, self._moment, conversation)

    def _moment(self, conversation: str) -> None:
        del self._due[conversation]
        if self._trees.seen(conversation) is not None:
            self._tell_people(conversation)
        elif self._audience.watched(conversation):
            self._soon(self._read_and_tell(conversation))

    def _soon(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work, name="people")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _read_and_tell(self, conversation: str) -> None:
        try:
            if await self._trees.get(conversation) is not None:
                self._tell_people(conversation)
        except LegatoError as error:
            logger.warning("Who is in conversation %s could not be told: %s", conversation, error.message)

    def _tell_people(self, conversation: str) -> None:
        self._telling = (conversation, self.now(conversation))
        try:
            self._audience.tell(conversation, lambda watcher: watcher.on_people(conversation))
        finally:
            self._telling = None

    def _tell_typing(self, conversation: str, user: str, name: str | None, typing: bool) -> None:
        """Let the others know; one's own other devices are no others."""
        mine = {watcher for watcher, person in self._audience.of(conversation).items() if person.id == user}

        def tell(watcher: Watcher) -> None:
            if watcher not in mine:
                watcher.on_typing(conversation, user, name, typing)

        self._audience.tell(conversation, tell)

    def _arm(self) -> None:
        if self._lapsing is None and (when := self._typing.next) is not None:
            wait = max(0.0, when - self._clock())
            self._lapsing = asyncio.get_running_loop().call_later(wait, self._lapse)

    def _lapse(self) -> None:
        self._lapsing = None
        for conversation, user in self._typing.lapse(self._clock()):
            self._tell_typing(conversation, user, self._presence.name(conversation, user), False)
        self._arm()


def _named(person: User) -> str | None:
    """How the person is called, as it can be kept."""
    return one_line(person.name, MAX_USER_NAME_LENGTH) or None if person.name else None
