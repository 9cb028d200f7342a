"""Where agents and replies meet: links and runs in, the scheduler asked, and what it decides done at once."""

import asyncio
import logging
import secrets
import time
from collections import deque
from collections.abc import Callable, Iterable

from msgspec.structs import replace

from legato.engines.base import Outcome
from legato.errors import EngineGaveUpError
from legato.fleet.agent_connection import AgentConnection
from legato.fleet.agent_record import AgentRecord
from legato.fleet.agent_registry import AgentRegistry
from legato.fleet.decisions import (
    Assign,
    CancelAttempt,
    CloseConnection,
    Decision,
    Refuse,
    SchedulerConfig,
)
from legato.fleet.errors import RETRIED, broken, refused
from legato.fleet.job_attempt import JobAttempt
from legato.fleet.job_queue import JobSpec
from legato.fleet.model_names import canonical_model_name
from legato.fleet.protocol import HEARTBEAT, JobEnded, JobFailed, ModelInfo, Register, Registered, ResumeAt
from legato.fleet.protocol_v1 import first_name, job_of, prompt_job
from legato.fleet.reply_assembly import ReplyAssembly
from legato.fleet.scheduler import Scheduler

logger = logging.getLogger(__name__)

TICK = 0.5
"""Seconds between two looks at who is silent, and at how fast tokens come."""

ACK_SECONDS = 1.0
"""How long an agent keeps what it was not told to have arrived. Each job it writes costs a frame in this time, which at
twenty tokens a second and a tenth of a second was every third frame that the server handled."""

PLACES_SECONDS = 0.25
"""Seconds between two tellings of who waits where, at least: with each job that is done everybody moves."""

INTRODUCTION = 10.0
"""Seconds that an agent may take to register."""

GOING_AWAY = 1012


