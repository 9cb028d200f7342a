"""The scheduler as a person would tell it, and then as a machine tries to break it."""

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from legato.engines.base import Capabilities
from legato.fleet.decisions import (
    Assign,
    CancelAttempt,
    CloseConnection,
    Decision,
    QueuePosition,
    Refuse,
    SchedulerConfig,
)
from legato.fleet.job_queue import JobSpec
from legato.fleet.protocol import ModelInfo
from legato.fleet.scheduler import Scheduler
from legato.fleet.scheduling import AgentSpec

Told = Decision | QueuePosition

EVENTS = (
    "disconnected",
    "has_models",
    "job_ended",
    "job_failed",
    "job_returned",
    "join",
    "leave",
    "look",
    "reconnected",
    "resume",
    "submit",
    "suspend",
    "withdraw",
)


class TellingScheduler:
    """A scheduler whose every decision is followed by the queue positions that it changed."""

    def __init__(self, config: SchedulerConfig | None = None) -> None:
        self._scheduler = Scheduler(config)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._scheduler, name)
        if name not in EVENTS:
            return found

        def decide(*args: Any, **options: Any) -> list[Told]:
            return [*found(*args, **options), *self._scheduler.moved_positions()]

        return decide


def agent(name: str, *models: str, slots: int = 1, resumes: bool = True, loaded: bool = True) -> AgentSpec:
    facts = {
        model: ModelInfo(model, loaded, can=Capabilities(supports_prefill=True)) for model in models or ("m",)
    }
    return AgentSpec(name, slots, facts, resumes=resumes)


def assigned(decisions: list[Told]) -> list[tuple[str, str, int]]:
    return [(each.job, each.agent, each.attempt) for each in decisions if isinstance(each, Assign)]


def refused(decisions: list[Told]) -> list[tuple[str, str]]:
    return [(each.job, each.reason) for each in decisions if isinstance(each, Refuse)]


def placed(decisions: list[Told]) -> dict[str, int]:
    return {each.job: each.position for each in decisions if isinstance(each, QueuePosition)}


def a_fleet(*agents: AgentSpec, **config: Any) -> TellingScheduler:
    fleet = TellingScheduler(SchedulerConfig(**config))
    for each in agents or (agent("a"),):
        fleet.join(each, 0)
    return fleet


def test_a_free_agent_gets_the_job_at_once() -> None:
    assert a_fleet().submit(JobSpec("1", "m"), 0) == [Assign("1", "a", 1)]


def test_a_model_that_nobody_has_is_refused_at_once() -> None:
    assert refused(a_fleet().submit(JobSpec("1", "other"), 0)) == [("1", "no_model")]
    assert refused(TellingScheduler().submit(JobSpec("1", "m"), 0)) == [("1", "no_model")]


def test_but_waits_a_while_where_one_that_has_it_may_still_come() -> None:
    fleet = TellingScheduler()
    assert fleet.submit(JobSpec("1", "m", patience=5), 0) == [QueuePosition("1", 1)]
    assert refused(fleet.look(5)) == [("1", "no_model")]


def test_an_agent_that_names_no_model_is_asked_for_any() -> None:
    fleet = TellingScheduler()
    fleet.join(AgentSpec("a", unlisted=None, resumes=False), 0)
    assert assigned(fleet.submit(JobSpec("1", "whatever"), 0)) == [("1", "a", 1)]


def test_one_that_has_the_model_loaded_comes_before_one_that_could_load_it() -> None:
    fleet = a_fleet(agent("cold", loaded=False), agent("warm", slots=2))
    assert assigned(fleet.submit(JobSpec("1", "m"), 0)) == [("1", "warm", 1)]
    assert assigned(fleet.submit(JobSpec("2", "m"), 0)) == [("2", "warm", 1)]
    assert assigned(fleet.submit(JobSpec("3", "m"), 0)) == [("3", "cold", 1)]


def test_the_least_loaded_agent_gets_it() -> None:
    fleet = a_fleet(agent("a", slots=4), agent("b", slots=4))
    for each in "123456":
        fleet.submit(JobSpec(each, "m"), 0)
    assert [len(seat.assignments) for seat in fleet.agents.values()] == [3, 3]


