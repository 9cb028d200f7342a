"""Which agent starts a job."""

from legato.fleet.agent_pool import AgentPool
from legato.fleet.decisions import SchedulerConfig
from legato.fleet.job_queue import QueuedJob
from legato.fleet.scheduling import Affinity, AffinityMatch, SchedulerAgent

FAILED_BEFORE, COOLING_DOWN = 1, 2
"""Reasons to prefer another agent; the second weighs more than the first."""


class AgentChoice:
    """Chooses among the agents of a pool. `affinity` has to be told which agent serves a conversation."""

    def __init__(self, pool: AgentPool, config: SchedulerConfig) -> None:
        self.affinity = Affinity(pool.agents)
        self._pool = pool
        self._config = config

    def pick(self, job: QueuedJob, now: float) -> SchedulerAgent | None:
        """The agent to start the job now; None if there is none, or if the job should wait for a better one.

        Agents on which the model cools down come last, then those that tried the job. Among the others comes first the one
        that served the conversation or has read most of the prompt, if it has the model loaded and not too many jobs; then the
        order of the pool counts.
        """
        best: SchedulerAgent | None = None
        drawback = FAILED_BEFORE + COOLING_DOWN + 1
        for agent in self._pool.free(job.demand):
            against = self._drawback(agent, job, now)
            if against < drawback and agent.can_start(job, now):
                best, drawback = agent, against
                if not drawback:
                    break
        if best is None or (drawback >= COOLING_DOWN and self._waits_for_others(job, now)):
            return None
        match = self.affinity.of(job)
        if match is None or (match.shared and match.size < self._config.affinity_size):
            return best
        former = self._pool.agents[match.agent]
        if self._is_worth_waiting_for(former, match, job, now):
            return None
        follows = (
            former.can_start(job, now)
            and former.loaded(job.demand[0])
            and self._drawback(former, job, now) == drawback
            and not self._has_idler(len(former.assignments) - self._config.affinity_lead, job, drawback, now)
        )
        return former if follows else best

    def _drawback(self, agent: SchedulerAgent, job: QueuedJob, now: float) -> int:
        cooling_down = COOLING_DOWN if agent.cooling_down(job.demand[0], now) else 0
        return cooling_down + (FAILED_BEFORE if agent.id in job.tried else 0)

    def _has_idler(self, jobs: int, job: QueuedJob, drawback: int, now: float) -> bool:
        """Whether an agent as good as this has fewer jobs."""
        return self._pool.has_free_below(job.demand, jobs) and any(
            len(agent.assignments) < jobs
            and agent.can_start(job, now)
            and self._drawback(agent, job, now) == drawback
            for agent in self._pool.free(job.demand)
        )

    def _waits_for_others(self, job: QueuedJob, now: float) -> bool:
        """Whether a busy agent is worth waiting for, because the model cools down on all that are free: one that has not
        tried the job and, if no agent has, on which the model does not cool down."""
        if not job.losses and not self._config.queue_seconds:
            return False
        if job.tried:
            return self._pool.serves(job.demand, job.tried)
        return any(not agent.cooling_down(job.demand[0], now) for agent in self._pool.serving(job.demand))

    def _is_worth_waiting_for(
        self, agent: SchedulerAgent, match: AffinityMatch, job: QueuedJob, now: float
    ) -> bool:
        """Whether the agent that has read this conversation is worth waiting for: it has no slot free, for now."""
        config = self._config
        if job.losses or not config.queue_seconds or match.shared or match.size < config.affinity_size:
            return False
        return (
            agent.serving
            and agent.free <= 0
            and agent.loaded(job.demand[0])
            and not agent.cooling_down(job.demand[0], now)
            and now < job.queued_at + config.affinity_seconds
        )
