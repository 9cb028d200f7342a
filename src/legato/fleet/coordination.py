"""The contract between what a gateway does for its own agents and replies and what decides for the whole fleet.

A gateway reports events; decisions come back as values. Today both are in one process and a report is a plain call, which
delivers its decisions before it returns. A coordinator elsewhere would deliver them later, so a gateway must not rely on it.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from legato.fleet.agent_registry import AgentIdentity
from legato.fleet.decisions import Decision, SchedulerConfig
from legato.fleet.job_queue import JobSpec
from legato.fleet.prompt_prefixes import PromptPrefix
from legato.fleet.protocol import ModelInfo, Register
from legato.fleet.scheduling import AgentSpec, SchedulerAgent

DecisionHandler = Callable[[list[Decision]], None]
"""Carries out decisions, in order."""


class FleetCoordination(Protocol):
    """Decides for all agents and jobs of the fleet. Its owner gets the decisions through a `DecisionHandler`."""

    config: SchedulerConfig

    @property
    def agents(self) -> Mapping[str, SchedulerAgent]:
        """All agents by id, in the order in which they joined, with their models. Only the coordinator changes them."""
        ...

    def start(self, handler: DecisionHandler) -> None:
        """Deliver decisions to this handler. Call it once, before everything else."""
        ...

    def close(self) -> None:
        """Make no more decisions by the passing of time."""
        ...

    # Replies.

    def submit(self, spec: JobSpec) -> None:
        """A reply is wanted. Decisions: `Assign`, `QueuePosition` or `Refuse`."""
        ...

    def withdraw(self, job: str, *, silent: bool = False) -> None:
        """A reply is not wanted any more; `silent`: because its agent wrote nothing for too long. Decision: `CancelAttempt`."""
        ...

    def has_read(self, agent: str, model: str, prefix: PromptPrefix) -> None:
        """An agent has answered a prompt and so has it, with its answer, in its cache."""
        ...

    def is_current(self, job: str, agent: str, attempt: int) -> bool:
        """Whether this is the attempt that writes the job now."""
        ...

    @property
    def waiting(self) -> int:
        """How many jobs wait."""
        ...

    # Agents.

    def identity(self, agent: str) -> AgentIdentity: ...

    def recognise(self, register: Register) -> AgentIdentity | None:
        """The agent that reconnects with this message, if it was here and shows its secret."""
        ...

    def admit(
        self, register: Register, agent: str, owner: str, *, protocol: int, resumes: bool
    ) -> AgentIdentity:
        """Name a new agent. If it `resumes`, an agent of the same name and key that is disconnected leaves: this is another
        run of it."""
        ...

    def joined(self, agent: AgentIdentity, spec: AgentSpec) -> None:
        """An agent that was admitted takes jobs."""
        ...

    def reconnected(self, agent: AgentIdentity, spec: AgentSpec, held: Iterable[tuple[str, int]]) -> None:
        """An agent came back within its lease and continues the attempts of `held`: pairs of job and attempt."""
        ...

    def disconnected(self, agent: str) -> None:
        """An agent lost its connection."""
        ...

    def left(self, agent: str) -> None:
        """An agent violated the protocol: it leaves the fleet."""
        ...

    def suspended(self, agent: str) -> None:
        """An agent is connected and was silent for longer than its lease."""
        ...

    def resumed(self, agent: str) -> None:
        """A suspended agent gave a sign of life."""
        ...

    def registered_again(self, agent: AgentSpec) -> None:
        """An agent registered a second time: its models, and what else it can be asked for, are now these."""
        ...

    def has_models(self, agent: str, models: Mapping[str, ModelInfo]) -> None:
        """The models of an agent changed. They are by canonical name."""
        ...

    def drains(self, agent: str) -> None:
        """An agent takes no more jobs."""
        ...

    # Attempts.

    def ended(self, agent: str, job: str, attempt: int) -> None:
        """Nothing of an attempt runs any more: it came to its end, or was cancelled."""
        ...

    def failed(self, agent: str, job: str, attempt: int) -> None:
        """An attempt failed in a way that another agent may not."""
        ...

    def returned(self, agent: str, job: str, attempt: int) -> None:
        """The agent did not take the attempt, or gave it back."""
        ...
