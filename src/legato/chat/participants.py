"""Who takes part in a conversation: roles, invitations, joining, leaving, removing."""

import asyncio
import hashlib
import secrets
from collections.abc import Callable
from datetime import datetime, timedelta

from msgspec import Struct

from legato.chat.access import Access
from legato.chat.conversation_cache import ConversationCache
from legato.chat.conversation_presence import ConversationPresence, display_name
from legato.chat.subscriptions import Subscriptions
from legato.chat.watchers import Watchers
from legato.domain.conversation import Conversation
from legato.domain.invitation import Invitation
from legato.domain.participant import OWNER_STAYS, Participant, ParticipantRole
from legato.domain.user import User
from legato.errors import ConflictError, InvalidError, NotFoundError
from legato.storage.base import Storage

WEEK = 7 * 24 * 3600.0
"""Seconds that an invitation is valid by default."""

YEAR = 366 * 24 * 3600.0
"""Seconds that an invitation can be valid at most."""

INVITATIONS = 100
"""Open invitations of one conversation at most."""

NO_INVITATION = "This invitation is not valid, or no longer. Ask for a new one."
NOBODY = "Nobody of this name takes part in the conversation."


def digest_of(secret: str) -> str:
    """Return what is stored of an invitation's secret."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


class InvitationDescription(Struct, frozen=True):
    """What an invitation invites to. `conversation` is its id if the user takes part already; else nobody learns it before they join."""

    title: str
    owner: str
    owner_name: str | None
    role: ParticipantRole
    expires_at: datetime
    conversation: str | None


class Participants:
    """Reads and changes who takes part. Each call is authorised by what is true at that moment."""

    def __init__(
        self,
        storage: Storage,
        cache: ConversationCache,
        access: Access,
        watchers: Watchers,
        subscriptions: Subscriptions,
        presence: ConversationPresence,
        *,
        now: Callable[[], datetime],
        new_id: Callable[[], str],
        new_secret: Callable[[], str] = lambda: secrets.token_urlsafe(32),
    ) -> None:
        """`new_secret` makes the end of an invitation's link, with at least 128 random bits."""
        self._storage = storage
        self._cache = cache
        self._access = access
        self._watchers = watchers
        self._subscriptions = subscriptions
        self._presence = presence
        self._now = now
        self._new_id = new_id
        self._new_secret = new_secret
        # Memory must take changes in the order of the database, or an older write would bring back a removed user.
        self._writing = asyncio.Lock()

    async def role(self, user: User, conversation: str) -> ParticipantRole:
        """Return the user's role.

        :raises NotFoundError: there is no conversation with this id in which the user takes part.
        """
        return await self._access.role(user, conversation)

    async def roles(self, user: User, conversations: list[Conversation]) -> dict[str, ParticipantRole]:
        """Return the user's role in each of some conversations that they were just given."""
        others = [each.id for each in conversations if each.owner != user.id]
        found: dict[str, ParticipantRole] = {
            each.id: "owner" for each in conversations if each.owner == user.id
        }
        return found | (await self._storage.roles(user.id, others) if others else {})

    def known_role(self, user: str, conversation: str) -> ParticipantRole | None:
        """Return a user's role as far as it is in memory. Right after a conversation was asked for, it is."""
        return self._access.known(user, conversation)

    async def participants(self, user: User, conversation: str) -> list[Participant]:
        """Return the owner, then those who joined. :raises NotFoundError: as above."""
        return (await self._access.reader(user, conversation)).people()

    async def invite(
        self, user: User, conversation: str, role: ParticipantRole = "member", ttl: float = WEEK
    ) -> tuple[Invitation, str]:
        """Create an invitation that is valid for `ttl` seconds, and return it with its secret, which is told only this once.

        :raises NotFoundError: as above. :raises ForbiddenError: the user is not its owner.
        :raises InvalidError: nobody can be invited as an owner; the time is out of bounds. :raises ConflictError: there are too many.
        """
        await self._access.owner(user, conversation)
        if role not in ("member", "viewer"):
            raise InvalidError("One can be invited as a member or as a viewer.")
        if not 1 <= ttl <= YEAR:
            raise InvalidError("An invitation can be good for a second to a year.")
        now = self._now()
        secret = self._new_secret()
        invitation = Invitation(
            self._new_id(), digest_of(secret), conversation, role, now, now + timedelta(seconds=ttl)
        )
        # From now on others may read what the owner wrote, and want to know the owner's name.
        name = display_name(user)
        async with self._writing:
            owner = await self._storage.invite(invitation, INVITATIONS, by=user.id, name=name)
            if owner is not None:
                self._cache.joined(owner)
        if owner is not None:
            self._presence.announce(conversation)
        return invitation, secret

    async def invitations(self, user: User, conversation: str) -> list[Invitation]:
        """Return the invitations that are still valid. :raises NotFoundError: as above. :raises ForbiddenError: as above."""
        await self._access.owner(user, conversation)
        return await self._storage.invitations(conversation, self._now())

    async def revoke_invitation(self, user: User, conversation: str, invitation: str) -> None:
        """Make an invitation invalid. :raises NotFoundError: as above, or there is none. :raises ForbiddenError: as above."""
        await self._access.owner(user, conversation)
        if not await self._storage.revoke_invitation(conversation, invitation, by=user.id):
            raise NotFoundError("There is no such invitation.")

    async def preview(self, user: User, secret: str) -> InvitationDescription:
        """Return what the user would join with this secret. Nothing changes.

        :raises NotFoundError: there is no such invitation, or it has expired.
        """
        invitation = await self._storage.invitation(digest_of(secret), self._now())
        if invitation is None:
            raise NotFoundError(NO_INVITATION)
        conversation = await self._storage.conversation(invitation.conversation)
        if conversation is None:
            raise NotFoundError(NO_INVITATION)
        people = await self._storage.participants(conversation.id)
        owner = next((each for each in people if each.role == "owner"), None)
        own = await self._storage.role(user.id, conversation.id)
        return InvitationDescription(
            conversation.title,
            conversation.owner,
            owner.name if owner is not None else None,
            invitation.role,
            invitation.expires_at,
            conversation.id if own is not None else None,
        )

    async def join(self, user: User, secret: str) -> Conversation:
        """Join the conversation that this secret invites to. Joining again changes nothing, and never lowers a role.

        :raises NotFoundError: there is no such invitation, or it has expired. :raises ConflictError: the conversation is full.
        """
        async with self._writing:
            joined = await self._storage.join(digest_of(secret), user.id, display_name(user), self._now())
            if joined is not None:
                self._cache.joined(joined)
        if joined is None:
            raise NotFoundError(NO_INVITATION)
        self._presence.announce(joined.conversation)
        return (await self._access.reader(user, joined.conversation)).conversation

    async def add_participant(self, user: User, conversation: str) -> None:
        """Add a user as a member without an invitation, if the server is set up that way.

        :raises NotFoundError: there is no such conversation. :raises ConflictError: the conversation is full.
        """
        await self._add(Participant(conversation, user.id, "member", self._now(), display_name(user)))

    async def leave(self, user: User, conversation: str) -> None:
        """Take part no more. :raises NotFoundError: as above. :raises ConflictError: the user is its owner."""
        if await self._access.role(user, conversation) == "owner":
            raise ConflictError(OWNER_STAYS)
        await self._remove(user, conversation, user.id)

    async def remove(self, user: User, conversation: str, participant: str) -> None:
        """Remove a participant, who is told nothing more of it from this moment on. To remove oneself is to leave.

        :raises NotFoundError: as above, or `participant` does not take part. :raises ForbiddenError: only the owner may.
        """
        if participant == user.id:
            await self.leave(user, conversation)
            return
        await self._access.owner(user, conversation)
        await self._remove(user, conversation, participant)

    async def change(
        self, user: User, conversation: str, participant: str, role: ParticipantRole
    ) -> list[Participant]:
        """Change the role of a participant, and return all participants. A new `owner` takes the place of the old one, who becomes a member.

        :raises NotFoundError: as above, or `participant` does not take part. :raises ForbiddenError: only the owner may.
        :raises ConflictError: the owner cannot give up the role without naming another.
        """
        await self._access.owner(user, conversation)
        if participant == user.id:
            if role != "owner":
                raise ConflictError("This conversation is yours. Make somebody else in it the owner instead.")
        elif role == "owner":
            await self._transfer_ownership(conversation, user, participant)
        else:
            async with self._writing:
                changed = await self._storage.change_role(conversation, participant, role, by=user.id)
                if changed is not None:
                    self._cache.joined(changed)
            if changed is None:
                raise NotFoundError(NOBODY)
            if role == "viewer":
                self._presence.typed(conversation, participant)
        self._presence.announce(conversation)
        return await self.participants(user, conversation)

    async def _transfer_ownership(self, conversation: str, owner: User, new_owner: str) -> None:
        async with self._writing:
            changed = await self._storage.transfer_ownership(
                conversation, new_owner, self._now(), by=owner.id
            )
            if changed is not None:
                self._cache.joined(
                    Participant(conversation, owner.id, "member", self._now(), display_name(owner))
                )
                self._cache.wrote(changed)
        if changed is None:
            raise NotFoundError(NOBODY)
        self._watchers.tell(conversation, lambda watcher: watcher.on_conversation(changed))

    async def _add(self, participant: Participant) -> None:
        async with self._writing:
            self._cache.joined(await self._storage.add_participant(participant))
        self._presence.announce(participant.conversation)

    async def _remove(self, by: User, conversation: str, participant: str) -> None:
        async with self._writing:
            removed = await self._storage.remove_participant(conversation, participant, by=by.id)
            if removed:
                self._cache.left(conversation, participant)
        if not removed:
            raise NotFoundError(NOBODY)
        self._subscriptions.shut_out_user(conversation, participant)
        self._presence.announce(conversation)
