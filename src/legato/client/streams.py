"""All replies that a client knows, and the events of their changes."""

from collections.abc import Callable, Mapping

from legato.client.events import ClientEvent, StreamAdvanced, StreamRestarted
from legato.client.stream import DeltaFit, StreamState
from legato.protocol.messages import Delta, MessageView, Where
from legato.stream import Failed


class StreamStates:
    """`emit` is called with each event. Deltas are added only where they join; a gap is reported, not filled."""

    def __init__(self, emit: Callable[[ClientEvent], None]) -> None:
        self._emit = emit
        self._streams: dict[str, StreamState] = {}

    @property
    def by_id(self) -> Mapping[str, StreamState]:
        return self._streams

    def of(self, conversation: str) -> list[StreamState]:
        """Return the known streams of a conversation."""
        return [each for each in self._streams.values() if each.conversation == conversation]

    def positions(self, conversation: str) -> list[Where]:
        """Return the positions of a conversation's running streams, oldest first."""
        return [where for stream in self.of(conversation) if (where := stream.position) is not None]

    def get_or_create(self, stream: str, conversation: str | None) -> StreamState:
        found = self._streams.get(stream)
        if found is None:
            found = self._streams[stream] = StreamState(stream, conversation)
        elif found.conversation is None:
            found.conversation = conversation
        return found

    def apply(self, delta: Delta) -> StreamState | None:
        """Add a delta. Return its stream if deltas before it are missing."""
        stream = self.get_or_create(delta.stream, None)
        fit = stream.fit(delta)
        if fit is DeltaFit.GAP:
            return stream
        if fit is DeltaFit.RESTART:
            self._emit(StreamRestarted(stream.id))
        if events := stream.apply(delta):
            self._emit(StreamAdvanced(stream.id, events))
        return None

    def complete(self, message: MessageView) -> None:
        """Complete the stream of a message that is no longer being generated."""
        stream = self._streams.get(message.id)
        if message.status == "streaming" or stream is None or stream.end is not None:
            return
        restarts, events = stream.complete(message)
        if restarts:
            self._emit(StreamRestarted(stream.id))
        self._emit(StreamAdvanced(stream.id, events))

    def restart(self, stream: StreamState) -> None:
        """Drop what was received of a stream: it is sent again from its beginning."""
        if stream.offset:
            stream.reset()
            self._emit(StreamRestarted(stream.id))

    def fail(self, stream: StreamState, message: str) -> None:
        """End a stream that the server no longer has."""
        if stream.end is None:
            stream.end = Failed("gone", message)
            stream.snapshot.apply(stream.end)
            self._emit(StreamAdvanced(stream.id, [stream.end]))

    def remove(self, conversation: str) -> None:
        """Forget the streams of a conversation."""
        for stream in self.of(conversation):
            del self._streams[stream.id]
