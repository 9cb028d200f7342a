"""The frames of a reply, encoded once for all sockets that stand at the same position."""

from collections.abc import Callable

from legato.dialects.append_only import AppendOnlySubscriber, Frames
from legato.dialects.base import Socket
from legato.stream import Batch, BatchEncoder, Flusher, Log, Subscriber


class ReplyEncoder:
    """Encodes the batches of replies for the sockets of one dialect.

    `frames` gives the frames of a batch. A subscriber that keeps up gets up to `max_unmerged` events that arrived at once
    in frames of their own.
    """

    def __init__(self, frames: Frames, max_unmerged: int = 1) -> None:
        self._frames = frames
        self._max_unmerged = max_unmerged
        self._encoders: dict[Callable[[bytes], bytes], BatchEncoder] = {}

    def encoder(self, frame: Callable[[bytes], bytes]) -> BatchEncoder:
        """Return the encoder for sockets with this `frame`. The result is always the same object, so a batch is encoded once."""
        known = self._encoders.get(frame)
        if known is None:

            def encode_batch(log: Log, batch: Batch) -> bytes:
                if 1 < batch.next - batch.first <= self._max_unmerged:
                    batch = log.single(batch)
                return b"".join(map(frame, self._frames(log, batch)))

            known = self._encoders[frame] = encode_batch
        return known

    def subscribe(
        self, log: Log, socket: Socket, flusher: Flusher, ended: Callable[[Subscriber], None], offset: int = 0
    ) -> AppendOnlySubscriber:
        """Send a reply to a socket from `offset` on, without taking back text that was sent."""
        encoder = self.encoder(socket.frame)
        return AppendOnlySubscriber(log, offset, encoder, self._frames, socket, flusher, ended)
