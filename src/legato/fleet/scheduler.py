"""Who gets which job, when a job is lost, and who waits where. Pure: time comes in, decisions come out as values."""

import math
from collections.abc import Iterable, Mapping
from itertools import count

from legato.fleet.decisions import Assign, Cancel, Decision, HangUp, Placed, Reason, Refuse, Rules
from legato.fleet.places import Entry, Line, Ticket
from legato.fleet.protocol import Facts
from legato.fleet.roster import Agent, Hold, Homes, Seat, best


class Scheduler:
    """Every call takes what happened and the time, and returns what is to be done about it, in order.

    `due` says when to call `look` next, should nothing else happen.
    """

    def __init__(self, rules: Rules | None = None) -> None:
        self.rules = rules or Rules()
        self.seats: dict[str, Seat] = {}
        self.jobs: dict[str, Entry] = {}
        self.line = Line()
        self._away: dict[str, Entry] = {}
        self._unwanted: dict[tuple[str, str], Hold] = {}
        self._homes = Homes()
        self._turns = count(1)
        self._mean = 5.0

    # Agents.

    def join(self, agent: Agent, now: float) -> list[Decision]:
        """An agent that was not here before takes jobs."""
        self.seats[agent.id] = Seat(agent)
        return self._settle(now)

    def has_models(self, agent: str, facts: Mapping[str, Facts], now: float) -> list[Decision]:
        """Its models came or went."""
        self.seats[agent].facts = dict(facts)
        return self._settle(now)

    def drain(self, agent: str) -> None:
        """It wants no more jobs."""
        self.seats[agent].draining = True

    def cut(self, agent: str, now: float) -> list[Decision]:
        """Its connection is gone. The second generation may come back within its lease; the first cannot, and one that was
        about to end and holds nothing any more will not."""
        seat = self.seats[agent]
        ended = seat.draining and all(hold.unwanted is not None for hold in seat.holds.values())
        if seat.generation < 2 or ended or (seat.until is None and not seat.present):
            return self.leave(agent, now)
        seat.present, seat.until = False, now + self.rules.lease
        for job in [job for job, hold in seat.holds.items() if hold.unwanted is not None]:
            self._free(seat, job)
        for job in seat.holds:
            entry = self._away[job] = self.jobs[job]
            entry.away = now
        return self._settle(now)

    def back(self, agent: Agent, held: Iterable[tuple[str, int]], now: float) -> list[Decision]:
        """It came back within its lease, and goes on with the jobs of `held` that are still its own."""
        seat, mine = self.seats[agent.id], set(held)
        seat.renew(agent)
        decisions: list[Decision] = []
        for job, hold in list(seat.holds.items()):
            if (job, hold.attempt) in mine:
                self.jobs[job].away = None
                self._away.pop(job, None)
            else:
                self._free(seat, job)
                decisions += self._lost(self.jobs[job], now)
        return decisions + self._settle(now)

    def lapse(self, agent: str, now: float) -> list[Decision]:
        """It is connected and was silent for longer than its lease: what it holds goes elsewhere, and it gets nothing
        until it `thaw`s."""
        seat = self.seats[agent]
        seat.present = False
        decisions: list[Decision] = []
        for job, hold in seat.holds.items():
            if hold.unwanted is None:
                self._unwant(seat, job, hold, now)
                decisions.append(Cancel(job, agent, hold.attempt))
                decisions += self._lost(self.jobs[job], now)
        return decisions + self._settle(now)

    def thaw(self, agent: str, now: float) -> list[Decision]:
        """It speaks again."""
        self.seats[agent].present = True
        return self._settle(now)

    def leave(self, agent: str, now: float) -> list[Decision]:
        """It is gone for good."""
        seat = self.seats.pop(agent)
        decisions: list[Decision] = []
        for job, hold in list(seat.holds.items()):
            self._free(seat, job)
            if hold.unwanted is None:
                decisions += self._lost(self.jobs[job], now)
        return decisions + self._settle(now)

    # Jobs.

    def submit(self, ticket: Ticket, now: float) -> list[Decision]:
        """A reply is wanted. It is given to an agent, waits, or is refused at once."""
        rules = self.rules
        entry = Entry(ticket, self.line.number(), now, now + rules.queue_seconds)
        if not self._possible(entry):
            if not ticket.patience:
                return [Refuse(ticket.job, "no_model", self._wait_for_room())]
            entry.deadline = now + min(ticket.patience, rules.queue_seconds)
        if not self._served(entry):
            entry.alone = now
        self.jobs[ticket.job] = entry
        self.line.put(entry)
        decisions = self._give(now)
        if entry.seat is None and not rules.queue_seconds:
            decisions.append(self._refuse(entry, "full"))
        elif self.line.new > rules.queue_size:
            greediest = self.line.greediest()
            fair = self.line.waiting(greediest.ticket.user) > self.line.waiting(ticket.user)
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
        seat = self.seats[entry.seat]
        hold = seat.holds[job]
        if entry.away is not None:
            self._free(seat, job)
            self._forget(entry)
            return []
        if silent:
            self._failed(seat, entry, now)
        self._forget(entry)
        self._unwant(seat, job, hold, now)
        return [Cancel(job, seat.id, hold.attempt)]

    def ended(self, agent: str, job: str, attempt: int, now: float) -> list[Decision]:
        """Nothing of it runs there any more: it came to its end, or was cancelled."""
        seat = self.seats.get(agent)
        if seat is None or job not in seat.holds or seat.holds[job].attempt != attempt:
            return []
        hold = seat.holds[job]
        self._free(seat, job)
        entry = self.jobs.get(job)
        if entry is not None and hold.unwanted is None:
            self._mean += 0.2 * (now - entry.began - self._mean)
            seat.succeeded(entry.ticket.model)
            self._forget(entry)
        return self._dispatch(now)

    def broke(self, agent: str, job: str, attempt: int, now: float) -> list[Decision]:
        """The agent is there, and this job broke on it: another one begins or goes on, where there is one that has not tried."""
        seat = self.seats.get(agent)
        if seat is None or job not in seat.holds or seat.holds[job].attempt != attempt:
            return []
        entry = self.jobs.get(job)
        unwanted = seat.holds[job].unwanted is not None
        self._free(seat, job)
        if entry is None or unwanted:
            return self._dispatch(now)
        self._failed(seat, entry, now)
        tried = {agent, *entry.tried}
        others = any(each.serves(entry) and each.id not in tried for each in self.seats.values())
        decisions = self._lost(entry, now, agent) if others else [self._refuse(entry, "lost")]
        return decisions + self._dispatch(now)

    def returned(self, agent: str, job: str, attempt: int, now: float) -> list[Decision]:
        """The agent cannot take it now: it waits again, in front, and the agent is left alone for a while."""
        seat = self.seats.get(agent)
        if seat is None or job not in seat.holds or seat.holds[job].attempt != attempt:
            return []
        unwanted = seat.holds[job].unwanted is not None
        self._free(seat, job)
        seat.pause = now + self.rules.pause
        if not unwanted:
            self._requeue(self.jobs[job])
        return self._dispatch(now)

    def stands(self, job: str, agent: str, attempt: int) -> bool:
        """Whether this is the job's current attempt."""
        entry = self.jobs.get(job)
        return entry is not None and entry.attempt == attempt and entry.seat == agent

    # Time.

    def look(self, now: float) -> list[Decision]:
        """See whose time has come."""
        decisions: list[Decision] = []
        for seat in [seat for seat in self.seats.values() if seat.until is not None and seat.until <= now]:
            decisions += self.leave(seat.id, now)
        overdue: dict[str, None] = {}
        for (agent, _), hold in self._unwanted.items():
            if hold.unwanted is not None and hold.unwanted + self.rules.unwanted <= now:
                hold.unwanted = now
                overdue[agent] = None
        decisions += map(HangUp, overdue)
        decisions += self._dispatch(now)
        for entry in [entry for entry in self.line if self._deadline(entry) <= now]:
            reason: Reason = "late" if entry.alone is None else "no_model"
            decisions.append(self._refuse(entry, "lost" if entry.losses else reason))
        return _once(decisions + self._places())

    def due(self, now: float) -> float | None:
        """When something happens by the passing of time alone; never before `now`."""
        rules = self.rules
        times = [seat.until for seat in self.seats.values() if seat.until is not None]
        times += [
            hold.unwanted + rules.unwanted for hold in self._unwanted.values() if hold.unwanted is not None
        ]
        times += [
            at
            for entry in self._away.values()
            if entry.away is not None and (at := entry.away + rules.grace) > now
        ]
        if self.line:
            times += [self._deadline(entry) for entry in self.line]
            times += [at for entry in self.line if (at := entry.since + rules.home_seconds) > now]
            times += [seat.pause for seat in self.seats.values() if seat.pause > now]
            times += [at for seat in self.seats.values() for at in seat.recoveries(now)]
        return max(now, min(times)) if times else None

    # How it is done.

    def _possible(self, entry: Entry) -> bool:
        """Whether anybody could do it, now or later."""
        return any(seat.could(entry) for seat in self.seats.values())

    def _served(self, entry: Entry) -> bool:
        """Whether one of the agents that are there could do it, now or once it has a free slot."""
        return any(seat.serves(entry) for seat in self.seats.values())

    def _deadline(self, entry: Entry) -> float:
        """Until when it waits: where nobody is there for it, no longer than an agent has to come back."""
        if entry.alone is None:
            return entry.deadline
        return min(entry.deadline, entry.alone + self.rules.lease)

    def _settle(self, now: float) -> list[Decision]:
        """Agents or their models came or went: see who is left alone by it, and give out what can be given out."""
        served: dict[tuple[str, bool], bool] = {}
        for entry in self.line:
            wanted = entry.ticket.model, entry.ticket.continuing
            if wanted not in served:
                served[wanted] = self._served(entry)
            if served[wanted]:
                entry.alone = None
            elif entry.alone is None:
                entry.alone = now
        return self._dispatch(now)

    def _pick(self, entry: Entry, now: float) -> Seat | None:
        able = [seat for seat in self.seats.values() if seat.can(entry, now)]
        well = [seat for seat in able if not seat.ails(entry.ticket.model, now)]
        if not able or (not well and self._waits_for_others(entry, now)):
            return None
        home = self._homes.of(entry)
        if home is not None and self._waits_for(home, entry, now):
            return None
        return best(entry, well or able, home, self.rules.home_lead)

    def _waits_for_others(self, entry: Entry, now: float) -> bool:
        """Whether those that can begin it ail, and there is a busy one that does not, or that has not failed at it yet."""
        if not entry.losses and not self.rules.queue_seconds:
            return False
        return any(
            seat.serves(entry)
            and seat.id not in entry.tried
            and (entry.tried or not seat.ails(entry.ticket.model, now))
            for seat in self.seats.values()
        )

    def _failed(self, seat: Seat, entry: Entry, now: float) -> None:
        seat.failed(entry.ticket.model, now, self.rules.ails, self.rules.ails_most)

    def _waits_for(self, home: str, entry: Entry, now: float) -> bool:
        """Whether the agent that has read this conversation is worth waiting for: it has no slot free, for now."""
        rules, ticket = self.rules, entry.ticket
        if entry.losses or not rules.queue_seconds or ticket.size < rules.home_size:
            return False
        seat = self.seats.get(home)
        return (
            seat is not None
            and seat.present
            and not seat.draining
            and seat.free <= 0
            and seat.loaded(ticket.model)
            and not seat.ails(ticket.model, now)
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
                or now < entry.away + self.rules.grace
                or entry.losses + 1 >= self.rules.attempts
            ):
                continue
            seat = self._pick(entry, now)
            if seat is not None and entry.seat is not None:
                self._free(self.seats[entry.seat], entry.ticket.job)
                entry.tried.add(entry.seat)
                entry.losses += 1
                self._off(entry)
                decisions.append(self._assign(entry, seat, now))
        given = len(self.line) > 0
        while given and any(
            seat.present and seat.free > 0 and not seat.draining for seat in self.seats.values()
        ):
            given = False
            for entry in self.line.order():
                seat = self._pick(entry, now)
                if seat is not None:
                    self.line.take(entry)
                    decisions.append(self._assign(entry, seat, now))
                    given = True
                    break
        return decisions

    def _assign(self, entry: Entry, seat: Seat, now: float) -> Assign:
        entry.attempt += 1
        entry.seat, entry.began = seat.id, now
        seat.holds[entry.ticket.job] = Hold(entry.attempt)
        seat.served = next(self._turns)
        self.line.runs(entry.ticket.user)
        self._homes.served(entry, seat.id)
        return Assign(entry.ticket.job, seat.id, entry.attempt)

    def _lost(self, entry: Entry, now: float, agent: str | None = None) -> list[Decision]:
        """Its agent is gone, with its lease: another one may try, unless enough did."""
        lost = agent or entry.seat
        if lost is not None:
            entry.tried.add(lost)
        entry.losses += 1
        if entry.losses >= self.rules.attempts:
            return [self._refuse(entry, "lost")]
        # How long a new one waits is a matter of manners; one that was begun is owed at least what its agent had.
        entry.since, entry.deadline = now, now + max(self.rules.queue_seconds, self.rules.lease)
        entry.alone = None if self._served(entry) else now
        self._requeue(entry)
        return []

    def _requeue(self, entry: Entry) -> None:
        self._off(entry)
        self.line.put(entry, front=True)

    def _off(self, entry: Entry) -> None:
        """It has no agent any more."""
        if entry.seat is not None:
            self.line.ran(entry.ticket.user)
        entry.seat = entry.away = None
        self._away.pop(entry.ticket.job, None)

    def _forget(self, entry: Entry) -> None:
        if entry.seat is None:
            self.line.take(entry)
        else:
            self._off(entry)
        del self.jobs[entry.ticket.job]

    def _refuse(self, entry: Entry, reason: Reason) -> Refuse:
        self._forget(entry)
        return Refuse(entry.ticket.job, reason, self._wait_for_room())

    def _free(self, seat: Seat, job: str) -> None:
        del seat.holds[job]
        self._unwanted.pop((seat.id, job), None)

    def _unwant(self, seat: Seat, job: str, hold: Hold, now: float) -> None:
        hold.unwanted = now
        self._unwanted[seat.id, job] = hold

    def _places(self) -> list[Decision]:
        """The places that changed since they were told."""
        told: list[Decision] = []
        for place, entry in enumerate(self.line.order(), start=1):
            if entry.place != place:
                entry.place = place
                told.append(Placed(entry.ticket.job, place))
        return told

    def _wait_for_room(self) -> float:
        """A guess at when a slot will be free for one more."""
        slots = sum(seat.slots for seat in self.seats.values() if seat.present) or 1
        return float(min(600, max(1, math.ceil(self._mean * (len(self.line) + 1) / slots))))


def _once(decisions: list[Decision]) -> list[Decision]:
    """Of several places of a job the last, and none of a job that was refused or given out since."""
    last = {each.job: each for each in decisions if not isinstance(each, HangUp | Cancel)}
    return [each for each in decisions if not isinstance(each, Placed) or last.get(each.job) is each]
