"""The indexed scheduler decides as the one does that looks at everything."""

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from legato.engines.base import Capabilities
from legato.fleet.decisions import CloseConnection, QueuePosition, SchedulerConfig
from legato.fleet.job_queue import JobSpec
from legato.fleet.protocol import ModelInfo
from legato.fleet.scheduler import Scheduler
from legato.fleet.scheduling import AgentSpec

from .reference_scheduler import ReferenceScheduler

MODELS = ("m", "n", "o")
USERS = ("", "ada", "bob", "eve")

models_offered = st.dictionaries(
    st.sampled_from(MODELS),
    st.builds(
        lambda loaded, continues: (loaded, continues),
        st.booleans(),
        st.sampled_from((None, False, True)),
    ),
    max_size=3,
)


def infos(offered: dict[str, tuple[bool, bool | None]]) -> dict[str, ModelInfo]:
    return {
        name: ModelInfo(
            name, loaded, can=None if continues is None else Capabilities(supports_prefill=continues)
        )
        for name, (loaded, continues) in offered.items()
    }


class Comparison(RuleBasedStateMachine):
    """The same events in both schedulers. Agents behave as the dispatcher has them behave: no event of one comes while it is
    disconnected."""

    @initialize(
        queue_seconds=st.sampled_from((0.0, 3.0, 20.0)),
        queue_size=st.sampled_from((1, 4, 50)),
        lead=st.integers(0, 2),
        size=st.sampled_from((0, 100)),
        attempts=st.integers(1, 4),
    )
    def begin(self, queue_seconds: float, queue_size: int, lead: int, size: int, attempts: int) -> None:
        config = SchedulerConfig(
            queue_seconds=queue_seconds,
            queue_size=queue_size,
            affinity_lead=lead,
            affinity_size=size,
            attempts=attempts,
        )
        self.now = 0.0
        self.number = 0
        self.new, self.reference = Scheduler(config), ReferenceScheduler(config)

    def event(self, name: str, *args: Any, **options: Any) -> None:
        decided = getattr(self.new, name)(*args, **options)
        expected = getattr(self.reference, name)(*args, **options)
        if name == "drain":
            return
        assert decided == [each for each in expected if not isinstance(each, QueuePosition)]
        self.new.moved_positions()
        self.reference._places()
        assert self.new.due(self.now) == self.reference.due(self.now)
        self.compare()
        for each in decided:
            if isinstance(each, CloseConnection):
                self.event("disconnected", each.agent, self.now)

    def compare(self) -> None:
        assert list(self.new.agents) == list(self.reference.agents)
        assert [job.spec.job for job in self.new.queue] == [job.ticket.job for job in self.reference.queue]
        assert [job.spec.job for job in self.new.queue.order()] == [
            job.ticket.job for job in self.reference.queue.order()
        ]
        assert self.new.queue.new == self.reference.queue.new
        for name, job in self.reference.jobs.items():
            same = self.new.jobs[name]
            assert (same.agent, same.attempt, same.losses, same.tried) == (
                job.seat,
                job.attempt,
                job.losses,
                job.tried,
            )
            assert (same.unserved_since, same.deadline, same.position) == (job.alone, job.deadline, job.place)
        assert len(self.new.jobs) == len(self.reference.jobs)
        for name, agent in self.reference.agents.items():
            assert list(self.new.agents[name].assignments) == list(agent.assignments)

    def agents(self, *, present: bool = True) -> list[str]:
        return [name for name, agent in self.new.agents.items() if agent.present == present]

    def spec(self, name: str, data: st.DataObject) -> AgentSpec:
        return AgentSpec(
            name,
            data.draw(st.integers(1, 5)),
            infos(data.draw(models_offered)),
            data.draw(st.sampled_from((frozenset(), frozenset(), frozenset("mn"), None))),
            data.draw(st.sampled_from((True, True, False))),
        )

    @rule(data=st.data())
    def join(self, data: st.DataObject) -> None:
        if len(self.new.agents) < 6:
            self.number += 1
            self.event("join", self.spec(f"agent{self.number}", data), self.now)

    @rule(
        model=st.sampled_from((*MODELS, "m:latest")),
        user=st.sampled_from(USERS),
        conversation=st.sampled_from(("", "c", "d")),
        continuing=st.sampled_from((False, False, True)),
        size=st.sampled_from((0, 100)),
        patience=st.sampled_from((0.0, 0.0, 5.0)),
        jobs=st.integers(1, 4),
    )
    def submit(
        self,
        model: str,
        user: str,
        conversation: str,
        continuing: bool,
        size: int,
        patience: float,
        jobs: int,
    ) -> None:
        for _ in range(jobs):
            self.number += 1
            job = f"job{self.number}"
            self.event(
                "submit", JobSpec(job, model, user, conversation, continuing, size, patience), self.now
            )

    @precondition(lambda self: self.new.jobs)
    @rule(data=st.data(), silent=st.booleans())
    def withdraw(self, data: st.DataObject, silent: bool) -> None:
        self.event("withdraw", data.draw(st.sampled_from(sorted(self.new.jobs))), self.now, silent=silent)

    @precondition(lambda self: any(self.new.agents[name].assignments for name in self.agents()))
    @rule(
        data=st.data(),
        how=st.sampled_from(
            ("job_ended", "job_ended", "job_ended", "job_failed", "job_failed", "job_returned")
        ),
    )
    def ends(self, data: st.DataObject, how: str) -> None:
        busy = [name for name in self.agents() if self.new.agents[name].assignments]
        name = data.draw(st.sampled_from(busy))
        assignments = self.new.agents[name].assignments
        job = data.draw(st.sampled_from(sorted(assignments)))
        self.event(how, name, job, assignments[job], self.now)

    @precondition(lambda self: self.new.agents)
    @rule(data=st.data())
    def disconnects(self, data: st.DataObject) -> None:
        connected = [name for name, agent in self.new.agents.items() if agent.until is None]
        if connected:
            self.event("disconnected", data.draw(st.sampled_from(connected)), self.now)

    @precondition(lambda self: any(agent.until is not None for agent in self.new.agents.values()))
    @rule(data=st.data(), forgets=st.booleans())
    def reconnects(self, data: st.DataObject, forgets: bool) -> None:
        name = data.draw(
            st.sampled_from([name for name, agent in self.new.agents.items() if agent.until is not None])
        )
        held = [] if forgets else list(self.new.agents[name].assignments.items())
        self.event("reconnected", self.spec(name, data), held, self.now)

    @precondition(lambda self: self.agents())
    @rule(data=st.data())
    def suspends(self, data: st.DataObject) -> None:
        self.event("suspend", data.draw(st.sampled_from(self.agents())), self.now)

    @precondition(
        lambda self: any(self.new.agents[each].until is None for each in self.agents(present=False))
    )
    @rule(data=st.data())
    def resumes(self, data: st.DataObject) -> None:
        silent = [name for name in self.agents(present=False) if self.new.agents[name].until is None]
        self.event("resume", data.draw(st.sampled_from(silent)), self.now)

    @precondition(lambda self: self.agents())
    @rule(data=st.data())
    def drains(self, data: st.DataObject) -> None:
        self.event("drain", data.draw(st.sampled_from(self.agents())))

    @precondition(lambda self: self.new.agents)
    @rule(data=st.data(), offered=models_offered)
    def has_models(self, data: st.DataObject, offered: dict[str, tuple[bool, bool | None]]) -> None:
        self.event("has_models", data.draw(st.sampled_from(list(self.new.agents))), infos(offered), self.now)

    @precondition(lambda self: self.new.agents)
    @rule(data=st.data())
    def leaves(self, data: st.DataObject) -> None:
        self.event("leave", data.draw(st.sampled_from(list(self.new.agents))), self.now)

    @rule(seconds=st.sampled_from((0.0, 0.1, 0.5, 1.0, 5.0, 16.0, 31.0)), in_time=st.booleans())
    def time_passes(self, seconds: float, in_time: bool) -> None:
        end = self.now + seconds
        while in_time and (due := self.new.due(self.now)) is not None and due <= end:
            self.now = due
            self.event("look", self.now)
            if self.new.due(self.now) == due:
                break
        self.now = end
        self.event("look", self.now)


TestComparison = Comparison.TestCase
TestComparison.settings = settings(max_examples=150, stateful_step_count=50, deadline=None)
