"""Sessions without a connection: how long they stay in memory, and the replies that their last connection missed."""

from collections import OrderedDict
from collections.abc import Callable

RETENTION_SECONDS = 300.0
"""Seconds that a session without a connection stays in memory."""


class Retention:
    """Counts the connections of sessions. Time is in seconds of `clock`, which only goes forward.

    A client of this dialect has no position. The replies that were being sent when a session lost its connection are sent
    again to the next one.
    """

    def __init__(self, clock: Callable[[], float], evict: Callable[[str], bool]) -> None:
        """`evict` removes a session from memory. It returns False if the session is still busy, and is called again later."""
        self._clock = clock
        self._evict = evict
        self._connections: dict[str, int] = {}
        self._left: OrderedDict[str, tuple[float, list[str]]] = OrderedDict()

    def enter(self, session: str) -> list[str]:
        """Add a connection. Return the replies that the last one did not get to their end."""
        self._connections[session] = self._connections.get(session, 0) + 1
        return self._left.pop(session, (0.0, []))[1]

    def leave(self, session: str, unsent: list[str]) -> None:
        """Remove a connection, which did not get these replies to their end."""
        left = self._connections.pop(session, 1) - 1
        if left:
            self._connections[session] = left
        else:
            self._left[session] = (self._clock(), unsent)

    def expire(self) -> None:
        """Evict the sessions that had no connection for `RETENTION_SECONDS`."""
        old = self._clock() - RETENTION_SECONDS
        while self._left:
            session, (since, unsent) = next(iter(self._left.items()))
            if since > old:
                return
            del self._left[session]
            if not self._evict(session):
                self._left[session] = (self._clock(), unsent)