def test_an_agent_gets_no_more_jobs_than_it_has_slots() -> None:
    fleet = a_fleet(agent("a", slots=1, resumes=False))
    fleet.submit(JobSpec("1", "m"), 0)
    assert placed(fleet.submit(JobSpec("2", "m"), 0)) == {"2": 1}


def test_a_conversation_goes_back_to_who_has_read_it() -> None:
    fleet = a_fleet(agent("a", slots=4), agent("b", slots=4))
    fleet.submit(JobSpec("1", "m", conversation="c"), 0)
    fleet.submit(JobSpec("2", "m"), 0)
    fleet.submit(JobSpec("3", "m"), 0)
    fleet.job_ended("b", "2", 1, 1)
    assert assigned(fleet.submit(JobSpec("4", "m", conversation="c"), 1)) == [("4", "a", 1)]


def test_but_not_where_that_one_is_much_busier() -> None:
    fleet = a_fleet(agent("a", slots=4), agent("b", slots=4), affinity_lead=0)
    fleet.submit(JobSpec("1", "m", conversation="c"), 0)
    assert assigned(fleet.submit(JobSpec("2", "m", conversation="c"), 1)) == [("2", "b", 1)]


def test_a_long_conversation_waits_a_moment_for_who_has_read_it_and_no_longer() -> None:
    fleet = a_fleet(agent("a"), agent("b"))
    fleet.submit(JobSpec("1", "m", conversation="c"), 0)
    assert placed(fleet.submit(JobSpec("2", "m", conversation="c", size=5000), 0)) == {"2": 1}
    assert fleet.due(0) == 1
    assert assigned(fleet.look(1)) == [("2", "b", 1)]


def test_a_user_with_many_jobs_does_not_keep_another_waiting() -> None:
    fleet = a_fleet()
    for each in "12345":
        fleet.submit(JobSpec(each, "m", "greedy"), 0)
    assert placed(fleet.submit(JobSpec("x", "m", "modest"), 0)) == {"x": 1, "2": 2, "3": 3, "4": 4, "5": 5}
    assert assigned(fleet.job_ended("a", "1", 1, 1)) == [("x", "a", 1)]


def test_places_are_told_when_they_change() -> None:
    fleet = a_fleet()
    fleet.submit(JobSpec("1", "m", "u"), 0)
    fleet.submit(JobSpec("2", "m", "u"), 0)
    assert placed(fleet.submit(JobSpec("3", "m", "u"), 0)) == {"3": 2}
    assert fleet.withdraw("2", 1) == [QueuePosition("3", 1)]


def test_a_full_line_refuses_with_how_long_to_wait() -> None:
    fleet = a_fleet(queue_size=1)
    fleet.submit(JobSpec("1", "m", "u"), 0)
    fleet.submit(JobSpec("2", "m", "u"), 0)
    (refusal,) = fleet.submit(JobSpec("3", "m", "u"), 0)
    assert isinstance(refusal, Refuse)
    assert (refusal.job, refusal.reason) == ("3", "full")
    assert refusal.retry_after >= 1


def test_a_full_line_is_emptied_at_the_cost_of_who_filled_it() -> None:
    fleet = a_fleet(queue_size=3)
    for each in "1234":
        fleet.submit(JobSpec(each, "m", "greedy"), 0)
    decisions = fleet.submit(JobSpec("x", "m", "modest"), 0)
    assert refused(decisions) == [("4", "full")]
    assert placed(decisions)["x"] == 1


def test_without_a_queue_the_busy_fleet_refuses_at_once() -> None:
    fleet = a_fleet(queue_seconds=0)
    fleet.submit(JobSpec("1", "m"), 0)
    assert refused(fleet.submit(JobSpec("2", "m"), 0)) == [("2", "full")]


def test_the_time_in_the_line_ends() -> None:
    fleet = a_fleet(queue_seconds=10)
    fleet.submit(JobSpec("1", "m"), 0)
    fleet.submit(JobSpec("2", "m"), 0)
    assert fleet.due(2) == 10
    assert refused(fleet.look(10)) == [("2", "late")]


