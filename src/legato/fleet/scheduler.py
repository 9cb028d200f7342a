"""Which agent gets which job, when a job is lost, and which job waits where. Pure: events and the time come in, decisions come
out as values."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping

from legato.fleet.agent_choice import AgentChoice
from legato.fleet.agent_pool import AgentPool
from legato.fleet.decisions import (
    Assign,
    CancelAttempt,
    CloseConnection,
    Decision,
    QueuePosition,
    Reason,
    Refuse,
    SchedulerConfig,
)
from legato.fleet.job_queue import Demand, FairQueue, JobSpec, QueuedJob
from legato.fleet.model_names import canonical_model_name
from legato.fleet.prompt_prefixes import PromptPrefix
from legato.fleet.protocol import ModelInfo
from legato.fleet.scheduling import AgentSpec, SchedulerAgent
from legato.fleet.timer_heap import TimerHeap


class Scheduler:
    """Each call takes what happened and the time, which never decreases, and returns what is to be done, in order.

    `due` says when `look` has to be called if nothing else happens. `moved_positions` returns the changed queue positions.
    The cost of a call does not grow with the number of agents, nor with the number of jobs that wait for others of them.
    """

    def __init__(self, config: SchedulerConfig | None = None) -> None:
        self.config = config or SchedulerConfig()
        self.pool = AgentPool()
        self.agents = self.pool.agents
        self.jobs: dict[str, QueuedJob] = {}
        self.queue = FairQueue()
        self._disconnected: dict[str, QueuedJob] = {}
        self._disconnected_demands: Counter[Demand] = Counter()
        self._unwanted: dict[tuple[str, str], float] = {}
        self._choice = AgentChoice(self.pool, self.config)
        self._mean_seconds = 5.0
        self._leases: TimerHeap[SchedulerAgent] = TimerHeap(lambda agent: agent.until)
        self._unwanted_timers = TimerHeap(self._unwanted_deadline)
        self._grace_timers = TimerHeap(self._grace_end)
        self._deadlines: TimerHeap[QueuedJob] = TimerHeap(
            lambda job: self._deadline(job) if job.waiting else None
        )
        self._affinity_timers = TimerHeap(self._affinity_end)
        self._pauses = TimerHeap(self._pause_end)
        self._cooldowns = TimerHeap(self._cooldown_end)

    # Agents.

    def join(self, agent: AgentSpec, now: float) -> list[Decision]:
        """Add an agent that was not here before."""
        self.pool.join(agent)
        return self._settle(now)

    def registered_again(self, agent: AgentSpec, now: float) -> list[Decision]:
        """Replace the models of an agent, and what else it can be asked for."""
        self.pool.offer(self.agents[agent.id], agent.models, agent.unlisted)
        return self._settle(now)

    def has_models(self, agent: str, models: Mapping[str, ModelInfo], now: float) -> list[Decision]:
        """Replace the models of an agent, by canonical name."""
        held = self.agents[agent]
        self.pool.offer(held, models, None if held.unlisted is None else frozenset())
        return self._settle(now)

    def drain(self, agent: str) -> None:
        """Mark the agent as draining: it gets no new jobs."""
        self.pool.drain(self.agents[agent])

    def disconnected(self, agent_id: str, now: float) -> list[Decision]:
        """Note that an agent lost its connection. It may reconnect within its lease, unless it cannot resume, or was silent, or
        was draining and has no job that is wanted: then it leaves."""
        agent = self.agents[agent_id]
        unwanted = [name for name in agent.assignments if (agent_id, name) in self._unwanted]
        ended = agent.draining and len(unwanted) == len(agent.assignments)
        if not agent.resumes or ended or (agent.until is None and not agent.present):
            return self.leave(agent_id, now)
        self.pool.set_present(agent, present=False)
        agent.until = now + self.config.lease
        self._leases.add(agent)
        for name in unwanted:
            self._release(agent, name)
        for name in agent.assignments:
            job = self.jobs[name]
            self._clear_disconnected(job)
            job.disconnected_at = now
            self._disconnected[name] = job
            self._disconnected_demands[job.demand] += 1
            self._grace_timers.add(job)
        return self._settle(now)

    def reconnected(self, spec: AgentSpec, held: Iterable[tuple[str, int]], now: float) -> list[Decision]:
        """Note that an agent came back within its lease. It continues those jobs of `held` (job and attempt) that are still its
        own; its other jobs are lost."""
        agent, continued = self.agents[spec.id], set(held)
        self.pool.renew(agent, spec)
        decisions: list[Decision] = []
        for name, attempt in list(agent.assignments.items()):
            job = self.jobs[name]
            if (name, attempt) in continued:
                self._clear_disconnected(job)
            else:
                self._release(agent, name)
                decisions += self._lost(job, now)
        return decisions + self._settle(now)

    def suspend(self, agent_id: str, now: float) -> list[Decision]:
        """Take all jobs from an agent that is connected and was silent for longer than its lease. It gets no job until
        `resume`."""
        agent = self.agents[agent_id]
        self.pool.set_present(agent, present=False)
        decisions: list[Decision] = []
        for job, attempt in agent.assignments.items():
            if (agent_id, job) not in self._unwanted:
                self._set_unwanted(agent_id, job, now)
                decisions.append(CancelAttempt(job, agent_id, attempt))
                decisions += self._lost(self.jobs[job], now)
        return decisions + self._settle(now)

    def resume(self, agent: str, now: float) -> list[Decision]:
        """Note that a suspended agent gives signs of life again."""
        self.pool.set_present(self.agents[agent], present=True)
        return self._settle(now)

    def leave(self, agent_id: str, now: float) -> list[Decision]:
        """Remove an agent."""
        agent = self.agents[agent_id]
        self.pool.leave(agent)
        agent.until = None
        decisions: list[Decision] = []
        for job in agent.assignments:
            if self._unwanted.pop((agent_id, job), None) is None:
                decisions += self._lost(self.jobs[job], now)
        return decisions + self._settle(now)

    # Jobs.

    def submit(self, spec: JobSpec, now: float) -> list[Decision]:
        """Add a job. It is given to an agent, waits, or is refused at once."""
        config = self.config
        job = QueuedJob(spec, self.queue.number(), now, now + config.queue_seconds)
        if not self.pool.could(job.demand):
            if not spec.patience:
                return [Refuse(spec.job, "no_model", self._retry_after())]
            job.deadline = now + min(spec.patience, config.queue_seconds)
        if not self.pool.serves(job.demand):
            job.unserved_since = now
        self.jobs[spec.job] = job
        self.queue.put(job)
        decisions = self._dispatch(now)
        if job.waiting and not config.queue_seconds:
            decisions.append(self._refuse(job, "full"))
        elif self.queue.new > config.queue_size:
            greediest = self.queue.greediest()
            fair = self.queue.waiting(greediest.spec.user) > self.queue.waiting(spec.user)
            decisions.append(self._refuse(greediest if fair else job, "full"))
        if job.waiting:
            self._time(job)
        return decisions

    def withdraw(self, name: str, now: float, *, silent: bool = False) -> list[Decision]:
        """Forget a job that is not wanted any more; `silent`: because its agent wrote nothing for too long."""
        job = self.jobs.get(name)
        if job is None:
            return []
        agent, disconnected = self.agents[job.agent] if job.agent is not None else None, job.disconnected_at
        if agent is not None and disconnected is None and silent:
            self._failed(agent, job, now)
        self._forget(job)
        if agent is None:
            return []
        if disconnected is not None:
            self._release(agent, name)
            return []
        self._set_unwanted(agent.id, name, now)
        return [CancelAttempt(name, agent.id, agent.assignments[name])]

    def job_ended(self, agent: str, name: str, attempt: int, now: float) -> list[Decision]:
        """Free the slot of an attempt that came to its end or was cancelled."""
        if not self._holds(agent, name, attempt):
            return []
        if self._release(self.agents[agent], name):
            job = self.jobs[name]
            self._mean_seconds += 0.2 * (now - job.started_at - self._mean_seconds)
            self.agents[agent].succeeded(job.demand[0])
            self._forget(job)
        return self._dispatch(now)

    def job_failed(self, agent: str, name: str, attempt: int, now: float) -> list[Decision]:
        """Give a job that failed on a connected agent to another one that has not tried it. Without such an agent it is
        refused."""
        if not self._holds(agent, name, attempt):
            return []
        if not self._release(self.agents[agent], name):
            return self._dispatch(now)
        job = self.jobs[name]
        self._failed(self.agents[agent], job, now)
        others = self.pool.serves(job.demand, {agent, *job.tried})
        decisions = self._lost(job, now, agent) if others else [self._refuse(job, "lost")]
        return decisions + self._dispatch(now)

    def job_returned(self, agent: str, name: str, attempt: int, now: float) -> list[Decision]:
        """Let a job wait again, in front, because its agent cannot take it now. The agent gets no job for a while."""
        if not self._holds(agent, name, attempt):
            return []
        wanted = self._release(self.agents[agent], name)
        self.agents[agent].pause = now + self.config.pause
        self._pauses.add(self.agents[agent])
        if wanted:
            self._requeue(self.jobs[name])
        return self._dispatch(now)

    def has_read(self, agent: str, model: str, prefix: PromptPrefix) -> None:
        """Note that an agent has the beginning of a prompt in its cache."""
        if agent in self.agents:
            self._choice.affinity.has_read(prefix, canonical_model_name(model), agent)

    def is_current(self, name: str, agent: str, attempt: int) -> bool:
        """Whether this is the job's current attempt."""
        job = self.jobs.get(name)
        return job is not None and job.attempt == attempt and job.agent == agent

    def moved_positions(self) -> list[QueuePosition]:
        """The queue positions that changed since the last call. Every job that starts moves the whole queue, so it is enough to
        ask a few times a second."""
        return [QueuePosition(job.spec.job, job.position) for job in self.queue.moved()]

    # Time.

    def look(self, now: float) -> list[Decision]:
        """Do what the passing of time requires."""
        decisions: list[Decision] = []
        if _passed(self._leases.first(), now):
            for agent in [each for each in self.agents.values() if _passed(each.until, now)]:
                decisions += self.leave(agent.id, now)
        if _passed(self._unwanted_timers.first(), now):
            overdue = [each for each in self._unwanted if _passed(self._unwanted_deadline(each), now)]
            for agent_id, name in overdue:
                self._set_unwanted(agent_id, name, now)
            decisions += map(CloseConnection, dict.fromkeys(agent_id for agent_id, _ in overdue))
        decisions += self._dispatch(now)
        if _passed(self._deadlines.first(), now):
            for job in [each for each in self.queue if self._deadline(each) <= now]:
                reason: Reason = "late" if job.unserved_since is None else "no_model"
                decisions.append(self._refuse(job, "lost" if job.losses else reason))
        return decisions

    def due(self, now: float) -> float | None:
        """When `look` has something to do, if nothing else happens; never before `now`."""
        times = [self._leases.first(), self._unwanted_timers.first(), self._grace_timers.first_after(now)]
        if self.queue:
            times += [
                self._deadlines.first(),
                self._affinity_timers.first_after(now),
                self._pauses.first_after(now),
                self._cooldowns.first_after(now),
            ]
        known = [each for each in times if each is not None]
        return max(now, min(known)) if known else None

    def _deadline(self, job: QueuedJob) -> float:
        """Until when the job waits. If no agent is there that could run it, no longer than an agent has to come back."""
        if job.unserved_since is None:
            return job.deadline
        return min(job.deadline, job.unserved_since + self.config.lease)

    def _affinity_end(self, job: QueuedJob) -> float | None:
        return job.queued_at + self.config.affinity_seconds if job.waiting else None

    def _grace_end(self, job: QueuedJob) -> float | None:
        return None if job.disconnected_at is None else job.disconnected_at + self.config.grace

    def _unwanted_deadline(self, attempt: tuple[str, str]) -> float | None:
        since = self._unwanted.get(attempt)
        return None if since is None else since + self.config.unwanted_seconds

    def _pause_end(self, agent: SchedulerAgent) -> float | None:
        return agent.pause if self.agents.get(agent.id) is agent else None

    def _cooldown_end(self, failed: tuple[SchedulerAgent, str]) -> float | None:
        agent, model = failed
        return agent.cools_down_until(model) if self.agents.get(agent.id) is agent else None

    def _time(self, job: QueuedJob) -> None:
        """Set the timers of a waiting job."""
        self._deadlines.add(job)
        self._affinity_timers.add(job)

    # How it is done.

    def _settle(self, now: float) -> list[Decision]:
        """Agents or their models came or went: note which jobs no agent serves any more, and start what can start."""
        served: dict[Demand, bool] = {}
        for job in self.queue:
            if job.demand not in served:
                served[job.demand] = self.pool.serves(job.demand)
            if served[job.demand] == (job.unserved_since is None):
                continue
            job.unserved_since = None if served[job.demand] else now
            self._deadlines.add(job)
        return self._dispatch(now)

    def _dispatch(self, now: float) -> list[Decision]:
        """Start what can start, those jobs first whose agent disconnected."""
        decisions: list[Decision] = []
        if self._disconnected and self.pool.with_free(self._disconnected_demands):
            decisions += self._replace(now)
        while demands := self.pool.with_free(self.queue.demands):
            for job in self.queue.in_order(demands):
                agent = self._choice.pick(job, now)
                if agent is not None:
                    self.queue.take(job)
                    decisions.append(self._assign(job, agent, now))
                    break
            else:
                break
        return decisions

    def _replace(self, now: float) -> list[Decision]:
        """Give jobs whose agent did not come back in time to agents that are free."""
        decisions: list[Decision] = []
        for job in list(self._disconnected.values()):
            grace = self._grace_end(job)
            if grace is None or now < grace:
                break
            agent = self._choice.pick(job, now) if job.losses + 1 < self.config.attempts else None
            if agent is not None and job.agent is not None:
                self._release(self.agents[job.agent], job.spec.job)
                job.tried.add(job.agent)
                job.losses += 1
                self._take_away(job)
                decisions.append(self._assign(job, agent, now))
        return decisions

    def _assign(self, job: QueuedJob, agent: SchedulerAgent, now: float) -> Assign:
        job.attempt += 1
        job.agent, job.started_at = agent.id, now
        self.pool.occupy(agent, job.spec.job, job.attempt)
        self.queue.started(job)
        self._choice.affinity.served(job, agent.id)
        return Assign(job.spec.job, agent.id, job.attempt)

    def _failed(self, agent: SchedulerAgent, job: QueuedJob, now: float) -> None:
        agent.failed(job.demand[0], now, self.config.cooldown, self.config.cooldown_most)
        self._cooldowns.add((agent, job.demand[0]))

    def _lost(self, job: QueuedJob, now: float, agent: str | None = None) -> list[Decision]:
        """Let a job wait for another agent because its own was lost, unless too many were."""
        lost = agent or job.agent
        if lost is not None:
            job.tried.add(lost)
        job.losses += 1
        if job.losses >= self.config.attempts:
            return [self._refuse(job, "lost")]
        # How long a new job waits is a setting; a job that had started waits for at least as long as its agent had.
        job.queued_at, job.deadline = now, now + max(self.config.queue_seconds, self.config.lease)
        job.unserved_since = None if self.pool.serves(job.demand) else now
        self._requeue(job)
        return []

    def _requeue(self, job: QueuedJob) -> None:
        self._take_away(job)
        self.queue.put(job, front=True)
        self._time(job)

    def _take_away(self, job: QueuedJob) -> None:
        """Let a job have no agent any more."""
        if job.agent is not None:
            self.queue.stopped(job.spec.user)
        job.agent = None
        self._clear_disconnected(job)

    def _clear_disconnected(self, job: QueuedJob) -> None:
        job.disconnected_at = None
        if self._disconnected.pop(job.spec.job, None) is not None:
            self._disconnected_demands -= Counter([job.demand])

    def _forget(self, job: QueuedJob) -> None:
        if job.waiting:
            self.queue.take(job)
        else:
            self._take_away(job)
        del self.jobs[job.spec.job]

    def _refuse(self, job: QueuedJob, reason: Reason) -> Refuse:
        self._forget(job)
        return Refuse(job.spec.job, reason, self._retry_after())

    def _holds(self, agent: str, job: str, attempt: int) -> bool:
        return agent in self.agents and self.agents[agent].assignments.get(job) == attempt

    def _release(self, agent: SchedulerAgent, job: str) -> bool:
        """Free the slot of a job. Whether the job is still wanted."""
        self.pool.release(agent, job)
        return self._unwanted.pop((agent.id, job), None) is None

    def _set_unwanted(self, agent: str, job: str, now: float) -> None:
        self._unwanted[agent, job] = now
        self._unwanted_timers.add((agent, job))

    def _retry_after(self) -> float:
        """A guess at the seconds until a slot is free for one more job."""
        seconds = self._mean_seconds * (len(self.queue) + 1) / (self.pool.slots or 1)
        return float(min(600, max(1, math.ceil(seconds))))


def _passed(at: float | None, now: float) -> bool:
    return at is not None and at <= now
