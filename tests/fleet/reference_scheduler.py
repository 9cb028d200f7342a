"""The first scheduler, which looks at every agent and every job for each decision: the model that the indexed one is compared
with. It decides the same and is too slow for many agents."""

import math
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
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
from legato.fleet.job_queue import JobSpec
from legato.fleet.model_names import canonical_model_name
from legato.fleet.protocol import ModelInfo
from legato.fleet.scheduling import AgentSpec

Told = Decision | QueuePosition


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


class SlotAssignment:
    """A slot that a job has. `unwanted` is since when nobody wants it, while it still runs there."""

    __slots__ = ("attempt", "unwanted")

    def __init__(self, attempt: int) -> None:
        self.attempt = attempt
        self.unwanted: float | None = None


class SchedulerAgent:
    """An agent in the books. It is `present` while it is connected and gives signs of life; else its lease ends at `until`
    (None: it is connected and silent, and has no lease any more). `pause` is until when it wants no job."""

    __slots__ = (
        "_failures",
        "any_model",
        "assignments",
        "draining",
        "generation",
        "id",
        "models",
        "pause",
        "present",
        "served",
        "slots",
        "until",
    )

    def __init__(self, agent: AgentSpec) -> None:
        self.id = agent.id
        self.generation = 2 if agent.resumes else 1
        self.slots = agent.slots
        self.models = _models(agent)
        self.any_model = agent.unlisted is None
        self.draining = False
        self.present = True
        self.until: float | None = None
        self.pause = 0.0
        self.served = 0
        self.assignments: dict[str, SlotAssignment] = {}
        self._failures: dict[str, tuple[int, float]] = {}

    def renew(self, agent: AgentSpec) -> None:
        """It is here again, as it says it is now."""
        self.slots, self.models, self.any_model = agent.slots, _models(agent), agent.unlisted is None
        self.present, self.until, self.draining, self.pause = True, None, False, 0.0

    @property
    def free(self) -> int:
        return self.slots - len(self.assignments)

    def has(self, model: str) -> bool:
        return self.any_model or canonical_model_name(model) in self.models

    def loaded(self, model: str) -> bool:
        facts = self.models.get(canonical_model_name(model))
        return facts is not None and facts.loaded

    def continues(self, model: str) -> bool:
        """Whether it goes on behind a text that stands there already."""
        facts = self.models.get(canonical_model_name(model))
        return facts is not None and facts.can is not None and facts.can.supports_prefill

    def failed(self, model: str, now: float, first: float, most: float) -> None:
        """The model failed on it: it ails for `first` seconds, and for twice as long after each failure in a row, up to `most`."""
        times, _ = self._failures.get(canonical_model_name(model), (0, 0.0))
        self._failures[canonical_model_name(model)] = (
            times + 1,
            now + min(most, first * 2.0 ** min(times, 10)),
        )

    def succeeded(self, model: str) -> None:
        """It ails no more."""
        self._failures.pop(canonical_model_name(model), None)

    def cooling_down(self, model: str, now: float) -> bool:
        """Whether the model has failed on it lately."""
        return self._failures.get(canonical_model_name(model), (0, 0.0))[1] > now

    def recoveries(self, now: float) -> Iterable[float]:
        """When it will ail no more."""
        return (until for _, until in self._failures.values() if until > now)

    def serves(self, entry: QueuedJob) -> bool:
        """Whether it is there for this job, now or once it has a free slot."""
        return self.present and not self.draining and self.could(entry)

    def could(self, entry: QueuedJob) -> bool:
        """Whether it is one for this job, were it there."""
        ticket = entry.ticket
        return self.has(ticket.model) and (not ticket.continuing or self.continues(ticket.model))

    def can(self, entry: QueuedJob, now: float) -> bool:
        """Whether it can begin this job now."""
        return (
            self.present
            and not self.draining
            and self.pause <= now
            and self.free > 0
            and entry.ticket.job not in self.assignments
            and self.could(entry)
        )


REMEMBERED = 10_000
"""Conversations of which it is remembered who served them last."""


class Affinity:
    """Who served a conversation last, and so has its beginning at hand."""

    def __init__(self) -> None:
        self._homes: OrderedDict[tuple[str, str], str] = OrderedDict()

    def of(self, entry: QueuedJob) -> str | None:
        return self._homes.get((entry.ticket.conversation, canonical_model_name(entry.ticket.model)))

    def served(self, entry: QueuedJob, seat: str) -> None:
        if entry.ticket.conversation:
            key = (entry.ticket.conversation, canonical_model_name(entry.ticket.model))
            self._homes[key] = seat
            self._homes.move_to_end(key)
            if len(self._homes) > REMEMBERED:
                self._homes.popitem(last=False)


def pick_agent(
    entry: QueuedJob, seats: Iterable[SchedulerAgent], home: str | None, lead: int
) -> SchedulerAgent | None:
    """Which of these, all of them able to begin, should: one that has not failed at it, then the home of the
    conversation unless it has more than `lead` jobs more than the idlest, then one that has the model loaded, then the
    least loaded, then the one that has waited longest."""
    seats = list(seats)
    if not seats:
        return None
    fresh = [seat for seat in seats if seat.id not in entry.tried] or seats
    model = entry.ticket.model
    if home is not None:
        least = min(len(seat.assignments) for seat in fresh)
        for seat in fresh:
            if seat.id == home and seat.loaded(model) and len(seat.assignments) <= least + lead:
                return seat
    return min(
        fresh, key=lambda seat: (not seat.loaded(model), len(seat.assignments) / seat.slots, seat.served)
    )


