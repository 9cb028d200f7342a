"""What an agent has to send on its present connection."""

from collections import deque
from collections.abc import Iterable

from msgspec import Struct

from legato.agent.job import AgentJob
from legato.agent.replay_buffer import encoded

FRAME = 2 * 1024
"""Bytes of events in one frame, unless a single event is longer. Short enough that a connection that breaks every few kilobytes
still transfers whole frames, long enough that a frame adds little to the cost of a token."""

UNSENT = 100_000
"""Messages that may wait to be sent."""


class Outbox:
    """Messages in order, and behind them the events of jobs, job by job. `frame` is in bytes."""

    def __init__(self, frame: int = FRAME) -> None:
        self._frame = frame
        self._messages: deque[bytes] = deque()
        self._unsent: deque[AgentJob] = deque()

    @property
    def empty(self) -> bool:
        """Whether there is no message to be sent."""
        return not self._messages

    @property
    def full(self) -> bool:
        """Whether too many messages wait."""
        return len(self._messages) > UNSENT

    def put(self, message: Struct) -> None:
        self._messages.append(encoded(message))

    def put_events(self, job: AgentJob) -> None:
        """Send the events of this job that were not sent, if there are any."""
        if not job.unsent and job.buffer.sent < job.buffer.next:
            job.unsent = True
            self._unsent.append(job)

    def next(self, *, events: bool) -> bytes | None:
        """The next frame; `events`: events of jobs may be sent. Events that were written meanwhile share a frame."""
        if self._messages:
            return self._messages.popleft()
        while self._unsent and events:
            job = self._unsent.popleft()
            job.unsent = False
            frame = job.buffer.frame(job.job_id, job.attempt, self._frame)
            if frame is not None:
                self.put_events(job)
                return frame
        return None

    def clear(self, jobs: Iterable[AgentJob]) -> None:
        """Drop everything, because the connection is gone."""
        self._messages.clear()
        self._unsent.clear()
        for job in jobs:
            job.unsent = False
