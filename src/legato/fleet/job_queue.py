"""The jobs of the scheduler, and the order in which waiting jobs are served."""

from bisect import bisect_left, insort
from collections.abc import Collection, Iterator
from heapq import heapify, heappop, heapreplace
from itertools import count

from msgspec import Struct

from legato.fleet.model_names import canonical_model_name
from legato.fleet.prompt_prefixes import PromptPrefix

Demand = tuple[str, bool, int]
"""What a job needs of an agent: the canonical name of a model, whether the model must continue a text, and the revision of the protocol
that has all fields of the job.
"""

PLAIN = (False, 0)
"""All of a demand but its model, if every agent that has the model can do the job."""


class JobSpec(Struct, frozen=True):
    """A reply to be written. `continuing`: only a model that can continue a text can write it. `size` is the length of
    the history in characters: a short history is no reason to wait for the agent that has read it. `patience` is for how
    many seconds an agent that has the model may still connect. `prefixes` are those of a prompt without a conversation, the
    shortest first. `key` names an API key of the user. `revision` is that of the protocol which has all fields of the job."""

    job: str
    model: str
    user: str = ""
    conversation: str = ""
    continuing: bool = False
    size: int = 0
    patience: float = 0.0
    prefixes: tuple[PromptPrefix, ...] = ()
    key: str = ""
    revision: int = 0


class QueuedJob:
    """A job that the scheduler knows. It waits, runs on `agent`, or has an agent that disconnected at `disconnected_at` and
    may come back.

    `queued_at` is when it began to wait, `started_at` when its attempt began. `unserved_since` is since when no connected
    agent could run it, None if one could. `losses` counts the agents that were lost or failed on it, `tried` are their ids.
    `position` is the last one that `FairQueue.moved` returned, 0 if none. `round` orders the waiting jobs of a user.
    """

    __slots__ = (
        "agent",
        "attempt",
        "deadline",
        "demand",
        "disconnected_at",
        "losses",
        "number",
        "position",
        "queued_at",
        "round",
        "spec",
        "started_at",
        "tried",
        "unserved_since",
        "waiting",
    )

    def __init__(self, spec: JobSpec, number: int, now: float, deadline: float) -> None:
        self.spec = spec
        self.demand: Demand = (canonical_model_name(spec.model), spec.continuing, spec.revision)
        self.number = number
        self.queued_at = now
        self.deadline = deadline
        self.started_at = now
        self.attempt = 0
        self.losses = 0
        self.tried: set[str] = set()
        self.agent: str | None = None
        self.disconnected_at: float | None = None
        self.unserved_since: float | None = None
        self.waiting = False
        self.position = 0
        self.round = 0


_Key = tuple[int, float, int, QueuedJob]
"""Rank, the user's turn, and the job's number, which no other job has."""


class _UserJobs:
    """The jobs of a user: how many run, and those that wait, in the order in which they are served and by demand. `turn` is when
    the user was served last. `heads` has the key under which the first job of a demand is listed.

    The API keys of the user take turns: each waiting job has a round, the job that was served last began `_round`, and a key has
    at most one job in a round. `_rounds` has the last round of each key.
    """

    __slots__ = ("_round", "_rounds", "by_demand", "heads", "jobs", "running", "turn")

    def __init__(self, turn: float) -> None:
        self.turn = turn
        self.running = 0
        self.jobs: list[QueuedJob] = []
        self.by_demand: dict[Demand, list[QueuedJob]] = {}
        self.heads: dict[Demand, _Key] = {}
        self._round = 0
        self._rounds: dict[str, int] = {}

    def key(self, job: QueuedJob) -> _Key:
        return self._key(job, 0 if job.attempt else self.jobs.index(job))

    def in_order(self) -> Iterator[_Key]:
        return (self._key(job, ahead) for ahead, job in enumerate(self.jobs))

    def put(self, job: QueuedJob, *, front: bool) -> None:
        jobs = self.by_demand.setdefault(job.demand, [])
        if front:
            self.jobs.insert(0, job)
            jobs.insert(sum(each.attempt > 0 and each.number < job.number for each in jobs), job)
        else:
            job.round = max(self._round, self._rounds.get(job.spec.key, -1) + 1)
            self._rounds[job.spec.key] = job.round
            _insert_by_round(self.jobs, job)
            _insert_by_round(jobs, job)

    def take(self, job: QueuedJob) -> None:
        self.jobs.remove(job)
        jobs = self.by_demand[job.demand]
        jobs.remove(job)
        if not jobs:
            del self.by_demand[job.demand]

    def served(self, job: QueuedJob) -> None:
        """Note that this job had the turn of its key."""
        self._round = max(self._round, job.round)

    def _key(self, job: QueuedJob, ahead: int) -> _Key:
        return (-1 if job.attempt else self.running + ahead, self.turn, job.number, job)


def _insert_by_round(jobs: list[QueuedJob], job: QueuedJob) -> None:
    """Insert a new job behind all jobs of its round, and behind those that have run before."""
    at = len(jobs)
    while at and not jobs[at - 1].attempt and jobs[at - 1].round > job.round:
        at -= 1
    jobs.insert(at, job)