def test_a_cut_agents_jobs_go_elsewhere_after_a_moment() -> None:
    fleet = a_fleet(agent("a"), agent("b"))
    fleet.submit(JobSpec("1", "m"), 0)
    assert fleet.disconnected("a", 1) == []
    assert fleet.due(1) == 1.5
    assert fleet.look(1.5) == [Assign("1", "b", 2)]
    assert fleet.reconnected(agent("a"), [("1", 1)], 2) == []


def test_one_that_comes_back_in_time_keeps_its_job() -> None:
    fleet = a_fleet(agent("a"))
    fleet.submit(JobSpec("1", "m"), 0)
    fleet.disconnected("a", 1)
    assert fleet.look(9) == []
    assert fleet.reconnected(agent("a"), [("1", 1)], 10) == []
    assert fleet.jobs["1"].agent == "a"
    assert fleet.job_ended("a", "1", 1, 11) == []
    assert not fleet.jobs


def test_one_that_comes_back_without_its_job_has_lost_it() -> None:
    fleet = a_fleet(agent("a"))
    fleet.submit(JobSpec("1", "m"), 0)
    fleet.disconnected("a", 1)
    assert assigned(fleet.reconnected(agent("a"), [], 2)) == [("1", "a", 2)]


def test_after_the_lease_a_job_waits_for_whoever_comes() -> None:
    fleet = a_fleet(agent("a"))
    fleet.submit(JobSpec("1", "m"), 0)
    fleet.disconnected("a", 1)
    assert fleet.due(2) == 16
    assert fleet.look(16) == [QueuePosition("1", 1)]
    assert assigned(fleet.join(agent("b"), 17)) == [("1", "b", 2)]


def test_an_agent_that_cannot_resume_has_no_lease() -> None:
    fleet = a_fleet(agent("a", resumes=False), agent("b", resumes=False))
    fleet.submit(JobSpec("1", "m"), 0)
    assert assigned(fleet.disconnected("a", 1)) == [("1", "b", 2)]


def test_a_frozen_agents_jobs_go_elsewhere_and_its_slots_stay_taken() -> None:
    fleet = a_fleet(agent("a"), agent("b"))
    fleet.submit(JobSpec("1", "m"), 0)
    assert fleet.suspend("a", 15) == [CancelAttempt("1", "a", 1), Assign("1", "b", 2)]
    assert fleet.resume("a", 20) == []
    assert placed(fleet.submit(JobSpec("2", "m"), 20)) == {"2": 1}
    assert assigned(fleet.job_ended("a", "1", 1, 21)) == [("2", "a", 1)]


def test_a_prompt_that_kills_agents_costs_no_more_than_three() -> None:
    fleet = a_fleet(*(agent(each, resumes=False) for each in "abcde"))
    (begun,) = assigned(fleet.submit(JobSpec("1", "m"), 0))
    attempts = [begun]
    while True:
        decisions = fleet.disconnected(attempts[-1][1], 1)
        if refused(decisions):
            break
        attempts += assigned(decisions)
    assert [attempt for _, _, attempt in attempts] == [1, 2, 3]
    assert refused(decisions) == [("1", "lost")]
    assert len(fleet.agents) == 2


def test_what_breaks_on_one_agent_is_tried_on_another_but_not_on_the_same() -> None:
    fleet = a_fleet(agent("a"), agent("b"))
    fleet.submit(JobSpec("1", "m"), 0)
    assert assigned(fleet.job_failed("a", "1", 1, 1)) == [("1", "b", 2)]
    assert refused(fleet.job_failed("b", "1", 2, 2)) == [("1", "lost")]


def test_what_breaks_waits_for_another_that_is_busy() -> None:
    fleet = a_fleet(agent("a"), agent("b"))
    fleet.submit(JobSpec("1", "m"), 0)
    fleet.submit(JobSpec("2", "m"), 0)
    assert placed(fleet.job_failed("a", "1", 1, 1)) == {"1": 1}
    assert assigned(fleet.job_ended("b", "2", 1, 2)) == [("1", "b", 2)]


