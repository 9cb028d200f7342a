"""`legato`, with a fleet that gives each job to any agent that is able: what affinity is to be compared with.

random_routing.py serve …
"""

import random
import sys

from legato.cli.main import main
from legato.fleet.agent_choice import AgentChoice
from legato.fleet.job_queue import QueuedJob
from legato.fleet.scheduling import SchedulerAgent


def pick_any(choice: AgentChoice, job: QueuedJob, now: float) -> SchedulerAgent | None:
    able = [agent for agent in choice._pool.free(job.demand) if agent.can_start(job, now)]
    return random.choice(able or [None])


if __name__ == "__main__":
    AgentChoice.pick = pick_any
    sys.exit(main())
