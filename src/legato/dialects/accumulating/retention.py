"""Sessions whose connections come and go: how long they stay in memory, and what they were not told."""

from collections import OrderedDict
from collections.abc import Callable

KEPT_SECONDS = 300.0
"""How long a session without a connection stays in memory."""


class Retention:
    """Counts connections. Time comes in as seconds of `clock`, which only goes forward.

    A socket has no position here. What it was being told when it was lost is owed to the next one of its session.
    """

    def __init__(self, clock: Callable[[], float], let_go: Callable[[str], bool]) -> None:
        """`let_go` forgets a session; False where it is still busy, and it is asked again later."""
        self._clock = clock
        self._let_go = let_go
        self._connections: dict[str, int] = {}
        self._left: OrderedDict[str, tuple[float, list[str]]] = OrderedDict()

    def come(self, session: str) -> list[str]:
        """One more connection; the replies that are owed to it."""
        self._connections[session] = self._connections.get(session, 0) + 1
        return self._left.pop(session, (0.0, []))[1]

    def leave(self, session: str, owed: list[str]) -> None:
        """One connection less, which was not told these replies to their end."""
        left = self._connections.pop(session, 1) - 1
        if left:
            self._connections[session] = left
        else:
            self._left[session] = (self._clock(), owed)

    def expire(self) -> None:
        """Let go of those that nobody came back to."""
        old = self._clock() - KEPT_SECONDS
        while self._left:
            session, (since, owed) = next(iter(self._left.items()))
            if since > old:
                return
            del self._left[session]
            if not self._let_go(session):
                self._left[session] = (self._clock(), owed)
