"""A job as the agent that has it sees it."""

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Struct

from legato.agent.replay_buffer import ReplayBuffer
from legato.domain.message import TextPart
from legato.engines.base import Request, Turn
from legato.fleet.protocol import Job, PromptJob

FIRST_GENERATION = 0
"""The attempt of a job that came without one."""

_NO_OPTIONS = frozenset(
    {"model", "prompt", "stream", "suffix", "images", "format", "template", "context", "raw"}
)
"""Fields of Ollama's `/api/generate` that are no options, and that a prompt alone cannot make use of."""


class AgentJob:
    """`over`: nothing more is to be written, because its last event was, or because it was taken back."""

    __slots__ = ("attempt", "dirty", "job_id", "kept", "over", "request")

    def __init__(self, job_id: str, attempt: int, request: Request) -> None:
        self.job_id = job_id
        self.attempt = attempt
        self.request = request
        self.kept = ReplayBuffer()
        self.over = False
        self.dirty = False


def agent_job(job: Job) -> AgentJob:
    """A job of the second generation."""
    return AgentJob(
        job.job_id,
        job.attempt,
        Request(
            model=job.model,
            turns=job.turns,
            prefix=job.prefix,
            options=job.options,
            tools=job.tools,
            think=job.think,
            keep_alive=job.keep_alive,
            conversation=job.conversation,
            user=job.user,
        ),
    )


def prompt_job(job: PromptJob) -> AgentJob:
    """A job of the first generation, whose `parameters` are the top level of a request to Ollama's `/api/generate`."""
    parameters: Mapping[str, Any] = job.parameters
    nested = parameters.get("options")
    options = {
        name: value
        for name, value in parameters.items()
        if name not in _NO_OPTIONS and name not in ("options", "system", "think", "keep_alive")
    }
    system, think, keep_alive = (parameters.get(name) for name in ("system", "think", "keep_alive"))
    turns = [Turn("user", (TextPart(job.prompt),))]
    if isinstance(system, str) and system:
        turns.insert(0, Turn("system", (TextPart(system),)))
    return AgentJob(
        job.job_id,
        FIRST_GENERATION,
        Request(
            model=job.model,
            turns=tuple(turns),
            options={**options, **(nested if isinstance(nested, dict) else {})},
            think=think if isinstance(think, bool | str) else None,
            keep_alive=keep_alive if isinstance(keep_alive, str | int | float) else None,
        ),
    )


class UnknownJob(Struct, rename="camel"):
    """What can be read of a job that cannot be understood."""

    type: str
    job_id: str
    attempt: int = FIRST_GENERATION


def bare_job(frame: bytes | str) -> UnknownJob | None:
    """The job that `frame` holds, whatever else is wrong with it; None where it is no job."""
    try:
        bare = msgspec.json.decode(frame, type=UnknownJob)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return bare if bare.type == "job" else None