class FairQueue:
    """The waiting jobs, ordered by rank, then by which user was served least recently, then by age. The jobs of one user are ordered
    by taking one of each of the user's API keys in turn.

    The rank of a job is how many jobs of its user run or wait before it. So a user waits for about one job of each other
    user for each own job, however many the others have. A user who is new comes before the user who was served last and
    behind all others. A job that ran already and lost its agent comes before all others.

    The first job of each user is kept in order for each demand, so `in_order` needs no sort.
    """

    def __init__(self) -> None:
        self._users: dict[str, _UserJobs] = {}
        self._waiting: dict[str, _UserJobs] = {}
        self._heads: dict[Demand, list[_Key]] = {}
        self._turn = 0
        self._length = 0
        self._started = 0
        self._numbers = count(1)
        self._changed = False

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[QueuedJob]:
        for user in self._waiting.values():
            yield from user.jobs

    @property
    def new(self) -> int:
        """How many of them never ran."""
        return self._length - self._started

    @property
    def demands(self) -> Collection[Demand]:
        """The demands of the waiting jobs."""
        return self._heads.keys()

    def number(self) -> int:
        """The next number; jobs that came earlier have a lower one."""
        return next(self._numbers)

    def waiting(self, user: str) -> int:
        return len(self._waiting[user].jobs) if user in self._waiting else 0

    def greediest(self) -> QueuedJob:
        """The last new job of the user with the most waiting jobs; of several such jobs the newest. The queue must have a new
        job."""
        last = [
            (len(user.jobs), user.jobs[-1].number, user.jobs[-1])
            for user in self._waiting.values()
            if not user.jobs[-1].attempt
        ]
        return max(last, key=lambda each: each[:2])[2]

    def put(self, job: QueuedJob, *, front: bool = False) -> None:
        """Add a job behind the others of its user, or, if it has run before, at their `front`."""
        name = job.spec.user
        user = self._users.setdefault(name, _UserJobs(self._turn - 0.5))
        self._waiting[name] = user
        user.put(job, front=front)
        job.waiting = True
        self._length += 1
        self._started += job.attempt > 0
        self._update(user)

    def take(self, job: QueuedJob) -> None:
        """Remove a job: it does not wait any more."""
        name = job.spec.user
        user = self._waiting[name]
        user.take(job)
        if not user.jobs:
            del self._waiting[name]
        job.waiting = False
        job.position = 0
        self._length -= 1
        self._started -= job.attempt > 0
        self._update(user)
        self._forget(name, user)

    def started(self, job: QueuedJob) -> None:
        """Count a job that begins to run: its user had a turn."""
        self._turn += 1
        user = self._users.setdefault(job.spec.user, _UserJobs(self._turn))
        user.turn = self._turn
        user.served(job)
        user.running += 1
        self._update(user)

    def stopped(self, name: str) -> None:
        """Count a job of this user that runs no more."""
        user = self._users[name]
        user.running -= 1
        self._update(user)
        self._forget(name, user)

    def in_order(self, demands: Collection[Demand]) -> Iterator[QueuedJob]:
        """The waiting jobs of these demands, in the order in which they are served. The queue must not change meanwhile."""
        heads = [self._heads[demand] for demand in demands if demand in self._heads]
        if not heads:
            return
        yield min(each[0] for each in heads)[3]
        merged = [(key, 0) for each in heads for key in each]
        heapify(merged)
        first = True
        while merged:
            (_, _, _, job), ahead = merged[0]
            if not first:
                yield job
            first = False
            user = self._users[job.spec.user]
            jobs = user.by_demand[job.demand]
            if ahead + 1 < len(jobs):
                heapreplace(merged, (user.key(jobs[ahead + 1]), ahead + 1))
            else:
                heappop(merged)

    def order(self) -> list[QueuedJob]:
        """All waiting jobs, in the order in which they are served."""
        return [
            job for _, _, _, job in sorted(key for user in self._waiting.values() for key in user.in_order())
        ]

    def moved(self) -> list[QueuedJob]:
        """Set the position of each waiting job. Returns the jobs whose position changed since the last call, in order."""
        if not self._changed:
            return []
        self._changed = False
        moved: list[QueuedJob] = []
        for position, job in enumerate(self.order(), start=1):
            if job.position != position:
                job.position = position
                moved.append(job)
        return moved

    def _update(self, user: _UserJobs) -> None:
        """List the first jobs of the user under the keys that they have now."""
        self._changed = True
        if not user.jobs and not user.heads:
            return
        for demand in [demand for demand in user.heads if demand not in user.by_demand]:
            self._unlist(demand, user.heads.pop(demand))
        for demand, jobs in user.by_demand.items():
            key, before = user.key(jobs[0]), user.heads.get(demand)
            if key != before:
                if before is not None:
                    self._unlist(demand, before)
                user.heads[demand] = key
                insort(self._heads.setdefault(demand, []), key)

    def _unlist(self, demand: Demand, key: _Key) -> None:
        heads = self._heads[demand]
        del heads[bisect_left(heads, key)]
        if not heads:
            del self._heads[demand]

    def _forget(self, name: str, user: _UserJobs) -> None:
        if not user.jobs and not user.running:
            del self._users[name]
