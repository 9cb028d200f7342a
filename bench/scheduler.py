"""What a job costs in the scheduler, from `submit` over `Assign` to its end, beside the reference that looks at every agent.

    python bench/scheduler.py [--agents 10,100,1000] [--jobs 2000] [--repeats 3]

The fleet is full: as many jobs run as there are slots, and 64 wait. An agent has 1 to 4 slots and offers 3 of 12 models,
of which it has one or two loaded. A job takes about 5 s of virtual time, has one of 200 users and, in half of all cases, a
conversation that an agent has served before. As in the dispatcher, `due` is asked after each event and the queue positions four
times in a virtual second. Exit status 1: the goal was missed.
"""

import argparse
import importlib.util
import random
import sys
import time
from pathlib import Path
from typing import Any

from fleet_goals import Goal
from harness import OUT, keep, machine
from legato.fleet.decisions import Assign, QueuePosition, Refuse
from legato.fleet.job_queue import JobSpec
from legato.fleet.protocol import ModelInfo
from legato.fleet.scheduler import Scheduler
from legato.fleet.scheduling import AgentSpec

REFERENCE = Path(__file__).parent.parent / "tests" / "fleet" / "reference_scheduler.py"

MODELS = [f"model{number}" for number in range(12)]
WAITING = 64
JOB_SECONDS = 5.0
POSITION_SECONDS = 0.25

MOST = 100.0
"""Microseconds that a job may cost with the most agents."""


def reference() -> Any:
    spec = importlib.util.spec_from_file_location("reference_scheduler", REFERENCE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.ReferenceScheduler()


class Load:
    """A full fleet. Its clock stands still while the scheduler works."""

    def __init__(self, scheduler: Any, agents: int) -> None:
        self.scheduler = scheduler
        self.random = random.Random(1)
        self.now = 0.0
        self.seconds = 0.0
        self.number = 0
        self.running: list[Assign] = []
        self.told = 0.0
        self.offered: list[list[str]] = []
        for number in range(agents):
            offered = self.random.sample(MODELS, 3)
            self.offered.append(offered)
            loaded = self.random.choice((1, 2))
            models = {name: ModelInfo(name, each < loaded) for each, name in enumerate(offered)}
            scheduler.join(AgentSpec(f"agent{number}", self.random.randint(1, 4), models), 0.0)
        self.slots = sum(agent.slots for agent in scheduler.agents.values())
        while len(scheduler.jobs) < self.slots + WAITING:
            self.submit()

    def event(self, name: str, *args: Any) -> None:
        begun = time.process_time()
        decisions = getattr(self.scheduler, name)(*args, self.now)
        self.scheduler.due(self.now)
        if isinstance(self.scheduler, Scheduler) and self.now >= self.told + POSITION_SECONDS:
            self.told = self.now
            self.scheduler.moved_positions()
        self.seconds += time.process_time() - begun
        for each in decisions:
            if isinstance(each, Assign):
                self.running.append(each)
            elif not isinstance(each, QueuePosition | Refuse):
                raise AssertionError(f"The load must not lead to {each}.")

    def submit(self) -> None:
        self.number += 1
        user = f"user{self.random.randrange(200)}"
        conversation = f"{user}-{self.random.randrange(5)}" if self.random.random() < 0.5 else ""
        size = self.random.randrange(4000)
        model = self.random.choice(self.random.choice(self.offered))
        self.event(
            "submit",
            JobSpec(f"job{self.number}", model, user, conversation, size=size if conversation else 0),
        )

    def job(self) -> None:
        """One job ends and another one comes."""
        self.now += JOB_SECONDS / self.slots
        place = self.random.randrange(len(self.running))
        self.running[place], self.running[-1] = self.running[-1], self.running[place]
        ended = self.running.pop()
        self.event("job_ended", ended.agent, ended.job, ended.attempt)
        while len(self.scheduler.jobs) < self.slots + WAITING:
            self.submit()
        while (due := self.scheduler.due(self.now)) is not None and due <= self.now:
            self.event("look")


def microseconds(scheduler: Any, agents: int, jobs: int) -> float:
    load = Load(scheduler, agents)
    load.seconds = 0.0
    for _ in range(jobs):
        load.job()
    return load.seconds / jobs * 1e6


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--agents", default="10,100,1000")
    parser.add_argument("--jobs", type=int, default=2000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args()
    counts = [int(each) for each in given.agents.split(",")]
    print("  agents   reference       indexed      µs a job, best of the repeats")
    rows: list[dict[str, float]] = []
    for agents in counts:
        before, after = [], []
        for _ in range(given.repeats):
            before.append(microseconds(reference(), agents, min(given.jobs, 200_000 // agents)))
            after.append(microseconds(Scheduler(), agents, given.jobs))
        rows.append({"agents": agents, "reference": min(before), "indexed": min(after)})
        print(f"  {agents:6,}  {min(before):10,.0f}  {min(after):12,.0f}", flush=True)
    goal = Goal(
        f"A job costs the scheduler {MOST:.0f} µs at most at {counts[-1]:,} agents",
        rows[-1]["indexed"] <= MOST,
    )
    print(f"\n  {'met    ' if goal.met else 'NOT MET'}  {goal.sentence}")
    keep(
        given.out,
        "scheduler",
        {**machine(), "rows": rows, "goals": [{"goal": goal.sentence, "met": goal.met}]},
    )
    return 0 if goal.met else 1


if __name__ == "__main__":
    sys.exit(main())
