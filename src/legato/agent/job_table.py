"""Which jobs an agent has, and which of them its engines run."""

from collections import deque
from collections.abc import Iterator

from legato.agent.effects import AbortJob, Effect, StartJob
from legato.agent.job import AgentJob
from legato.agent.replay_buffer import ReplayBuffer


class JobTable:
    """Jobs by id. A job that was taken back is not here any more, but has its slot until its engine has returned."""

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self._jobs: dict[str, AgentJob] = {}
        self._waiting: deque[AgentJob] = deque()
        self._busy: set[AgentJob] = set()

    def __iter__(self) -> Iterator[AgentJob]:
        """The jobs as they are now; they may be forgotten meanwhile."""
        return iter(list(self._jobs.values()))

    @property
    def running(self) -> int:
        """The jobs whose last event is not written yet."""
        return sum(not job.over for job in self._jobs.values())

    @property
    def size(self) -> int:
        """Bytes of memory that hold events which are not acknowledged."""
        return sum(job.buffer.size for job in self._jobs.values())

    @property
    def empty(self) -> bool:
        """Whether no engine runs, and everything that was written is acknowledged."""
        return not self._jobs and not self._busy

    def get(self, job_id: str) -> AgentJob | None:
        return self._jobs.get(job_id)

    def busy(self, job_id: str, attempt: int) -> AgentJob | None:
        """The job that an engine still has, even if it was taken back."""
        return next((each for each in self._busy if (each.job_id, each.attempt) == (job_id, attempt)), None)

    def add(self, job: AgentJob) -> list[Effect]:
        """Add a job. Its engine starts as soon as a slot is free."""
        self._jobs[job.job_id] = job
        self._waiting.append(job)
        return self.start_waiting()

    def start_waiting(self) -> list[Effect]:
        """Start jobs that wait, as far as there are slots."""
        effects: list[Effect] = []
        while self._waiting and len(self._busy) < self.slots:
            job = self._waiting.popleft()
            self._busy.add(job)
            effects.append(StartJob(job))
        return effects

    def stopped(self, job: AgentJob) -> list[Effect]:
        """Free the slot of a job whose engine has returned."""
        self._busy.discard(job)
        return self.start_waiting()

    def forget(self, job: AgentJob) -> None:
        """Remove a job that is over and whose buffer is empty."""
        self._jobs.pop(job.job_id, None)

    def drop(self, job: AgentJob) -> list[Effect]:
        """Remove a job that is not this agent's any more: nothing of it is sent or kept."""
        job.over = True
        job.buffer = ReplayBuffer()
        self._jobs.pop(job.job_id, None)
        if job in self._waiting:
            self._waiting.remove(job)
        return [AbortJob(job)] if job in self._busy else []

    def drop_all(self) -> list[Effect]:
        return [effect for job in self for effect in self.drop(job)]
