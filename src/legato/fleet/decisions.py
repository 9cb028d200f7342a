"""What the scheduler decides, as values, and its configuration."""

from typing import Literal

from msgspec import Struct

from legato.fleet.protocol import LEASE

Reason = Literal["no_model", "full", "late", "lost"]
"""Why a job is refused. `no_model`: no agent has the model. `full`: the queue is full. `late`: the job waited for too long.
`lost`: agents were lost on it, and no other can, or may, continue."""


class SchedulerConfig(Struct, frozen=True):
    """Times are in seconds.

    A new job waits for at most `queue_seconds` (0: it is refused if no slot is free), and at most `queue_size` new jobs wait.
    A job that lost its agent waits in any case, for the longer of `queue_seconds` and `lease`. A job that no agent could
    run any more waits for at most `lease`, in which an agent may come back.
    `lease` is how long a disconnected agent may take to reconnect and continue. For `grace` its jobs stay with it although
    another agent could take them. `attempts` is how many agents may be lost or fail on one job. A withdrawn job has
    `unwanted_seconds` to end before its agent's connection is closed. A conversation whose history has at least
    `affinity_size` characters waits `affinity_seconds` for the agent that has read it. Every conversation goes to that agent
    while it has at most `affinity_lead` jobs more than the least loaded one. An agent that refused a job gets none for
    `pause`. A model that failed on an agent cools down there for `cooldown`, and for twice as long after each failure in a
    row, up to `cooldown_most`: other agents come first, and jobs that can wait for them do.
    """

    queue_seconds: float = 60.0
    queue_size: int = 256
    lease: float = LEASE
    grace: float = 0.5
    attempts: int = 3
    unwanted_seconds: float = 30.0
    affinity_seconds: float = 1.0
    affinity_lead: int = 2
    affinity_size: int = 2000
    pause: float = 1.0
    cooldown: float = 5.0
    cooldown_most: float = 30.0


class Assign(Struct, frozen=True):
    """Give the job to the agent, as this attempt. The agent of an earlier attempt has lost it."""

    job: str
    agent: str
    attempt: int


class QueuePosition(Struct, frozen=True):
    """The job waits at this position; 1 is next."""

    job: str
    position: int


class Refuse(Struct, frozen=True):
    """The job is not run, and the scheduler has forgotten it. It makes sense to ask again in `retry_after` seconds."""

    job: str
    reason: Reason
    retry_after: float


class CancelAttempt(Struct, frozen=True):
    """Tell the agent to stop this attempt. Its slot is taken until the agent says that it ended."""

    job: str
    agent: str
    attempt: int


class CloseConnection(Struct, frozen=True):
    """Close the connection of an agent that does not stop a withdrawn job."""

    agent: str


class AgentLeft(Struct, frozen=True):
    """The agent is no part of the fleet any more."""

    agent: str


Decision = Assign | QueuePosition | Refuse | CancelAttempt | CloseConnection | AgentLeft