class ReferenceScheduler:
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

    def join(self, agent: AgentSpec, now: float) -> list[Told]:
        """An agent that was not here before takes jobs."""
        self.agents[agent.id] = SchedulerAgent(agent)
        return self._settle(now)

    def has_models(self, agent: str, facts: Mapping[str, ModelInfo], now: float) -> list[Told]:
        """Its models came or went."""
        self.agents[agent].models = dict(facts)
        return self._settle(now)

    def drain(self, agent: str) -> None:
        """It wants no more jobs."""
        self.agents[agent].draining = True

    def disconnected(self, agent: str, now: float) -> list[Told]:
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

    def reconnected(self, agent: AgentSpec, held: Iterable[tuple[str, int]], now: float) -> list[Told]:
        """It came back within its lease, and goes on with the jobs of `held` that are still its own."""
        seat, mine = self.agents[agent.id], set(held)
        seat.renew(agent)
        decisions: list[Told] = []
        for job, hold in list(seat.assignments.items()):
            if (job, hold.attempt) in mine:
                self.jobs[job].away = None
                self._away.pop(job, None)
            else:
                self._free(seat, job)
                decisions += self._lost(self.jobs[job], now)
        return decisions + self._settle(now)

    def suspend(self, agent: str, now: float) -> list[Told]:
        """It is connected and was silent for longer than its lease: what it holds goes elsewhere, and it gets nothing
        until it `thaw`s."""
        seat = self.agents[agent]
        seat.present = False
        decisions: list[Told] = []
        for job, hold in seat.assignments.items():
            if hold.unwanted is None:
                self._unwant(seat, job, hold, now)
                decisions.append(CancelAttempt(job, agent, hold.attempt))
                decisions += self._lost(self.jobs[job], now)
        return decisions + self._settle(now)

    def resume(self, agent: str, now: float) -> list[Told]:
        """It speaks again."""
        self.agents[agent].present = True
        return self._settle(now)

    def leave(self, agent: str, now: float) -> list[Told]:
        """It is gone for good."""
        seat = self.agents.pop(agent)
        decisions: list[Told] = []
        for job, hold in list(seat.assignments.items()):
            self._free(seat, job)
            if hold.unwanted is None:
                decisions += self._lost(self.jobs[job], now)
        return decisions + self._settle(now)

    # Jobs.

    def submit(self, ticket: JobSpec, now: float) -> list[Told]:
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

    def withdraw(self, job: str, now: float, *, silent: bool = False) -> list[Told]:
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

    def job_ended(self, agent: str, job: str, attempt: int, now: float) -> list[Told]:
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

    def job_failed(self, agent: str, job: str, attempt: int, now: float) -> list[Told]:
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

    def job_returned(self, agent: str, job: str, attempt: int, now: float) -> list[Told]:
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

    def look(self, now: float) -> list[Told]:
        """See whose time has come."""
        decisions: list[Told] = []
        for seat in [seat for seat in self.agents.values() if seat.until is not None and seat.until <= now]:
            decisions += self.leave(seat.id, now)
        overdue: dict[str, None] = {}
        for (agent, _), hold in self._unwanted.items():
            if hold.unwanted is not None and hold.unwanted + self.config.unwanted_seconds <= now:
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
            hold.unwanted + rules.unwanted_seconds
            for hold in self._unwanted.values()
            if hold.unwanted is not None
        ]
        times += [
            at
            for entry in self._away.values()
            if entry.away is not None and (at := entry.away + rules.grace) > now
        ]
        if self.queue:
            times += [self._deadline(entry) for entry in self.queue]
            times += [at for entry in self.queue if (at := entry.since + rules.affinity_seconds) > now]
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

    def _settle(self, now: float) -> list[Told]:
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
        return pick_agent(entry, well or able, home, self.config.affinity_lead)

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
        seat.failed(entry.ticket.model, now, self.config.cooldown, self.config.cooldown_most)

    def _waits_for(self, home: str, entry: QueuedJob, now: float) -> bool:
        """Whether the agent that has read this conversation is worth waiting for: it has no slot free, for now."""
        rules, ticket = self.config, entry.ticket
        if entry.losses or not rules.queue_seconds or ticket.size < rules.affinity_size:
            return False
        seat = self.agents.get(home)
        return (
            seat is not None
            and seat.present
            and not seat.draining
            and seat.free <= 0
            and seat.loaded(ticket.model)
            and not seat.cooling_down(ticket.model, now)
            and now < entry.since + rules.affinity_seconds
        )

    def _dispatch(self, now: float) -> list[Told]:
        return self._give(now) + self._places()

    def _give(self, now: float) -> list[Told]:
        """Give out what can be given out, those first whose agent was cut."""
        decisions: list[Told] = []
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

    def _lost(self, entry: QueuedJob, now: float, agent: str | None = None) -> list[Told]:
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

    def _places(self) -> list[Told]:
        """The places that changed since they were told."""
        told: list[Told] = []
        for place, entry in enumerate(self.queue.order(), start=1):
            if entry.place != place:
                entry.place = place
                told.append(QueuePosition(entry.ticket.job, place))
        return told

    def _wait_for_room(self) -> float:
        """A guess at when a slot will be free for one more."""
        slots = sum(seat.slots for seat in self.agents.values() if seat.present) or 1
        return float(min(600, max(1, math.ceil(self._mean * (len(self.queue) + 1) / slots))))


def _once(decisions: list[Told]) -> list[Told]:
    """Of several places of a job the last, and none of a job that was refused or given out since."""
    last = {each.job: each for each in decisions if not isinstance(each, CloseConnection | CancelAttempt)}
    return [each for each in decisions if not isinstance(each, QueuePosition) or last.get(each.job) is each]


def _models(agent: AgentSpec) -> dict[str, ModelInfo]:
    return {**{name: ModelInfo(name, loaded=False) for name in agent.unlisted or ()}, **agent.models}
