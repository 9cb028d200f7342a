"""What waits in line and what runs: the entries of the scheduler's books, and the order in which they are served."""

from collections.abc import Iterator
from itertools import count

from msgspec import Struct


class JobSpec(Struct, frozen=True):
    """A reply that somebody wants. `continuing`: only a model that goes on behind a text can write it. `size` is that of
    its history in characters: with nothing to read again there is no reason to wait for the agent that has read it.
    `patience` is for how many seconds an agent that has the model may still come."""

    job: str
    model: str
    user: str = ""
    conversation: str = ""
    continuing: bool = False
    size: int = 0
    patience: float = 0.0


class QueuedJob:
    """A job in the books. It waits (`seat` None), runs, or is away: its agent was cut at `away` and may come back. While it
    waits, `alone` is since when no agent that is there could do it; None: one could."""

    __slots__ = (
        "alone",
        "attempt",
        "away",
        "began",
        "deadline",
        "losses",
        "number",
        "place",
        "seat",
        "since",
        "ticket",
        "tried",
    )

    def __init__(self, ticket: JobSpec, number: int, now: float, deadline: float) -> None:
        self.ticket = ticket
        self.number = number
        self.since = now
        self.deadline = deadline
        self.began = now
        self.attempt = 0
        self.losses = 0
        self.tried: set[str] = set()
        self.seat: str | None = None
        self.away: float | None = None
        self.alone: float | None = None
        self.place = 0


class FairQueue:
    """The waiting jobs. Who has least running or waiting ahead comes first, then whose turn is longest ago, then who came
    first.

    A job's rank is how many of its user's jobs run or wait before it. So nobody waits for more than about one job of each
    other user for each job of their own, however many the others bring. One that comes anew takes its turn before the
    user who was served last and behind all others. What ran already, and lost its agent, goes before everything.
    """

    def __init__(self) -> None:
        self._waiting: dict[str, list[QueuedJob]] = {}
        self._running: dict[str, int] = {}
        self._turns: dict[str, float] = {}
        self._turn = 0
        self._length = 0
        self._begun = 0
        self._numbers = count(1)

    def __len__(self) -> int:
        return self._length

    @property
    def new(self) -> int:
        """Those of them that never ran."""
        return self._length - self._begun

    def __iter__(self) -> Iterator[QueuedJob]:
        for entries in self._waiting.values():
            yield from entries

    def number(self) -> int:
        """The next number; entries that came earlier have a lower one."""
        return next(self._numbers)

    def waiting(self, user: str) -> int:
        return len(self._waiting.get(user, ()))

    def greediest(self) -> QueuedJob:
        """The last new job of whoever has most jobs waiting; of several the one who came last. There is one at least."""
        last = [
            (len(entries), entries[-1].number, entries[-1])
            for entries in self._waiting.values()
            if not entries[-1].attempt
        ]
        return max(last, key=lambda each: each[:2])[2]

    def put(self, entry: QueuedJob, *, front: bool = False) -> None:
        """Let it wait, behind the others of its user or, having waited before, in front of them."""
        user = entry.ticket.user
        entries = self._waiting.setdefault(user, [])
        entries.insert(0, entry) if front else entries.append(entry)
        self._turns.setdefault(user, self._turn - 0.5)
        self._length += 1
        self._begun += entry.attempt > 0

    def take(self, entry: QueuedJob) -> None:
        """It waits no more."""
        user = entry.ticket.user
        entries = self._waiting[user]
        entries.remove(entry)
        if not entries:
            del self._waiting[user]
            self._forget(user)
        self._length -= 1
        self._begun -= entry.attempt > 0
        entry.place = 0

    def runs(self, user: str) -> None:
        """A job of theirs begins to run: they had their turn."""
        self._turn += 1
        self._turns[user] = self._turn
        self._running[user] = self._running.get(user, 0) + 1

    def ran(self, user: str) -> None:
        """It runs no more."""
        left = self._running[user] - 1
        if left:
            self._running[user] = left
        else:
            del self._running[user]
            self._forget(user)

    def order(self) -> list[QueuedJob]:
        """As they would be served, were every agent able to serve each of them."""
        ranked = [
            (
                -1 if entry.attempt else self._running.get(user, 0) + ahead,
                self._turns[user],
                entry.number,
                entry,
            )
            for user, entries in self._waiting.items()
            for ahead, entry in enumerate(entries)
        ]
        ranked.sort(key=lambda each: each[:3])
        return [entry for _, _, _, entry in ranked]

    def _forget(self, user: str) -> None:
        if user not in self._waiting and user not in self._running:
            del self._turns[user]
