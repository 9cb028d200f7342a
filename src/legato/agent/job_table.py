"""Which jobs an agent has, and which of them its engines write."""

from collections import deque
from collections.abc import Iterator

from legato.agent.effects import AbortJob, Effect, StartJob
from legato.agent.job import AgentJob
from legato.agent.replay_buffer import ReplayBuffer


class JobTable:
    """Jobs by their id. One that was taken back is not here any more, but holds its slot until its engine has returned."""

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self._leases: dict[str, AgentJob] = {}
        self._waiting: deque[AgentJob] = deque()
        self._busy: set[AgentJob] = set()

    def __iter__(self) -> Iterator[AgentJob]:
        """The jobs as they are now; they may be forgotten meanwhile."""
        return iter(list(self._leases.values()))

    @property
    def running(self) -> int:
        """The jobs whose last event is not written yet."""
        return sum(not lease.over for lease in self._leases.values())

    @property
    def size(self) -> int:
        """Bytes of memory that hold what is not acknowledged."""
        return sum(lease.kept.size for lease in self._leases.values())

    @property
    def empty(self) -> bool:
        """Whether no engine runs, and everything that was written is acknowledged."""
        return not self._leases and not self._busy

    def get(self, job_id: str) -> AgentJob | None:
        return self._leases.get(job_id)

    def ending(self, job_id: str, attempt: int) -> AgentJob | None:
        """The job that an engine still has, whether it was taken back or not."""
        return next((each for each in self._busy if (each.job_id, each.attempt) == (job_id, attempt)), None)

    def take(self, lease: AgentJob) -> list[Effect]:
        """A new job. Its engine starts as soon as a slot is free."""
        self._leases[lease.job_id] = lease
        self._waiting.append(lease)
        return self.begin()

    def begin(self) -> list[Effect]:
        """Start what waits, as far as there are slots."""
        effects: list[Effect] = []
        while self._waiting and len(self._busy) < self.slots:
            lease = self._waiting.popleft()
            self._busy.add(lease)
            effects.append(StartJob(lease))
        return effects

    def left(self, lease: AgentJob) -> list[Effect]:
        """The engine has returned."""
        self._busy.discard(lease)
        return self.begin()

    def forget(self, lease: AgentJob) -> None:
        """A job that is over, and of which nothing is kept."""
        self._leases.pop(lease.job_id, None)

    def drop(self, lease: AgentJob) -> list[Effect]:
        """This job is not ours any more: nothing of it is said or kept."""
        lease.over = True
        lease.kept = ReplayBuffer()
        self._leases.pop(lease.job_id, None)
        if lease in self._waiting:
            self._waiting.remove(lease)
        return [AbortJob(lease)] if lease in self._busy else []

    def drop_all(self) -> list[Effect]:
        return [effect for lease in self for effect in self.drop(lease)]
