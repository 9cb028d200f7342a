"""What an agent has to say on the connection that it has now."""

from collections import deque
from collections.abc import Iterable

from msgspec import Struct

from legato.agent.job import AgentJob
from legato.agent.replay_buffer import encoded

FRAME = 2 * 1024
"""Bytes of events in one frame, but for a single event that is longer. So small that a line which breaks every few kilobytes
still gets whole frames across, and so long that a frame costs nothing a token."""

UNSENT = 100_000
"""Messages that may wait to be sent."""


class Outbox:
    """Messages in the order in which they are said, and behind them what jobs wrote, job by job. `frame` is in bytes."""

    def __init__(self, frame: int = FRAME) -> None:
        self._frame = frame
        self._messages: deque[bytes] = deque()
        self._dirty: deque[AgentJob] = deque()

    @property
    def silent(self) -> bool:
        """Whether there is no message to be sent."""
        return not self._messages

    @property
    def full(self) -> bool:
        """Whether too many messages wait."""
        return len(self._messages) > UNSENT

    def say(self, message: Struct) -> None:
        self._messages.append(encoded(message))

    def mark(self, lease: AgentJob) -> None:
        """This job may have written something that was not sent."""
        if not lease.dirty and lease.kept.sent < lease.kept.next:
            lease.dirty = True
            self._dirty.append(lease)

    def next(self, *, events: bool) -> bytes | None:
        """The next frame; `events`: what jobs wrote may be sent. What was written meanwhile goes out together."""
        if self._messages:
            return self._messages.popleft()
        while self._dirty and events:
            lease = self._dirty.popleft()
            lease.dirty = False
            frame = lease.kept.frame(lease.job_id, lease.attempt, self._frame)
            if frame is not None:
                self.mark(lease)
                return frame
        return None

    def clear(self, leases: Iterable[AgentJob]) -> None:
        """The connection is gone, and with it what was to be sent on it."""
        self._messages.clear()
        self._dirty.clear()
        for lease in leases:
            lease.dirty = False