class Dispatcher:
    """The host of the links. Nothing here waits: what is to happen later, a timer does.

    `done` and `lost` count jobs. `listeners` are called when something changed.
    """

    def __init__(self, rules: SchedulerConfig, clock: Callable[[], float]) -> None:
        self.scheduler = Scheduler(rules)
        self.members = AgentRegistry()
        self.listeners: set[Callable[[], None]] = set()
        self.done = 0
        self.lost = 0
        self._clock = clock
        self._tick_seconds = min(TICK, rules.lease / 4)
        self._links: set[AgentConnection] = set()
        self._runs: dict[str, ReplyAssembly] = {}
        self._stopping: dict[str, asyncio.Future[None]] = {}
        self._dirty: set[AgentConnection] = set()
        self._looked = 0.0
        self._due: float | None = None
        self._waking: asyncio.TimerHandle | None = None
        self._ticking: asyncio.TimerHandle | None = None
        self._placing: asyncio.TimerHandle | None = None

    # Replies.

    def submit(self, run: ReplyAssembly, ticket: JobSpec) -> None:
        """Let it be written. `run.end` is done when it is."""
        self._runs[run.id] = run
        self._do(self.scheduler.submit(ticket, self._clock()))

    def withdraw(self, run: ReplyAssembly, *, silent: bool = False) -> None:
        """Nobody wants it any more; `silent`: because its agent said nothing for too long. `run.stopped` is there, and done once it runs nowhere, if anybody was told to stop."""
        if self._runs.pop(run.id, None) is None:
            return
        decisions = self.scheduler.withdraw(run.id, self._clock(), silent=silent)
        member = self.members.get(run.agent or "")
        if member is not None:
            member.kept.pop(run.id, None)
            if member.generation > 1 and any(isinstance(each, CancelAttempt) for each in decisions):
                run.stopped = asyncio.get_running_loop().create_future()
                self._stopping[run.id] = run.stopped
        self._do(decisions)

    # Connections.

    def connect(
        self,
        send: Callable[[bytes], None],
        close: Callable[[int, str], None],
        allowed: frozenset[str] | None = None,
        owner: str = "",
    ) -> AgentConnection:
        """Somebody is at the door, and has shown a key where one is needed: welcome them."""
        link = AgentConnection(
            self, secrets.token_hex(8), send, close, allowed=allowed, owner=owner, now=self._clock()
        )
        self._links.add(link)
        link.welcome(_milliseconds())
        if self._ticking is None:
            self._looked = self._clock()
            self._ticking = asyncio.get_running_loop().call_later(self._tick_seconds, self._tick)
        return link

    def received(self, link: AgentConnection, payload: bytes) -> None:
        """A frame came."""
        link.received(payload, self._clock())
        member = self.members.get(link.id)
        if member is not None and member.frozen and member.link is link:
            member.frozen = False
            self._do(self.scheduler.resume(member.id, self._clock()))

    def disconnected(self, link: AgentConnection) -> None:
        """The connection is gone."""
        link.open = False
        self._links.discard(link)
        self._dirty.discard(link)
        member = self.members.of(link)
        if member is not None:
            self._do(self._cut(member))

    def close(self) -> None:
        """Hang up. Agents come back to the next server."""
        for timer in (self._waking, self._ticking, self._placing):
            if timer is not None:
                timer.cancel()
        self._waking = self._ticking = self._placing = self._due = None
        for link in list(self._links):
            link.hang_up(GOING_AWAY, "The server is going away: connect again.")

    def _cut(self, member: AgentRecord) -> list[Decision]:
        """It has no connection any more. What it holds is kept for as long as its lease lasts."""
        link = member.link
        if link is not None:
            member.tokens += link.tokens
            member.link = None
            member.kept = {job: lease for job, lease in link.leases.items() if lease.wanted}
            for job in link.leases:
                self._has_stopped(job)
        decisions = self.scheduler.disconnected(member.id, self._clock())
        self.members.reap(self.scheduler.agents)
        return decisions

    # What the links tell.

    def registers(self, link: AgentConnection, register: Register) -> None:
        known = self.members.known(register) if register.protocol > 1 else None
        decisions: list[Decision] = []
        if known is not None and known.link is not None:
            old = known.link
            decisions = self._cut(known)
            old.hang_up(1000, "This agent has connected again.")
        if known is not None and known.id in self.members:
            decisions += self._comes_back(known, link, register)
        else:
            if register.protocol > 1 and (former := self.members.replaced(link, register)) is not None:
                decisions += self.scheduler.leave(former.id, self._clock())
                self.members.reap(self.scheduler.agents)
            member = AgentRecord(link.id, self.members.name(link, register), register, link.owner)
            member.link, member.facts = link, link.facts
            for held in register.running:
                link.remember(held.job_id, held.attempt)
            self.members[member.id] = member
            link.grant(self._registered(member, []))
            logger.info("%s has joined the fleet; slots: %d", member.name, member.slots)
            decisions += self.scheduler.join(member.agent(), self._clock())
        self._do(decisions)

    def _comes_back(self, member: AgentRecord, link: AgentConnection, register: Register) -> list[Decision]:
        """It goes on with those jobs of which it still has everything that did not arrive."""
        resume: list[ResumeAt] = []
        for held in register.running:
            lease = member.kept.get(held.job_id)
            if lease is not None and lease.attempt == held.attempt and held.first <= lease.next <= held.next:
                resume.append(ResumeAt(held.job_id, held.attempt, lease.next))
                lease.told = lease.next
            else:
                link.remember(held.job_id, held.attempt)
        leases = {each.job_id: member.kept[each.job_id] for each in resume}
        member.renew(register)
        member.link, member.facts, member.kept = link, link.facts, {}
        link.grant(self._registered(member, resume), leases)
        logger.info("%s is back in the fleet; jobs it goes on with: %d", member.name, len(leases))
        held_jobs = [(each.job_id, each.attempt) for each in resume]
        return self.scheduler.reconnected(member.agent(), held_jobs, self._clock())

    def _registered(self, member: AgentRecord, resume: list[ResumeAt]) -> Registered:
        if member.generation == 1:
            return Registered(member.id, _milliseconds())
        lease = self.scheduler.config.lease
        beat = min(HEARTBEAT, lease / 3)
        return Registered(member.id, _milliseconds(), 2, member.secret, beat, lease, resume)

    def ended(self, link: AgentConnection, lease: JobAttempt, end: JobEnded | JobFailed) -> None:
        self._has_stopped(lease.job)
        member = self.members.of(link)
        if member is None:
            return
        now = self._clock()
        run = self._runs.get(lease.job) if lease.wanted else None
        decide = self.scheduler.job_ended
        if run is not None and isinstance(end, JobEnded):
            member.jobs += 1
            self.done += 1
            model = end.model if canonical_model_name(end.model) in member.facts else lease.model
            run.finish(Outcome(end.reason, model, end.usage, end.timings))
        elif run is not None and isinstance(end, JobFailed):
            error = broken(end)
            if isinstance(error, RETRIED):
                run.failure, decide = error, self.scheduler.job_failed
            else:
                run.fail(error)
        self._do(decide(member.id, lease.job, lease.attempt, now))

    def cancelled(self, link: AgentConnection, lease: JobAttempt) -> None:
        """Nothing of it runs there any more; where it was still wanted, the agent gave it up by itself."""
        self._has_stopped(lease.job)
        if (member := self.members.of(link)) is not None:
            decide = self.scheduler.job_failed if lease.wanted else self.scheduler.job_ended
            self._do(decide(member.id, lease.job, lease.attempt, self._clock()))

    def refused(self, link: AgentConnection, lease: JobAttempt, reason: str) -> None:
        self._has_stopped(lease.job)
        if (member := self.members.of(link)) is not None:
            logger.info("Agent %s takes no job: %.200s", member.name, reason)
            self._do(self.scheduler.job_returned(member.id, lease.job, lease.attempt, self._clock()))

    def models(self, link: AgentConnection, facts: dict[str, ModelInfo]) -> None:
        if (member := self.members.of(link)) is not None:
            member.facts = link.facts = facts
            self._do(self.scheduler.has_models(member.id, facts, self._clock()))

    def drains(self, link: AgentConnection) -> None:
        if (member := self.members.of(link)) is not None:
            member.draining = True
            self.scheduler.drain(member.id)
            self._tell()

    def dirty(self, link: AgentConnection) -> None:
        if link not in self._dirty:
            self._dirty.add(link)
            asyncio.get_running_loop().call_later(ACK_SECONDS, self._acknowledge, link)

    def expelled(self, link: AgentConnection) -> None:
        """What it wrote is not to be trusted: nothing of its running jobs stays, and others write them."""
        member = self.members.of(link)
        if member is None:
            return
        logger.warning("Agent %s broke the rules of the protocol and is hung up on", member.name)
        for job, lease in link.leases.items():
            self._has_stopped(job)
            run = self._runs.get(job)
            if run is not None and lease.wanted:
                run.discard_attempt()
        decisions = self.scheduler.leave(member.id, self._clock())
        self.members.reap(self.scheduler.agents)
        self._do(decisions)

    def _acknowledge(self, link: AgentConnection) -> None:
        if link in self._dirty:
            self._dirty.remove(link)
            link.acknowledge()

    # What the scheduler decides.

    def _do(self, decisions: Iterable[Decision]) -> None:
        left = deque(decisions)
        while left:
            match left.popleft():
                case Assign(job, agent, attempt) if self.scheduler.is_current(job, agent, attempt):
                    left += self._assign(job, self.members[agent], attempt)
                case Refuse() as refusal:
                    self._refuse(self._runs[refusal.job], refusal)
                case CancelAttempt(job, agent, attempt):
                    link = self.members[agent].link
                    if link is not None:
                        link.cancel(job, attempt)
                case CloseConnection(agent):
                    left += self._hang_up(self.members[agent])
        if self._placing is None:
            self._place()
        self._plan()
        self._tell()

    def _place(self) -> None:
        """Tell those who moved since the last time where they are now."""
        moved = self.scheduler.moved_positions()
        for each in moved:
            self._runs[each.job].placed(each.position)
        self._placing = asyncio.get_running_loop().call_later(PLACES_SECONDS, self._place) if moved else None

    def _assign(self, job: str, member: AgentRecord, attempt: int) -> list[Decision]:
        run, link = self._runs[job], member.link
        before = self.members.get(run.agent or "")
        if before is not None:
            before.kept.pop(job, None)
        run.agent = member.id
        facts = member.facts.get(canonical_model_name(run.request.model))
        second = member.generation > 1
        continues = second and facts is not None and facts.can is not None and facts.can.supports_prefill
        loaded = facts is None or facts.loaded
        prefix = run.begin(member.name, loaded=loaded, continues=continues)
        if prefix is None:
            return self.scheduler.job_ended(member.id, job, attempt, self._clock())
        if link is None:
            return []
        request = run.request if facts is None else replace(run.request, model=facts.name)
        lease = JobAttempt(job, attempt, request.model, run, request.options if second else None)
        link.start(
            lease,
            job_of(job, attempt, request, prefix)
            if second
            else prompt_job(first_name(job, attempt), request, run.parameters),
        )
        return []

    def _refuse(self, run: ReplyAssembly, refusal: Refuse) -> None:
        if refusal.reason == "lost":
            self.lost += 1
        agents, waited = bool(self.members), self.scheduler.config.queue_seconds
        error = run.failure or refused(refusal, run.request.model, agents=agents, waited=waited)
        # Where several agents have failed at it, that was all the trying again that makes sense.
        run.fail(EngineGaveUpError(error.message) if run.failure and run.attempts > 1 else error)

    def _hang_up(self, member: AgentRecord) -> list[Decision]:
        link = member.link
        decisions = self._cut(member)
        if link is not None:
            logger.warning("Agent %s does not stop what nobody wants; it is hung up on", member.name)
            link.hang_up(1000, "A job that nobody wants did not end: connect again.")
        return decisions

    def _has_stopped(self, job: str) -> None:
        waiting = self._stopping.pop(job, None)
        if waiting is not None and not waiting.done():
            waiting.set_result(None)

    # Time.

    def _plan(self) -> None:
        """Be woken when the scheduler has something to do by then."""
        due = self.scheduler.due(self._clock())
        if due == self._due:
            return
        if self._waking is not None:
            self._waking.cancel()
        self._due = due
        loop = asyncio.get_running_loop()
        self._waking = None if due is None else loop.call_later(max(0.0, due - self._clock()), self._wake)

    def _wake(self) -> None:
        self._waking = self._due = None
        decisions = self.scheduler.look(self._clock())
        self.members.reap(self.scheduler.agents)
        self._do(decisions)

    def _tick(self) -> None:
        now = self._clock()
        late = now - self._looked > 3 * self._tick_seconds
        elapsed, self._looked = now - self._looked, now
        if self.members.count(elapsed):
            self._tell()
        for link in [link for link in self._links if link.open and not link.generation]:
            if now - link.heard >= INTRODUCTION:
                link.refuse("An agent begins with `register`.")
        lease = self.scheduler.config.lease
        for member in list(self.members.values()):
            connected = member.link
            # What came while this loop stood still was not read yet, and is no silence.
            if late or connected is None or member.frozen or member.generation < 2:
                continue
            if now - connected.heard >= lease:
                member.frozen = True
                logger.warning("Agent %s gives no sign of life; its jobs go elsewhere", member.name)
                self._do(self.scheduler.suspend(member.id, now))
        self._ticking = (
            asyncio.get_running_loop().call_later(self._tick_seconds, self._tick)
            if self._links or self.members
            else None
        )

    def _tell(self) -> None:
        for listener in self.listeners:
            listener()


def _milliseconds() -> int:
    return time.time_ns() // 1_000_000