def test_one_on_which_a_model_failed_comes_behind_the_others() -> None:
    fleet = a_fleet(agent("a", "m", "n"), agent("b", "m", "n"))
    assert assigned(fleet.submit(JobSpec("1", "m", "", "c"), 0)) == [("1", "a", 1)]
    assert assigned(fleet.job_failed("a", "1", 1, 1)) == [("1", "b", 2)]
    # It is free and the other one is not, and what can wait does; for another model it is as good as ever.
    assert placed(fleet.submit(JobSpec("2", "m", "", "c"), 2)) == {"2": 1}
    assert assigned(fleet.submit(JobSpec("3", "n"), 2)) == [("3", "a", 1)]
    fleet.job_ended("a", "3", 1, 3)
    assert fleet.due(3) == 6
    assert assigned(fleet.look(6)) == [("2", "a", 1)]


def test_where_all_of_them_ail_they_are_asked_all_the_same() -> None:
    fleet = a_fleet(agent("a"))
    for number in range(3):
        assert assigned(fleet.submit(JobSpec(f"{number}", "m"), number)) == [(f"{number}", "a", 1)]
        fleet.job_failed("a", f"{number}", 1, number)


def test_each_failure_in_a_row_counts_for_longer_and_a_success_ends_it() -> None:
    fleet = a_fleet(agent("a"), agent("b"))
    seat, now = fleet.agents["a"], 0.0
    for seconds in (5, 10, 20, 30, 30):
        seat.failed("m", now, fleet.config.cooldown, fleet.config.cooldown_most)
        assert seat.cooling_down("m", now + seconds - 1)
        assert not seat.cooling_down("m", now + seconds)
        now += seconds
    assert assigned(fleet.submit(JobSpec("1", "m"), now)) == [("1", "a", 1)]
    fleet.job_ended("a", "1", 1, now)
    seat.failed("m", now, fleet.config.cooldown, fleet.config.cooldown_most)
    assert not seat.cooling_down("m", now + 5)


def test_one_that_was_silent_for_too_long_comes_behind_the_others_too() -> None:
    fleet = a_fleet(agent("a", slots=2), agent("b", slots=2))
    assert assigned(fleet.submit(JobSpec("1", "m", "", "c"), 0)) == [("1", "a", 1)]
    fleet.withdraw("1", 20, silent=True)
    assert assigned(fleet.submit(JobSpec("2", "m", "", "c"), 20)) == [("2", "b", 1)]
    fleet.withdraw("2", 21)
    assert assigned(fleet.submit(JobSpec("3", "m", "", "c"), 21)) == [("3", "b", 1)]


def test_an_agent_that_refuses_is_left_alone_for_a_while() -> None:
    fleet = a_fleet(agent("a"))
    fleet.submit(JobSpec("1", "m"), 0)
    assert placed(fleet.job_returned("a", "1", 1, 1)) == {"1": 1}
    assert fleet.due(1) == 2
    assert assigned(fleet.look(2)) == [("1", "a", 2)]


def test_what_continues_goes_only_to_who_can() -> None:
    fleet = TellingScheduler()
    fleet.join(AgentSpec("a", models={"m": ModelInfo("m")}), 0)
    assert refused(fleet.submit(JobSpec("1", "m", continuing=True), 0)) == [("1", "no_model")]
    fleet.join(agent("b"), 0)
    assert assigned(fleet.submit(JobSpec("2", "m", continuing=True), 0)) == [("2", "b", 1)]


def test_a_withdrawn_job_keeps_its_slot_until_it_ended() -> None:
    fleet = a_fleet(agent("a"))
    fleet.submit(JobSpec("1", "m"), 0)
    fleet.submit(JobSpec("2", "m"), 0)
    assert fleet.withdraw("1", 1) == [CancelAttempt("1", "a", 1)]
    assert assigned(fleet.job_ended("a", "1", 1, 2)) == [("2", "a", 1)]


def test_an_agent_that_goes_on_with_what_nobody_wants_is_hung_up_on() -> None:
    fleet = a_fleet(agent("a", resumes=False))
    fleet.submit(JobSpec("1", "m"), 0)
    fleet.withdraw("1", 1)
    assert fleet.due(1) == 31
    assert fleet.look(31) == [CloseConnection("a")]


def test_what_lost_its_agent_is_not_refused_for_somebody_new() -> None:
    fleet = a_fleet(*(agent(name, resumes=False) for name in "abc"), queue_size=1)
    for number, user in (("1", "u"), ("2", "u"), ("3", "v")):
        fleet.submit(JobSpec(number, "m", user), 0)
    fleet.disconnected("a", 1)
    fleet.disconnected("b", 1)
    fleet.submit(JobSpec("4", "m", "w"), 1)
    assert refused(fleet.submit(JobSpec("5", "m", "x"), 1)) == [("5", "full")]
    assert [entry.spec.job for entry in fleet.queue.order()] == ["1", "2", "4"]


