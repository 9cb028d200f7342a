"""Server-sent events: a viewer whose socket is an HTTP response."""

from collections.abc import Callable

from legato.chat.service import ChatService
from legato.dialects.native.codec import delta, encode
from legato.domain.conversation import Conversation
from legato.domain.message import Message
from legato.domain.user import User
from legato.gateway.sse_response import OpenSseResponses, SseResponse
from legato.protocol.messages import ResetStream
from legato.stream import Batch, Flusher, Log, Position, ResetReason, Subscriber

OWED = 64 * 1024
"""Bytes that may wait for the client; beyond, the viewer waits and its next event is longer."""


def event(log: Log, batch: Batch) -> bytes:
    """The `Encoding`: JSON has no bare newline, so nothing in a text can end the event or begin another."""
    return b"id: %s:%d\ndata: %s\n\n" % (log.epoch.encode(), batch.next, delta(log, batch))


def position_of(stream: str, shown: str) -> Position:
    """What a `Last-Event-ID` says; one that was never ours is of an unknown epoch."""
    epoch, _, offset = shown.rpartition(":")
    if not epoch or not offset.isascii() or not offset.isdigit() or len(offset) > 18:
        return Position(stream, "", 0)
    return Position(stream, epoch, int(offset))


class _PresenceWatcher:
    """A watcher that only counts: a reply that is followed by SSE is not unwatched. `gone` ends what its person no longer may see."""

    def __init__(self, gone: Callable[[], None]) -> None:
        self._gone = gone

    def on_message(self, message: Message) -> None:
        """The stream itself tells."""

    def on_conversation(self, conversation: Conversation) -> None:
        """The stream itself tells."""

    def on_deleted(self, conversation: str) -> None:
        self._gone()

    def on_stream(self, log: Log) -> None:
        """Another reply is another request."""

    def on_people(self, conversation: str) -> None:
        """A stream has no word for it."""

    def on_typing(self, conversation: str, user: str, name: str | None, typing: bool) -> None:
        """A stream has no word for it."""


class ReplySseStream(SseResponse):
    """The `Sink` of one viewer."""

    def __init__(
        self,
        open_events: OpenSseResponses,
        service: ChatService,
        flusher: Flusher,
        person: User,
        conversation: str,
        log: Log,
        offset: int,
        reset: ResetReason | None,
    ) -> None:
        super().__init__(open_events, person.expires)
        self._service = service
        self._flusher = flusher
        self._person = person
        self._conversation = conversation
        self._log = log
        self._offset = offset
        self._viewer: Subscriber | None = None
        if reset is not None:
            message = encode(ResetStream(log.stream, reset, log.epoch))
            self.write(b"data: %s\n\n" % message)

    @property
    def writable(self) -> bool:
        return self.owed < OWED

    def flush(self) -> None:
        """The task of the request sends when this turn of the loop is over."""

    def begin(self) -> Callable[[], None]:
        present = _PresenceWatcher(self.end)
        self._service.subscriptions.subscribe(self._person, self._conversation, present)
        viewer = Subscriber(self._log, self._offset, event, self, self._flusher, lambda _: self.end())
        self._viewer = viewer

        def leave() -> None:
            viewer.detach()
            self._service.subscriptions.unfollow(self._conversation, present)

        return leave

    def emptied(self) -> None:
        if self._viewer is not None:
            self._viewer.mark()
