"""The conversation of one socket of the dialect `chunks`."""

from collections import deque
from collections.abc import Iterable

from legato.dialects.chunks.frames import DoneFrame
from legato.dialects.conversation_watcher import Change, ConversationWatcher
from legato.dialects.json_frames import encode
from legato.dialects.reply_encoder import ReplyEncoder
from legato.dialects.serializers import message_view
from legato.dialects.session import DialectSession
from legato.dialects.session_rules import close_with
from legato.domain.message import Message
from legato.protocol.close_codes import CloseCode
from legato.stream import Log

REMEMBERED = 100
"""Replies that a socket remembers to have sent, or to have been asked for."""

GONE = "This conversation was deleted, or you are no longer in it."


class ChunksSubscription(ConversationWatcher):
    """The conversation of a socket. `finished` are the last replies whose end was sent, `whole` those that were sent from their
    beginning.

    Nothing of a held reply is sent, not even its end: a client that then resumed it would get `done` before half of the text.
    """

    def __init__(self, session: DialectSession[bytes], encoder: ReplyEncoder) -> None:
        super().__init__()
        self._session = session
        self._encoder = encoder
        self._ended_before: set[str] = set()
        self._held: dict[str, Log] = {}
        self._watched: set[str] = set()
        self.finished: deque[str] = deque(maxlen=REMEMBERED)
        self.whole: deque[str] = deque(maxlen=REMEMBERED)

    @property
    def is_busy(self) -> bool:
        """Whether a reply is being sent, or is held."""
        return bool(self._held or self._subscribers)

    def hold(self, logs: Iterable[Log]) -> None:
        """Send nothing of these replies until they are watched or released."""
        self._held.update((log.stream, log) for log in logs)

    def release(self) -> None:
        """Send the replies that are still held, from their beginning."""
        for log in list(self._held.values()):
            self.watch(log)

    def watch(self, log: Log, offset: int = 0) -> None:
        """Send a reply from `offset` on, also if it is held, is being sent, or was."""
        self._held.pop(log.stream, None)
        self._expect_end(log.stream)
        if offset == 0 and log.stream not in self.whole:
            self.whole.append(log.stream)
        session = self._session
        flusher = session.context.flusher
        self.add(self._encoder.subscribe(log, session.socket, flusher, self.ended, offset))

    def send_end(self, message: Message) -> None:
        """Send the end of a reply that ended before the client asked for it, also if it broke off."""
        self._ended_before.add(message.id)
        self._expect_end(message.id)
        self.deliver(message)

    def _expect_end(self, reply: str) -> None:
        self._watched.add(reply)
        if reply in self.finished:
            self.finished.remove(reply)

    def detach(self) -> None:
        self._held.clear()
        super().detach()

    def send(self, change: Change) -> None:
        match change:
            case Message(role="assistant") if change.status != "streaming":
                self._end(change)
            case Log():
                self.watch(change)

    def on_deleted(self, conversation: str) -> None:
        self._session.close(close_with(CloseCode.FORBIDDEN, GONE))

    def must_wait(self, change: Change) -> bool:
        return (isinstance(change, Message) and change.id in self._held) or super().must_wait(change)

    def _end(self, message: Message) -> None:
        """Send `done`. A reply that broke off while it was sent has ended with an error already."""
        if message.id not in self._watched:  # it ended while the client connected, or its end was sent before
            return
        self._watched.discard(message.id)
        self.finished.append(message.id)
        if message.status != "interrupted" or message.id in self._ended_before:
            self._session.send(encode(DoneFrame(message.id, message_view(message))))
        self._ended_before.discard(message.id)
