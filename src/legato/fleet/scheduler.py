"""Who gets which job, when a job is lost, and who waits where. Pure: time comes in, decisions come out as values."""

import math
from collections.abc import Iterable, Mapping
from itertools import count

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
from legato.fleet.job_queue import FairQueue, JobSpec, QueuedJob
from legato.fleet.protocol import ModelInfo
from legato.fleet.scheduling import Affinity, AgentSpec, SchedulerAgent, SlotAssignment, pick_agent


class Scheduler:
    """Every call takes what happened and the time, and returns what is to be done about it, in order.

    `due` says when to call `look` next, should nothing else happen.
    """

    def __init__(self, rules: SchedulerConfig | None = None) -> None:
        self.config = rules or SchedulerConfig()
        self.agents: dict[str, SchedulerAgent] = {}
        self.jobs: dict[str, QueuedJob] = {}
        self.queue = FairQueue()
        self._away: dict[str, QueuedJob] = {}
        self._unwanted: dict[tuple[str, str], SlotAssignment] = {}
        self._homes = Affinity()
        self._turns = count(1)
        self._mean = 5.0

    # Agents.

    def join(self, agent: AgentSpec, now: float) -> list[Decision]:
        """An agent that was not here before takes jobs."""
        self.agents[agent.id] = SchedulerAgent(agent)
        return self._settle(now)

    def has_models(self, agent: str, facts: Mapping[str, ModelInfo], now: float) -> list[Decision]:
        """Its models came or went."""
        self.agents[agent].models = dict(facts)
        return self._settle(now)

    def drain(self, agent: str) -> None:
        """It wants no more jobs."""
        self.agents[agent].draining = True

    def disconnected(self, agent: str, now: float) -> list[Decision]:
        """Its connection is gone. The second generation may come back within its lease; the first cannot, and one that was
        about to end and holds nothing any more will not."""
        seat = self.agents[agent]
        ended = seat.draining and all(hold.unwanted is not None for hold in seat.assignments.values())
        if seat.generation < 2 or ended or (seat.until is None and not seat.present):
            return self.leave(agent, now)
        seat.present, seat.until = False, now + self.config.lease
        for job in [job for job, hold in seat.assignments.items() if hold.unwanted is not None]:
            self._free(seat, job)
        for job in seat.assignments:
            entry = self._away[job] = self.jobs[job]
            entry.away = now
        return self._settle(now)

    def reconnected(self, agent: AgentSpec, held: Iterable[tuple[str, int]], now: float) -> list[Decision]:
        """It came back within its lease, and goes on with the jobs of `held` that are still its own."""
        seat, mine = self.agents[agent.id], set(held)
        seat.renew(agent)
        decisions: list[Decision] = []
        for job, hold in list(seat.assignments.items()):
            if (job, hold.attempt) in mine:
                self.jobs[job].away = None
                self._away.pop(job, None)
            else:
                self._free(seat, job)
                decisions += self._lost(self.jobs[job], now)
        return decisions + self._settle(now)

    def suspend(self, agent: str, now: float) -> list[Decision]:
        """It is connected and was silent for longer than its lease: what it holds goes elsewhere, and it gets nothing
        until it `thaw`s."""
        seat = self.agents[agent]
        seat.present = False
        decisions: list[Decision] = []
        for job, hold in seat.assignments.items():
            if hold.unwanted is None:
                self._unwant(seat, job, hold, now)
                decisions.append(CancelAttempt(job, agent, hold.attempt))
                decisions += self._lost(self.jobs[job], now)
        return decisions + self._settle(now)

    def resume(self, agent: str, now: float) -> list[Decision]:
        """It speaks again."""
        self.agents[agent].present = True
        return self._settle(now)

    def leave(self, agent: str, now: float) -> list[Decision]:
        """It is gone for good."""
        seat = self.agents.pop(agent)
        decisions: list[Decision] = []
        for job, hold in list(seat.assignments.items()):
            self._free(seat, job)
            if hold.unwanted is None:
                decisions += self._lost(self.jobs[job], now)
        return decisions + self._settle(now)

    # Jobs.

    def submit(self, ticket: JobSpec, now: float) -> list[Decision]:
        """A reply is wanted. It is given to an agent, waits, or is refused at once."""
        rules = self.config
        entry = QueuedJob(ticket, self.queue.number(), now, now + rules.queue_seconds)
        if not self._possible(entry):
            if not ticket.patience:
                return [Refuse(ticket.job, "no_model", self._wait_for_room())]
            entry.deadline = now + min(ticket.patience, rules.queue_seconds)
        if not self._served(entry):
            entry.alone = now
        self.jobs[ticket.job] = entry
        self.queue.put(entry)
        decisions = self._give(now)
        if entry.seat is None and not rules.queue_seconds:
            decisions.append(self._refuse(entry, "full"))
        elif self.queue.new > rules.queue_size:
            greediest = self.queue.greediest()
            fair = self.queue.waiting(greediest.ticket.user) > self.queue.waiting(ticket.user)
            decisions.append(self._refuse(greediest if fair else entry, "full"))
        return decisions + self._places()

    def withdraw(self, job: str, now: float, *, silent: bool = False) -> list[Decision]:
        """Nobody wants it any more; `silent`: because its agent said nothing for too long."""
        entry = self.jobs.get(job)
        if entry is None:
            return []
        if entry.seat is None:
            self._forget(entry)
            return self._places()
        seat = self.agents[entry.seat]
        hold = seat.assignments[job]
        if entry.away is not None:
            self._free(seat, job)
            self._forget(entry)
            return []
        if silent:
            self._failed(seat, entry, now)
        self._forget(entry)
        self._unwant(seat, job, hold, now)
        return [CancelAttempt(job, seat.id, hold.attempt)]

    def job_ended(self, agent: str, job: str, attempt: int, now: float) -> list[Decision]:
        """Nothing of it runs there any more: it came to its end, or was cancelled."""
        seat = self.agents.get(agent)
        if seat is None or job not in seat.assignments or seat.assignments[job].attempt != attempt:
            return []
        hold = seat.assignments[job]
        self._free(seat, job)
        entry = self.jobs.get(job)
        if entry is not None and hold.unwanted is None:
            self._mean += 0.2 * (now - entry.began - self._mean)
            seat.succeeded(entry.ticket.model)
            self._forget(entry)
        return self._dispatch(now)

    def job_failed(self, agent: str, job: str, attempt: int, now: float) -> list[Decision]:
        """The agent is there, and this job broke on it: another one begins or goes on, where there is one that has not tried."""
        seat = self.agents.get(agent)
        if seat is None or job not in seat.assignments or seat.assignments[job].attempt != attempt:
            return []
        entry = self.jobs.get(job)
        unwanted = seat.assignments[job].unwanted is not None
        self._free(seat, job)
        if entry is None or unwanted:
            return self._dispatch(now)
        self._failed(seat, entry, now)
        tried = {agent, *entry.tried}
        others = any(each.serves(entry) and each.id not in tried for each in self.agents.values())
        decisions = self._lost(entry, now, agent) if others else [self._refuse(entry, "lost")]
        return decisions + self._dispatch(now)

    def job_returned(self, agent: str, job: str, attempt: int, now: float) -> list[Decision]:
        """The agent cannot take it now: it waits again, in front, and the agent is left alone for a while."""
        seat = self.agents.get(agent)
        if seat is None or job not in seat.assignments or seat.assignments[job].attempt != attempt:
            return []
        unwanted = seat.assignments[job].unwanted is not None
        self._free(seat, job)
        seat.pause = now + self.config.pause
        if not unwanted:
            self._requeue(self.jobs[job])
        return self._dispatch(now)

    def is_current(self, job: str, agent: str, attempt: int) -> bool:
        """Whether this is the job's current attempt."""
        entry = self.jobs.get(job)
        return entry is not None and entry.attempt == attempt and entry.seat == agent

    # Time.

    def look(self, now: float) -> list[Decision]:
        """See whose time has come."""
        decisions: list[Decision] = []
        for seat in [seat for seat in self.agents.values() if seat.until is not None and seat.until <= now]:
            decisions += self.leave(seat.id, now)
        overdue: dict[str, None] = {}
        for (agent, _), hold in self._unwanted.items():
            if hold.unwanted is not None and hold.unwanted + self.config.unwanted <= now:
                hold.unwanted = now
                overdue[agent] = None
        decisions += map(CloseConnection, overdue)
        decisions += self._dispatch(now)
        for entry in [entry for entry in self.queue if self._deadline(entry) <= now]:
            reason: Reason = "late" if entry.alone is None else "no_model"
            decisions.append(self._refuse(entry, "lost" if entry.losses else reason))
        return _once(decisions + self._places())

    def due(self, now: float) -> float | None:
        """When something happens by the passing of time alone; never before `now`."""
        rules = self.config
        times = [seat.until for seat in self.agents.values() if seat.until is not None]
        times += [
            hold.unwanted + rules.unwanted for hold in self._unwanted.values() if hold.unwanted is not None
        ]
        times += [
            at
            for entry in self._away.values()
            if entry.away is not None and (at := entry.away + rules.grace) > now
        ]
        if self.queue:
            times += [self._deadline(entry) for entry in self.queue]
            times += [at for entry in self.queue if (at := entry.since + rules.home_seconds) > now]
            times += [seat.pause for seat in self.agents.values() if seat.pause > now]
            times += [at for seat in self.agents.values() for at in seat.recoveries(now)]
        return max(now, min(times)) if times else None

    # How it is done.

    def _possible(self, entry: QueuedJob) -> bool:
        """Whether anybody could do it, now or later."""
        return any(seat.could(entry) for seat in self.agents.values())

    def _served(self, entry: QueuedJob) -> bool:
        """Whether one of the agents that are there could do it, now or once it has a free slot."""
        return any(seat.serves(entry) for seat in self.agents.values())

    def _deadline(self, entry: QueuedJob) -> float:
        """Until when it waits: where nobody is there for it, no longer than an agent has to come back."""
        if entry.alone is None:
            return entry.deadline
        return min(entry.deadline, entry.alone + self.config.lease)

    def _settle(self, now: float) -> list[Decision]:
        """Agents or their models came or went: see who is left alone by it, and give out what can be given out."""
        served: dict[tuple[str, bool], bool] = {}
        for entry in self.queue:
            wanted = entry.ticket.model, entry.ticket.continuing
            if wanted not in served:
                served[wanted] = self._served(entry)
            if served[wanted]:
                entry.alone = None
            elif entry.alone is None:
                entry.alone = now
        return self._dispatch(now)

    def _pick(self, entry: QueuedJob, now: float) -> SchedulerAgent | None:
        able = [seat for seat in self.agents.values() if seat.can(entry, now)]
        well = [seat for seat in able if not seat.cooling_down(entry.ticket.model, now)]
        if not able or (not well and self._waits_for_others(entry, now)):
            return None
        home = self._homes.of(entry)
        if home is not None and self._waits_for(home, entry, now):
            return None
        return pick_agent(entry, well or able, home, self.config.home_lead)

    def _waits_for_others(self, entry: QueuedJob, now: float) -> bool:
        """Whether those that can begin it ail, and there is a busy one that does not, or that has not failed at it yet."""
        if not entry.losses and not self.config.queue_seconds:
            return False
        return any(
            seat.serves(entry)
            and seat.id not in entry.tried
            and (entry.tried or not seat.cooling_down(entry.ticket.model, now))
            for seat in self.agents.values()
        )

    def _failed(self, seat: SchedulerAgent, entry: QueuedJob, now: float) -> None:
        seat.failed(entry.ticket.model, now, self.config.ails, self.config.ails_most)

    def _waits_for(self, home: str, entry: QueuedJob, now: float) -> bool:
        """Whether the agent that has read this conversation is worth waiting for: it has no slot free, for now."""
        rules, ticket = self.config, entry.ticket
        if entry.losses or not rules.queue_seconds or ticket.size < rules.home_size:
            return False
        seat = self.agents.get(home)
        return (
            seat is not None
            and seat.present
            and not seat.draining
            and seat.free <= 0
            and seat.loaded(ticket.model)
            and not seat.cooling_down(ticket.model, now)
            and now < entry.since + rules.home_seconds
        )

    def _dispatch(self, now: float) -> list[Decision]:
        return self._give(now) + self._places()

    def _give(self, now: float) -> list[Decision]:
        """Give out what can be given out, those first whose agent was cut."""
        decisions: list[Decision] = []
        for entry in list(self._away.values()):
            if (
                entry.away is None
                or now < entry.away + self.config.grace
                or entry.losses + 1 >= self.config.attempts
            ):
                continue
            seat = self._pick(entry, now)
            if seat is not None and entry.seat is not None:
                self._free(self.agents[entry.seat], entry.ticket.job)
                entry.tried.add(entry.seat)
                entry.losses += 1
                self._off(entry)
                decisions.append(self._assign(entry, seat, now))
        given = len(self.queue) > 0
        while given and any(
            seat.present and seat.free > 0 and not seat.draining for seat in self.agents.values()
        ):
            given = False
            for entry in self.queue.order():
                seat = self._pick(entry, now)
                if seat is not None:
                    self.queue.take(entry)
                    decisions.append(self._assign(entry, seat, now))
                    given = True
                    break
        return decisions

    def _assign(self, entry: QueuedJob, seat: SchedulerAgent, now: float) -> Assign:
        entry.attempt += 1
        entry.seat, entry.began = seat.id, now
        seat.assignments[entry.ticket.job] = SlotAssignment(entry.attempt)
        seat.served = next(self._turns)
        self.queue.runs(entry.ticket.user)
        self._homes.served(entry, seat.id)
        return Assign(entry.ticket.job, seat.id, entry.attempt)

    def _lost(self, entry: QueuedJob, now: float, agent: str | None = None) -> list[Decision]:
        """Its agent is gone, with its lease: another one may try, unless enough did."""
        lost = agent or entry.seat
        if lost is not None:
            entry.tried.add(lost)
        entry.losses += 1
        if entry.losses >= self.config.attempts:
            return [self._refuse(entry, "lost")]
        # How long a new one waits is a matter of manners; one that was begun is owed at least what its agent had.
        entry.since, entry.deadline = now, now + max(self.config.queue_seconds, self.config.lease)
        entry.alone = None if self._served(entry) else now
        self._requeue(entry)
        return []

    def _requeue(self, entry: QueuedJob) -> None:
        self._off(entry)
        self.queue.put(entry, front=True)

    def _off(self, entry: QueuedJob) -> None:
        """It has no agent any more."""
        if entry.seat is not None:
            self.queue.ran(entry.ticket.user)
        entry.seat = entry.away = None
        self._away.pop(entry.ticket.job, None)

    def _forget(self, entry: QueuedJob) -> None:
        if entry.seat is None:
            self.queue.take(entry)
        else:
            self._off(entry)
        del self.jobs[entry.ticket.job]

    def _refuse(self, entry: QueuedJob, reason: Reason) -> Refuse:
        self._forget(entry)
        return Refuse(entry.ticket.job, reason, self._wait_for_room())

    def _free(self, seat: SchedulerAgent, job: str) -> None:
        del seat.assignments[job]
        self._unwanted.pop((seat.id, job), None)

    def _unwant(self, seat: SchedulerAgent, job: str, hold: SlotAssignment, now: float) -> None:
        hold.unwanted = now
        self._unwanted[seat.id, job] = hold

    def _places(self) -> list[Decision]:
        """The places that changed since they were told."""
        told: list[Decision] = []
        for place, entry in enumerate(self.queue.order(), start=1):
            if entry.place != place:
                entry.place = place
                told.append(QueuePosition(entry.ticket.job, place))
        return told

    def _wait_for_room(self) -> float:
        """A guess at when a slot will be free for one more."""
        slots = sum(seat.slots for seat in self.agents.values() if seat.present) or 1
        return float(min(600, max(1, math.ceil(self._mean * (len(self.queue) + 1) / slots))))


def _once(decisions: list[Decision]) -> list[Decision]:
    """Of several places of a job the last, and none of a job that was refused or given out since."""
    last = {each.job: each for each in decisions if not isinstance(each, CloseConnection | CancelAttempt)}
    return [each for each in decisions if not isinstance(each, QueuePosition) or last.get(each.job) is each]
