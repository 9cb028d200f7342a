"""A job as the agent that runs it sees it."""

import msgspec
from msgspec import Struct

from legato.agent.replay_buffer import ReplayBuffer
from legato.engines.base import Request

NO_ATTEMPT = 0
"""The attempt of a job that came without one."""


class AgentJob:
    """`buffer` has the events that are not acknowledged. `over`: nothing more is written, because the last event was, or because
    the job was taken back. `unsent`: the outbox lists it among the jobs with events to send."""

    __slots__ = ("attempt", "buffer", "job_id", "over", "request", "unsent")

    def __init__(self, job_id: str, attempt: int, request: Request) -> None:
        self.job_id = job_id
        self.attempt = attempt
        self.request = request
        self.buffer = ReplayBuffer()
        self.over = False
        self.unsent = False


class UnknownJob(Struct, rename="camel"):
    """What can be read of a job that cannot be understood."""

    type: str
    job_id: str
    attempt: int = NO_ATTEMPT


def decode_unknown_job(frame: bytes | str) -> UnknownJob | None:
    """The job in `frame`, whatever else is wrong with it; None if the frame is no job."""
    try:
        unknown = msgspec.json.decode(frame, type=UnknownJob)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return unknown if unknown.type == "job" else None
