"""Those who wait for something of a client: for an answer, for a reply's words, for what happens in a conversation."""

import asyncio
import logging
from collections.abc import Callable
from typing import assert_never

from legato.client.happenings import (
    Answered,
    Complained,
    ConversationGone,
    ConversationTold,
    Happening,
    MessageTold,
    PeopleTold,
    StartedOver,
    Streamed,
    TypingTold,
)
from legato.client.reply import Reply, Watch
from legato.client.state import State
from legato.errors import LegatoError
from legato.protocol.messages import Ack, Answer

logger = logging.getLogger(__name__)


class Listeners:
    """`complaint` is what the server said last that was no answer to anything. `wake` has the state's words sent."""

    def __init__(self, state: State, wake: Callable[[], None]) -> None:
        self._state = state
        self._wake = wake
        self._waiting: dict[str, asyncio.Future[Answer | Reply | LegatoError]] = {}
        self._replies: dict[str, list[Reply]] = {}
        self._watches: dict[str, list[Watch]] = {}
        self.complaint: str | None = None

    async def answer(self, name: str) -> Answer | Reply | LegatoError:
        """What the command `name` is answered with: a reply, where it began one. Two may wait, and one of them give up."""
        future = self._waiting.get(name)
        if future is None:
            future = self._waiting[name] = asyncio.get_running_loop().create_future()
        return await asyncio.shield(future)

    def watch(self, conversation: str) -> Watch:
        """A watch on a conversation that is followed."""
        watch = Watch(
            self._state.conversations[conversation],
            self._state.streams,
            lambda stream, of: self._open(Reply(stream, of)),
            self._leave,
        )
        self._watches.setdefault(conversation, []).append(watch)
        return watch

    def tell(self, happening: Happening) -> None:
        """Hand on what happened to those whom it concerns."""
        match happening:
            case Answered(id=name, answer=answer):
                result = self._begun(answer) if isinstance(answer, Ack) else answer
                future = self._waiting.pop(name, None)
                if future is not None and not future.done():
                    future.set_result(result)
            case Streamed(stream=stream) | StartedOver(stream=stream):
                for reply in self._replies.get(stream, ()):
                    reply.told(happening)
                known = self._state.streams.get(stream)
                if known is not None and known.conversation is not None:
                    self._tell_watches(known.conversation, happening)
                if isinstance(happening, Streamed) and any(
                    reply.end for reply in self._replies.get(stream, ())
                ):
                    (first, *_) = self._replies.pop(stream)
                    self._release(first.conversation)
            case MessageTold(message=message):
                self._tell_watches(message.conversation, happening)
            case ConversationTold(conversation=view):
                self._tell_watches(view.id, happening)
            case PeopleTold(conversation=conversation) | TypingTold(conversation=conversation):
                self._tell_watches(conversation, happening)
            case ConversationGone(conversation=gone):
                self._tell_watches(gone, happening)
                for watch in self._watches.pop(gone, []):
                    watch.closed(None)
            case Complained(error=error):
                self.complaint = error.message
                logger.warning("the server complains: %s", error.message)
            case _:
                assert_never(happening)

    def _tell_watches(self, conversation: str, happening: Happening) -> None:
        for watch in self._watches.get(conversation, ()):
            watch.told(happening)

    def _begun(self, ack: Ack) -> Reply:
        stream = self._state.streams[ack.reply]
        return self._open(Reply(stream, ack.conversation, ack.message, ack.duplicate))

    def _open(self, reply: Reply) -> Reply:
        if reply.end is None:
            self._replies.setdefault(reply.id, []).append(reply)
        return reply

    def _leave(self, watch: Watch) -> None:
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