def test_without_a_line_what_lost_its_agent_waits_for_as_long_as_a_lease() -> None:
    fleet = a_fleet(agent("a", resumes=False), agent("b", resumes=False), queue_seconds=0, lease=10)
    fleet.submit(JobSpec("1", "m"), 0)
    fleet.submit(JobSpec("2", "m"), 0)
    assert refused(fleet.submit(JobSpec("3", "m"), 0)) == [("3", "full")]
    assert placed(fleet.disconnected("a", 1)) == {"1": 1}
    assert refused(fleet.look(10.9)) == []
    assert refused(fleet.look(11)) == [("1", "lost")]


def test_who_waits_is_told_when_nobody_is_left_who_could_and_nobody_comes_back() -> None:
    fleet = a_fleet(agent("a", resumes=False), agent("b", "n"), queue_seconds=60, lease=10)
    fleet.submit(JobSpec("1", "m"), 0)
    fleet.submit(JobSpec("2", "m"), 0)
    fleet.submit(JobSpec("3", "n"), 0)
    fleet.submit(JobSpec("4", "n"), 0)
    fleet.disconnected("a", 5)
    assert fleet.due(14.9) == 15
    assert refused(fleet.look(14.9)) == []
    assert sorted(refused(fleet.look(15))) == [("1", "lost"), ("2", "no_model")]
    assert refused(fleet.look(60)) == [("4", "late")]


def test_but_waits_as_before_where_somebody_came_in_time() -> None:
    fleet = a_fleet(agent("a", resumes=False), queue_seconds=60, lease=10)
    for job in "123":
        fleet.submit(JobSpec(job, "m"), 0)
    fleet.disconnected("a", 5)
    assert assigned(fleet.join(agent("b"), 14)) == [("1", "b", 2)]
    assert refused(fleet.look(59)) == []
    assert refused(fleet.look(60)) == [("2", "late"), ("3", "late")]


def test_an_agent_that_ends_is_nobody_to_wait_for() -> None:
    fleet = a_fleet(queue_seconds=60, lease=10)
    fleet.submit(JobSpec("1", "m"), 0)
    fleet.drain("a")
    fleet.submit(JobSpec("2", "m"), 0)
    assert refused(fleet.look(10)) == [("2", "no_model")]


def test_an_agent_that_is_about_to_end_and_holds_nothing_is_gone_once_it_is_cut() -> None:
    fleet = a_fleet(agent("a"), agent("b"))
    fleet.submit(JobSpec("1", "m"), 0)
    for name in "ab":
        fleet.drain(name)
        fleet.disconnected(name, 1)
    assert list(fleet.agents) == ["a"]


def test_a_draining_agent_gets_nothing_more() -> None:
    fleet = a_fleet(agent("a", slots=2))
    fleet.submit(JobSpec("1", "m"), 0)
    fleet.drain("a")
    assert placed(fleet.submit(JobSpec("2", "m"), 0)) == {"2": 1}


MODELS = ("m", "n")
USERS = ("ada", "bob", "eve")


@dataclass
class Known:
    """An agent as the machine knows it; `runs` are the attempts that the agent itself believes to run."""

    resumes: bool
    slots: int
    models: frozenset[str]
    runs: dict[str, int]
    state: str = "here"
    draining: bool = False


