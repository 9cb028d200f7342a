"""The conversations that one socket of the native dialect follows."""

import asyncio
import logging
from collections.abc import Iterable, Mapping

from legato.dialects.native.codec import encode, fragments
from legato.dialects.native.history import pages_of
from legato.dialects.native.message_frames import MessageFrames
from legato.dialects.native.subscription import NativeSubscription, PeopleFrames
from legato.dialects.reply_encoder import ReplyEncoder
from legato.dialects.serializers import placed_message_view
from legato.dialects.session import DialectSession
from legato.domain.message import Message
from legato.domain.user import User
from legato.errors import InvalidError, NotFoundError
from legato.protocol.messages import (
    ClientMessage,
    ConversationView,
    Follow,
    Following,
    Messages,
    ResetStream,
    ServerMessage,
    Where,
)
from legato.stream import Log

logger = logging.getLogger(__name__)

MAX_CONVERSATIONS = 1000
"""Conversations that one socket may follow."""

MAX_POSITIONS = 100
"""Positions that one `follow` may name."""


class NativeSubscriptions:
    """Follows conversations within `MAX_CONVERSATIONS`. A socket that follows nothing holds no table."""

    __slots__ = (
        "_by_conversation",
        "_encoder",
        "_message_frames",
        "_people_frames",
        "_service",
        "_session",
        "_writable",
    )

    def __init__(
        self,
        session: DialectSession[ClientMessage],
        encoder: ReplyEncoder,
        people_frames: PeopleFrames,
        message_frames: MessageFrames,
    ) -> None:
        self._session = session
        self._encoder = encoder
        self._people_frames = people_frames
        self._message_frames = message_frames
        self._service = session.context.service
        self._by_conversation: dict[str, NativeSubscription] | None = None
        self._writable: asyncio.Event | None = None

    def get(self, conversation: str | None) -> NativeSubscription | None:
        """Return the subscription of a conversation, or None if it is not followed."""
        if self._by_conversation is None or conversation is None:
            return None
        return self._by_conversation.get(conversation)

    def check_capacity(self, conversation: str | None) -> None:
        """:raises InvalidError: the conversation is not followed, and the socket can follow no more."""
        if self.get(conversation) is None and len(self._by_conversation or ()) >= MAX_CONVERSATIONS:
            raise InvalidError(
                f"One socket can follow {MAX_CONVERSATIONS} conversations. Unfollow some first."
            )

    def subscribe(self, user: User, conversation: str, logs: Iterable[Log]) -> NativeSubscription | None:
        """Follow a conversation without its history: send these streams from their beginning, and every later change.

        Return None if the conversation is gone already.

        :raises InvalidError: the socket can follow no more.
        """
        subscription = self._get_or_create(user, conversation)
        self._service.subscriptions.subscribe(user, conversation, subscription)
        if self.get(conversation) is None:
            return None
        subscription.ready(0, logs, {})
        return subscription

    async def follow(self, user: User, command: Follow) -> None:
        """Send the history of a conversation since a revision, then its streams from their positions, then every change.

        :raises InvalidError: too many positions, or the socket can follow no more.
        :raises NotFoundError: there is no such conversation for this user.
        """
        if len(command.positions) > MAX_POSITIONS:
            raise InvalidError(
                f"One follow can name {MAX_POSITIONS} positions; this one has {len(command.positions)}."
            )
        service, name = self._service, command.conversation
        subscription = self._get_or_create(user, name)
        subscription.hold()
        try:
            conversation, messages = await service.subscriptions.follow(
                user, name, subscription, command.since
            )
            await self._send_history(command.id, subscription.view(conversation), messages)
            positions = {where.stream: where for where in command.positions}
            ended = await self._ended_logs(user, name, positions)
            await service.participants.role(user, name)
        except BaseException:
            self.unfollow(name)
            raise
        if self.get(name) is not subscription:
            # The conversation was deleted, or the socket closed, while this ran.
            service.subscriptions.unfollow(name, subscription)
            return
        logs = {log.stream: log for log in [*ended, *service.subscriptions.logs(name)]}
        subscription.ready(conversation.revision, logs.values(), positions)
        subscription.on_people(name)

    def unfollow(self, conversation: str) -> None:
        """Follow a conversation no more. Does nothing if it is not followed."""
        subscription = (self._by_conversation or {}).pop(conversation, None)
        if subscription is not None:
            subscription.close()
            self._service.subscriptions.unfollow(conversation, subscription)

    def on_writable(self) -> None:
        """Mark the subscribers, and go on with a history that waits."""
        for subscription in (self._by_conversation or {}).values():
            subscription.mark()
        if self._writable is not None:
            self._writable.set()

    def close(self) -> None:
        """Unfollow everything; the socket is gone."""
        if self._writable is not None:
            self._writable.set()
        for conversation in list(self._by_conversation or ()):
            self.unfollow(conversation)

    def _get_or_create(self, user: User, conversation: str) -> NativeSubscription:
        self.check_capacity(conversation)
        if self._by_conversation is None:
            self._by_conversation = {}
        subscription = self._by_conversation.get(conversation)
        if subscription is None:
            session = self._session
            subscription = self._by_conversation[conversation] = NativeSubscription(
                conversation,
                session.socket,
                session.context.flusher,
                self._encoder.encoder(session.socket.frame),
                user.id,
                self._people_frames,
                self._message_frames,
                self.unfollow,
            )
        return subscription

    async def _ended_logs(self, user: User, conversation: str, positions: Mapping[str, Where]) -> list[Log]:
        """Return the logs of the positions whose replies have ended. A stream that is gone is reset."""
        ended = []
        for stream in positions.keys() - {
            log.stream for log in self._service.subscriptions.logs(conversation)
        }:
            try:
                of, log = await self._service.subscriptions.log(user, stream)
                if of == conversation:
                    ended.append(log)
                    continue
            except NotFoundError:
                logger.debug("A position in stream %s, which is gone", stream)
            self._send(ResetStream(stream, "gone"))
        return ended

    async def _send_history(
        self, re: str | None, conversation: ConversationView, messages: list[Message]
    ) -> None:
        first, *others = pages_of([placed_message_view(message) for message in messages])
        await self._send_slowly(
            Following(re=re, conversation=conversation, messages=first, more=bool(others))
        )
        for left, page in zip(range(len(others) - 1, -1, -1), others, strict=True):
            await self._wait_until_writable()
            await self._send_slowly(Messages(conversation=conversation.id, messages=page, more=left > 0))

    async def _send_slowly(self, message: ServerMessage) -> None:
        """Send a message; if it is long, each fragment when the socket is writable."""
        first, *rest = fragments(encode(message))
        self._session.send(first)
        for frame in rest:
            await self._wait_until_writable()
            self._session.send(frame)

    async def _wait_until_writable(self) -> None:
        """Return when the socket is writable, or is gone."""
        while not self._session.socket.writable and not self._session.is_closed:
            self._writable = asyncio.Event()
            await self._writable.wait()
        self._writable = None

    def _send(self, message: ServerMessage) -> None:
        for frame in fragments(encode(message)):
            self._session.send(frame)
