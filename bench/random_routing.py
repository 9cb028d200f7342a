"""`legato`, with a fleet that gives each job to any agent that is able: what affinity is to be compared with.

random_routing.py serve …
"""

import random
import sys
from collections.abc import Iterable

import legato.fleet.scheduler
from legato.cli.main import main
from legato.fleet.job_queue import QueuedJob
from legato.fleet.scheduling import Affinity, SchedulerAgent


def any_of(
    _entry: QueuedJob, seats: Iterable[SchedulerAgent], _home: str | None, _lead: int
) -> SchedulerAgent | None:
    return random.choice(list(seats) or [None])


if __name__ == "__main__":
    vars(legato.fleet.scheduler)["pick_agent"] = any_of
    Affinity.of = lambda _self, _entry: None  # type: ignore[method-assign]
    sys.exit(main())
