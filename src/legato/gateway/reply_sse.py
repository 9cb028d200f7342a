"""Server-sent events of a reply: a subscriber whose socket is an HTTP response."""

from collections.abc import Callable

from legato.chat.service import ChatService
from legato.dialects.native.codec import delta, encode
from legato.domain.conversation import Conversation
from legato.domain.message import Message
from legato.domain.user import User
from legato.gateway.sse_response import OpenSseResponses, SseResponse
from legato.protocol.messages import ResetStream
from legato.stream import Batch, Flusher, Log, Position, ResetReason, Subscriber

MAX_UNSENT_BYTES = 64 * 1024
"""Bytes that may wait for the client. Beyond them the subscriber waits, and its next event is longer."""


def encode_event(log: Log, batch: Batch) -> bytes:
    """Encode a batch as an event. JSON contains no bare newline, so no text can end the event or begin another one."""
    return b"id: %s:%d\ndata: %s\n\n" % (log.epoch.encode(), batch.next, delta(log, batch))


def position_of(stream: str, event_id: str) -> Position:
    """Return the position of a `Last-Event-ID`. An id that is not ours has an unknown epoch."""
    epoch, _, offset = event_id.rpartition(":")
    if not epoch or not offset.isascii() or not offset.isdigit() or len(offset) > 18:
        return Position(stream, "", 0)
    return Position(stream, epoch, int(offset))


class _PresenceWatcher:
    """A watcher that only counts as a subscriber. `ended` is called if the user may no longer see the conversation."""

    def __init__(self, ended: Callable[[], None]) -> None:
        self._gone = ended

    def on_message(self, message: Message) -> None:
        """Ignore it: the stream contains it."""

    def on_conversation(self, conversation: Conversation) -> None:
        """Ignore it: the stream contains it."""

    def on_deleted(self, conversation: str) -> None:
        self._gone()

    def on_stream(self, log: Log) -> None:
        """Ignore it: another reply is another request."""

    def on_people(self, conversation: str) -> None:
        """Ignore it: the stream has no event for it."""

    def on_typing(self, conversation: str, user: str, name: str | None, typing: bool) -> None:
        """Ignore it: the stream has no event for it."""


class ReplySseStream(SseResponse):
    """The `Sink` of one subscriber."""

    def __init__(
        self,
        open_responses: OpenSseResponses,
        service: ChatService,
        flusher: Flusher,
        user: User,
        conversation: str,
        log: Log,
        offset: int,
        reset: ResetReason | None,
    ) -> None:
        super().__init__(open_responses, user.expires, user.id)
        self._service = service
        self._flusher = flusher
        self._user = user
        self._conversation = conversation
        self._log = log
        self._offset = offset
        self._subscriber: Subscriber | None = None
        if reset is not None:
            message = encode(ResetStream(log.stream, reset, log.epoch))
            self.write(b"data: %s\n\n" % message)

    @property
    def writable(self) -> bool:
        return self.unsent_bytes < MAX_UNSENT_BYTES

    def flush(self) -> None:
        """Do nothing: the task of the request sends at the end of this turn of the loop."""

    def start(self) -> Callable[[], None]:
        watcher = _PresenceWatcher(self.end)
        self._service.subscriptions.subscribe(self._user, self._conversation, watcher)
        subscriber = Subscriber(
            self._log, self._offset, encode_event, self, self._flusher, lambda _: self.end()
        )
        self._subscriber = subscriber

        def stop() -> None:
            subscriber.detach()
            self._service.subscriptions.unfollow(self._conversation, watcher)

        return stop

    def on_drained(self) -> None:
        if self._subscriber is not None:
            self._subscriber.mark()
