"""Those who wait for something of a client: for an answer, for a reply's words, for what happens in a conversation."""

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
from legato.client.reply import ClientReply, ConversationSubscription
from legato.client.state import ClientState
from legato.errors import LegatoError
from legato.protocol.messages import Ack, ServerAnswer

logger = logging.getLogger(__name__)


class Listeners:
    """`complaint` is what the server said last that was no answer to anything. `wake` has the state's words sent."""

    def __init__(self, state: ClientState, wake: Callable[[], None]) -> None:
        self._state = state
        self._wake = wake
        self._waiting: dict[str, asyncio.Future[ServerAnswer | ClientReply | LegatoError]] = {}
        self._replies: dict[str, list[ClientReply]] = {}
        self._watches: dict[str, list[ConversationSubscription]] = {}
        self.complaint: str | None = None

    async def answer(self, name: str) -> ServerAnswer | ClientReply | LegatoError:
        """What the command `name` is answered with: a reply, where it began one. Two may wait, and one of them give up."""
        future = self._waiting.get(name)
        if future is None:
            future = self._waiting[name] = asyncio.get_running_loop().create_future()
        return await asyncio.shield(future)

    def watch(self, conversation: str) -> ConversationSubscription:
        """A watch on a conversation that is followed."""
        watch = ConversationSubscription(
            self._state.conversations[conversation],
            self._state.streams,
            lambda stream, of: self._open(ClientReply(stream, of)),
            self._leave,
        )
        self._watches.setdefault(conversation, []).append(watch)
        return watch

    def tell(self, happening: ClientEvent) -> None:
        """Hand on what happened to those whom it concerns."""
        match happening:
            case RequestAnswered(id=name, answer=answer):
                result = self._begun(answer) if isinstance(answer, Ack) else answer
                future = self._waiting.pop(name, None)
                if future is not None and not future.done():
                    future.set_result(result)
            case StreamAdvanced(stream=stream) | StreamRestarted(stream=stream):
                for reply in self._replies.get(stream, ()):
                    reply.told(happening)
                known = self._state.streams.get(stream)
                if known is not None and known.conversation is not None:
                    self._tell_watches(known.conversation, happening)
                if isinstance(happening, StreamAdvanced) and any(
                    reply.end for reply in self._replies.get(stream, ())
                ):
                    (first, *_) = self._replies.pop(stream)
                    self._release(first.conversation)
            case MessageUpdated(message=message):
                self._tell_watches(message.conversation, happening)
            case ConversationUpdated(conversation=view):
                self._tell_watches(view.id, happening)
            case ParticipantsUpdated(conversation=conversation) | TypingUpdated(conversation=conversation):
                self._tell_watches(conversation, happening)
            case ConversationRemoved(conversation=gone):
                self._tell_watches(gone, happening)
                for watch in self._watches.pop(gone, []):
                    watch.closed(None)
            case ErrorReceived(error=error):
                self.complaint = error.message
                logger.warning("the server complains: %s", error.message)
            case _:
                assert_never(happening)

    def _tell_watches(self, conversation: str, happening: ClientEvent) -> None:
        for watch in self._watches.get(conversation, ()):
            watch.told(happening)

    def _begun(self, ack: Ack) -> ClientReply:
        stream = self._state.streams[ack.reply]
        return self._open(ClientReply(stream, ack.conversation, ack.message, ack.duplicate))

    def _open(self, reply: ClientReply) -> ClientReply:
        if reply.end is None:
            self._replies.setdefault(reply.id, []).append(reply)
        return reply

    def _leave(self, watch: ConversationSubscription) -> None:
        watches = self._watches.get(watch.id, [])
        if watch in watches:
            watches.remove(watch)
            if not watches:
                del self._watches[watch.id]
            self._release(watch.id)

    def _release(self, conversation: str) -> None:
        """Follow a conversation no more in which nobody here takes an interest."""
        open_replies = (reply for replies in self._replies.values() for reply in replies)
        if conversation not in self._watches and all(
            each.conversation != conversation for each in open_replies
        ):
            self._state.unfollow(conversation)
            self._wake()

    def close(self, error: LegatoError) -> None:
        """Nothing more will happen."""
        for future in self._waiting.values():
            if not future.done():
                future.set_result(error)
        self._waiting.clear()
        for replies in self._replies.values():
            for reply in replies:
                reply.close(error)
        for watches in self._watches.values():
            for watch in watches:
                watch.closed(error)
        self._replies.clear()
        self._watches.clear()