class Machine(RuleBasedStateMachine):
    """Whatever happens, in whatever order, the books hold."""

    def __init__(self) -> None:
        super().__init__()
        self.fleet = TellingScheduler(SchedulerConfig(queue_seconds=20, queue_size=5, affinity_size=0))
        self.now = 0.0
        self.agents: dict[str, Known] = {}
        self.open: dict[str, JobSpec] = {}
        self.owner: dict[str, tuple[str, int]] = {}
        self.attempts: dict[str, list[int]] = defaultdict(list)
        self.places: dict[str, int] = {}
        self.passed: dict[str, dict[str, int]] = {}
        self.number = 0

    def do(self, decisions: list[Told]) -> None:
        for each in decisions:
            match each:
                case Assign(job, agent, attempt):
                    known = self.agents[agent]
                    assert job in self.open
                    assert known.state == "here"
                    assert not known.draining
                    assert self.open[job].model in known.models
                    assert job not in known.runs
                    assert attempt > max(self.attempts[job], default=0)
                    self.attempts[job].append(attempt)
                    known.runs[job] = attempt
                    assert len(known.runs) <= known.slots
                    self.owner[job] = (agent, attempt)
                    self.places.pop(job, None)
                    self.overtake(job)
                case QueuePosition(job, place):
                    assert job in self.open
                    self.places[job] = place
                    self.owner.pop(job, None)
                    self.passed.setdefault(job, defaultdict(int))
                case Refuse(job, _, wait):
                    assert wait >= 1
                    self.close(job)
                case CancelAttempt(job, agent, attempt):
                    assert self.agents[agent].runs[job] == attempt
                case CloseConnection(agent):
                    self.gone(agent)

    def overtake(self, job: str) -> None:
        """No user's first jobs get past a waiting job more often than it has jobs of its own user before it, and one."""
        ticket = self.open[job]
        self.passed.pop(job, None)
        if self.attempts[job] != [1]:
            return
        for other, passed in self.passed.items():
            if (
                other in self.places
                and self.open[other].model == ticket.model
                and self.open[other].user != ticket.user
            ):
                passed[ticket.user] += 1

    def close(self, job: str) -> None:
        self.open.pop(job, None)
        self.owner.pop(job, None)
        self.places.pop(job, None)
        self.passed.pop(job, None)

    def gone(self, name: str) -> None:
        known = self.agents[name]
        decisions = self.fleet.disconnected(name, self.now)
        ended = known.draining and not any(
            self.owner.get(job) == (name, attempt) for job, attempt in known.runs.items()
        )
        if not known.resumes or known.state == "frozen" or ended:
            del self.agents[name]
        else:
            known.state = "cut"
        self.do(decisions)

    @rule(
        resumes=st.booleans(),
        slots=st.integers(1, 3),
        models=st.frozensets(st.sampled_from(MODELS), min_size=1),
        loaded=st.booleans(),
    )
    def join(self, resumes: bool, slots: int, models: frozenset[str], loaded: bool) -> None:
        if len(self.agents) >= 5:
            return
        self.number += 1
        name = f"agent{self.number}"
        self.agents[name] = Known(resumes, slots, models, {})
        self.do(self.fleet.join(agent(name, *models, slots=slots, resumes=resumes, loaded=loaded), self.now))

    @rule(
        model=st.sampled_from(MODELS),
        user=st.sampled_from(USERS),
        conversation=st.sampled_from(("", "c", "d")),
    )
    def submit(self, model: str, user: str, conversation: str) -> None:
        self.number += 1
        job = f"job{self.number}"
        self.open[job] = JobSpec(job, model, user, conversation)
        self.do(self.fleet.submit(self.open[job], self.now))

    @precondition(lambda self: self.open)
    @rule(data=st.data(), silent=st.booleans())
    def withdraw(self, data: st.DataObject, silent: bool) -> None:
        job = data.draw(st.sampled_from(sorted(self.open)))
        decisions = self.fleet.withdraw(job, self.now, silent=silent)
        agent, _ = self.owner.get(job, (None, 0))
        if agent is not None and self.agents[agent].state == "cut":
            self.agents[agent].runs.pop(job, None)
        self.close(job)
        self.do(decisions)

    @precondition(lambda self: any(each.runs and each.state == "here" for each in self.agents.values()))
    @rule(data=st.data(), how=st.sampled_from(("job_ended", "job_failed", "job_returned")))
    def comes_to_an_end(self, data: st.DataObject, how: str) -> None:
        name = data.draw(
            st.sampled_from([n for n, each in self.agents.items() if each.runs and each.state == "here"])
        )
        known = self.agents[name]
        job = data.draw(st.sampled_from(sorted(known.runs)))
        attempt = known.runs.pop(job)
        if how == "job_ended" and self.owner.get(job) == (name, attempt):
            self.close(job)
        self.do(getattr(self.fleet, how)(name, job, attempt, self.now))

    @precondition(lambda self: any(each.runs for each in self.agents.values()))
    @rule(data=st.data(), job=st.sampled_from(("job1", "job2", "nothing")), attempt=st.integers(0, 9))
    def rogue(self, data: st.DataObject, job: str, attempt: int) -> None:
        name = data.draw(st.sampled_from(sorted(self.agents)))
        if self.agents[name].runs.get(job) != attempt:
            assert self.fleet.job_ended(name, job, attempt, self.now) == []

    @precondition(lambda self: any(each.state != "cut" for each in self.agents.values()))
    @rule(data=st.data())
    def cut(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from([n for n, each in self.agents.items() if each.state != "cut"]))
        known = self.agents[name]
        known.runs = {
            job: attempt for job, attempt in known.runs.items() if self.owner.get(job) == (name, attempt)
        }
        self.gone(name)

    @precondition(lambda self: any(each.state == "cut" for each in self.agents.values()))
    @rule(data=st.data(), forgets=st.booleans())
    def comes_back(self, data: st.DataObject, forgets: bool) -> None:
        name = data.draw(st.sampled_from([n for n, each in self.agents.items() if each.state == "cut"]))
        known = self.agents[name]
        held = [] if forgets else list(known.runs.items())
        known.runs = {job: attempt for job, attempt in held if self.owner.get(job) == (name, attempt)}
        known.state, known.draining = "here", False
        self.do(self.fleet.reconnected(agent(name, *known.models, slots=known.slots), held, self.now))

    @precondition(lambda self: any(each.state == "here" and each.resumes for each in self.agents.values()))
    @rule(data=st.data())
    def freezes(self, data: st.DataObject) -> None:
        name = data.draw(
            st.sampled_from([n for n, each in self.agents.items() if each.state == "here" and each.resumes])
        )
        self.agents[name].state = "frozen"
        self.do(self.fleet.suspend(name, self.now))

    @precondition(lambda self: any(each.state == "frozen" for each in self.agents.values()))
    @rule(data=st.data())
    def thaws(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from([n for n, each in self.agents.items() if each.state == "frozen"]))
        self.agents[name].state = "here"
        self.do(self.fleet.resume(name, self.now))

    @precondition(lambda self: any(each.state == "here" for each in self.agents.values()))
    @rule(data=st.data())
    def drains(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from([n for n, each in self.agents.items() if each.state == "here"]))
        self.agents[name].draining = True
        self.fleet.drain(name)

    @rule(seconds=st.sampled_from((0.1, 0.5, 1.0, 5.0, 16.0, 31.0)))
    def time_passes(self, seconds: float) -> None:
        end = self.now + seconds
        while (due := self.fleet.due(self.now)) is not None and due <= end:
            assert due >= self.now
            self.now = due
            over = [
                name
                for name, seat in self.fleet.agents.items()
                if seat.until is not None and seat.until <= self.now
            ]
            decisions = self.fleet.look(self.now)
            for name in over:
                del self.agents[name]
            before = len(decisions)
            self.do(decisions)
            assert before or over or self.fleet.due(self.now) != due, "it looks for ever"
        self.now = end

    @invariant()
    def no_job_is_forgotten(self) -> None:
        assert set(self.fleet.jobs) == set(self.open)
        for job, entry in self.fleet.jobs.items():
            waits = job in self.places
            assert waits == (entry.agent is None)
            if not waits:
                agent, attempt = self.owner[job]
                assert entry.agent == agent
                assert self.fleet.agents[agent].assignments[job] == attempt == entry.attempt

    @invariant()
    def places_count_from_one(self) -> None:
        assert sorted(self.places.values()) == list(range(1, len(self.places) + 1))
        lost = sum(entry.attempt > 0 for entry in self.fleet.queue)
        assert len(self.places) <= 5 + lost

    @invariant()
    def no_agent_has_more_than_its_slots(self) -> None:
        for name, known in self.agents.items():
            assert len(self.fleet.agents[name].assignments) <= known.slots

    @invariant()
    def nobody_is_overtaken_without_bound(self) -> None:
        for job, passed in self.passed.items():
            mine = [each for each in self.open.values() if each.user == self.open[job].user]
            for count in passed.values():
                assert count <= 5 + len(mine) + sum(known.slots for known in self.agents.values())


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
