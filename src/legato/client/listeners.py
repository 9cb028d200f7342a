"""Hands events to those that wait for them: requests, replies that are read, and conversation subscriptions."""

import asyncio
import logging
from collections.abc import Callable
from typing import assert_never

from legato.client.events import (
    ClientEvent,
    ConversationRemoved,
    ConversationUpdated,
    ErrorReceived,
    MessageUpdated,
    ParticipantsUpdated,
    RequestAnswered,
    StreamAdvanced,
    StreamRestarted,
    TypingUpdated,
)
from legato.client.reply import ClientReply
from legato.client.state import ClientState
from legato.client.subscription import ConversationSubscription
from legato.errors import LegatoError
from legato.protocol.messages import Ack, ServerAnswer

logger = logging.getLogger(__name__)


class Listeners:
    """`last_error` is the last error of the server that answered no request. `wake` is called if the state has messages to send."""

    def __init__(self, state: ClientState, wake: Callable[[], None]) -> None:
        self._state = state
        self._wake = wake
        self._requests: dict[str, asyncio.Future[ServerAnswer | ClientReply | LegatoError]] = {}
        self._replies: dict[str, list[ClientReply]] = {}
        self._subscriptions: dict[str, list[ConversationSubscription]] = {}
        self.last_error: str | None = None

    async def answer(self, id_: str) -> ServerAnswer | ClientReply | LegatoError:
        """Wait for the answer to a command, or for the reply that it started. Several tasks may wait for the same one."""
        future = self._requests.get(id_)
        if future is None:
            future = self._requests[id_] = asyncio.get_running_loop().create_future()
        return await asyncio.shield(future)

    def subscribe(self, conversation: str) -> ConversationSubscription:
        """Subscribe to a conversation that is followed."""
        subscription = ConversationSubscription(
            self._state.conversations[conversation],
            self._state.streams,
            lambda stream, of: self._open(ClientReply(stream, of)),
            self._unsubscribe,
        )
        self._subscriptions.setdefault(conversation, []).append(subscription)
        return subscription

    def dispatch(self, event: ClientEvent) -> None:
        """Hand an event to all that wait for it."""
        match event:
            case RequestAnswered(id=id_, answer=answer):
                result = self._started(answer) if isinstance(answer, Ack) else answer
                future = self._requests.pop(id_, None)
                if future is not None and not future.done():
                    future.set_result(result)
            case StreamAdvanced(stream=stream) | StreamRestarted(stream=stream):
                for reply in self._replies.get(stream, ()):
                    reply.put(event)
                known = self._state.streams.get(stream)
                if known is not None and known.conversation is not None:
                    self._put(known.conversation, event)
                if isinstance(event, StreamAdvanced) and any(
                    reply.end for reply in self._replies.get(stream, ())
                ):
                    (first, *_) = self._replies.pop(stream)
                    self._release(first.conversation)
            case MessageUpdated(message=message):
                self._put(message.conversation, event)
            case ConversationUpdated(conversation=view):
                self._put(view.id, event)
            case ParticipantsUpdated(conversation=conversation) | TypingUpdated(conversation=conversation):
                self._put(conversation, event)
            case ConversationRemoved(conversation=removed):
                self._put(removed, event)
                for subscription in self._subscriptions.pop(removed, []):
                    subscription.end(None)
            case ErrorReceived(error=error):
                self.last_error = error.message
                logger.warning("the server sent an error: %s", error.message)
            case _:
                assert_never(event)

    def close(self, error: LegatoError) -> None:
        """Give `error` to all that wait: nothing more will come."""
        for future in self._requests.values():
            if not future.done():
                future.set_result(error)
        self._requests.clear()
        for replies in self._replies.values():
            for reply in replies:
                reply.close(error)
        for subscriptions in self._subscriptions.values():
            for subscription in subscriptions:
                subscription.end(error)
        self._replies.clear()
        self._subscriptions.clear()

    def _put(self, conversation: str, event: ClientEvent) -> None:
        for subscription in self._subscriptions.get(conversation, ()):
            subscription.put(event)

    def _started(self, ack: Ack) -> ClientReply:
        stream = self._state.streams[ack.reply]
        return self._open(ClientReply(stream, ack.conversation, ack.message, ack.duplicate))

    def _open(self, reply: ClientReply) -> ClientReply:
        if reply.end is None:
            self._replies.setdefault(reply.id, []).append(reply)
        return reply

    def _unsubscribe(self, subscription: ConversationSubscription) -> None:
        subscriptions = self._subscriptions.get(subscription.id, [])
        if subscription in subscriptions:
            subscriptions.remove(subscription)
            if not subscriptions:
                del self._subscriptions[subscription.id]
            self._release(subscription.id)

    def _release(self, conversation: str) -> None:
        """Unfollow a conversation that has no subscription and no open reply."""
        open_replies = (reply for replies in self._replies.values() for reply in replies)
        if conversation not in self._subscriptions and all(
            each.conversation != conversation for each in open_replies
        ):
            self._state.unfollow(conversation)
            self._wake()
