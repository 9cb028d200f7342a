"""What the scheduler decides, as values, and the rules it decides by."""

from typing import Literal

from msgspec import Struct

from legato.fleet.protocol import LEASE

Reason = Literal["no_model", "full", "late", "lost"]
"""Why a job is not done. `no_model`: no agent has it. `full`: the line is. `late`: its time in the line is over. `lost`:
agents were lost writing it and no other can, or may, go on."""


class SchedulerConfig(Struct, frozen=True):
    """Times are in seconds.

    A new job waits `queue_seconds` at most (0: it is refused where no slot is free), and no more than `queue_size` of them
    wait. One that lost its agent waits in any case, for the longer of `queue_seconds` and `lease`. One for which no agent
    is there any more waits for `lease` at most: that is the time to come back.
    `lease` is how long an agent that was cut may come back and go on, `grace` how long its jobs stay with it although
    another could take them. `attempts` is how many agents a job may cost. A job nobody wants has `unwanted` to end
    before its agent's connection is closed. A conversation waits `home_seconds` for the agent that has read it,
    and follows it while that has `home_lead` jobs more than the idlest at most. `pause` is how long an agent that
    refused a job is left alone. One on which a model failed `ails`, for this model: others come before it, and what
    can wait for them does; after each failure in a row for twice as long, up to `ails_most`. The numbers are those of the circuit breaker.
    """

    queue_seconds: float = 60.0
    queue_size: int = 256
    lease: float = LEASE
    grace: float = 0.5
    attempts: int = 3
    unwanted: float = 30.0
    home_seconds: float = 1.0
    home_lead: int = 2
    home_size: int = 2000
    pause: float = 1.0
    ails: float = 5.0
    ails_most: float = 30.0


class Assign(Struct, frozen=True):
    """The agent gets the job, as this attempt. Whatever had an earlier attempt of it has lost it."""

    job: str
    agent: str
    attempt: int


class QueuePosition(Struct, frozen=True):
    """The job waits at this place; 1 is next."""

    job: str
    place: int


class Refuse(Struct, frozen=True):
    """The job is not done, and is in the books no more. Asking again makes sense in `retry_after` seconds."""

    job: str
    reason: Reason
    retry_after: float


class CancelAttempt(Struct, frozen=True):
    """The agent should stop this; its slot is taken until it says that it is free."""

    job: str
    agent: str
    attempt: int


class CloseConnection(Struct, frozen=True):
    """The agent does not stop what nobody wants: close its connection."""

    agent: str


Decision = Assign | QueuePosition | Refuse | CancelAttempt | CloseConnection
