"""Decides for the whole fleet, in the process of the one gateway: the scheduler, its timers, and who the agents are."""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping

from legato.fleet.agent_registry import AgentIdentity, AgentRegistry
from legato.fleet.coordination import DecisionHandler
from legato.fleet.decisions import AgentLeft, Decision, SchedulerConfig
from legato.fleet.job_queue import JobSpec
from legato.fleet.prompt_prefixes import PromptPrefix
from legato.fleet.protocol import ModelInfo, Register
from legato.fleet.scheduler import Scheduler
from legato.fleet.scheduling import AgentSpec

logger = logging.getLogger(__name__)

POSITION_SECONDS = 0.25
"""Minimum seconds between two updates of the queue positions; every finished job moves the whole queue."""


class LocalCoordinator:
    """The coordination of a fleet that belongs to one gateway. Decisions are delivered in the call that leads to them.

    `clock` is in seconds and never goes backwards.
    """

    def __init__(self, config: SchedulerConfig, clock: Callable[[], float]) -> None:
        self.config = config
        self.scheduler = Scheduler(config)
        self.agents = self.scheduler.agents
        self._registry = AgentRegistry()
        self._clock = clock
        self._handler: DecisionHandler = lambda _: None
        self._due: float | None = None
        self._look_timer: asyncio.TimerHandle | None = None
        self._position_timer: asyncio.TimerHandle | None = None

    def start(self, handler: DecisionHandler) -> None:
        self._handler = handler

    def close(self) -> None:
        for timer in (self._look_timer, self._position_timer):
            if timer is not None:
                timer.cancel()
        self._look_timer = self._position_timer = self._due = None

    # Replies.

    def submit(self, spec: JobSpec) -> None:
        self._deliver(self.scheduler.submit(spec, self._clock()))

    def withdraw(self, job: str, *, silent: bool = False) -> None:
        self._deliver(self.scheduler.withdraw(job, self._clock(), silent=silent))

    def has_read(self, agent: str, model: str, prefix: PromptPrefix) -> None:
        self.scheduler.has_read(agent, model, prefix)

    def is_current(self, job: str, agent: str, attempt: int) -> bool:
        return self.scheduler.is_current(job, agent, attempt)

    @property
    def waiting(self) -> int:
        return len(self.scheduler.queue)

    # Agents.

    def identity(self, agent: str) -> AgentIdentity:
        return self._registry[agent]

    def recognise(self, register: Register) -> AgentIdentity | None:
        return self._registry.recognise(register)

    def admit(
        self, register: Register, agent: str, owner: str, *, protocol: int, resumes: bool
    ) -> AgentIdentity:
        for former in self._registry.namesakes(register, agent, owner) if resumes else ():
            if self.agents[former.id].until is not None:
                self.left(former.id)
                break
        return self._registry.describe(register, agent, owner, protocol)

    def joined(self, agent: AgentIdentity, spec: AgentSpec) -> None:
        self._registry.put(agent)
        self._deliver(self.scheduler.join(spec, self._clock()))

    def reconnected(self, agent: AgentIdentity, spec: AgentSpec, held: Iterable[tuple[str, int]]) -> None:
        self._registry.put(agent)
        self._deliver(self.scheduler.reconnected(spec, held, self._clock()))

    def disconnected(self, agent: str) -> None:
        self._deliver(self.scheduler.disconnected(agent, self._clock()))

    def left(self, agent: str) -> None:
        self._deliver(self.scheduler.leave(agent, self._clock()))

    def suspended(self, agent: str) -> None:
        self._deliver(self.scheduler.suspend(agent, self._clock()))

    def resumed(self, agent: str) -> None:
        self._deliver(self.scheduler.resume(agent, self._clock()))

    def registered_again(self, agent: AgentSpec) -> None:
        self._deliver(self.scheduler.registered_again(agent, self._clock()))

    def has_models(self, agent: str, models: Mapping[str, ModelInfo]) -> None:
        self._deliver(self.scheduler.has_models(agent, models, self._clock()))

    def drains(self, agent: str) -> None:
        self.scheduler.drain(agent)
        self._deliver([])

    # Attempts.

    def ended(self, agent: str, job: str, attempt: int) -> None:
        self._deliver(self.scheduler.job_ended(agent, job, attempt, self._clock()))

    def failed(self, agent: str, job: str, attempt: int) -> None:
        self._deliver(self.scheduler.job_failed(agent, job, attempt, self._clock()))

    def returned(self, agent: str, job: str, attempt: int) -> None:
        self._deliver(self.scheduler.job_returned(agent, job, attempt, self._clock()))

    # How decisions get out.

    def _deliver(self, decisions: list[Decision]) -> None:
        left = self._registry.keep_only(self.agents)
        for agent in left:
            logger.info("%s has left the fleet", agent.name)
        self._handler([*(AgentLeft(agent.id) for agent in left), *decisions, *self._positions()])
        self._plan()

    def _positions(self) -> list[Decision]:
        if self._position_timer is not None:
            return []
        moved = self.scheduler.moved_positions()
        if moved:
            self._position_timer = asyncio.get_running_loop().call_later(
                POSITION_SECONDS, self._update_positions
            )
        return [*moved]

    def _update_positions(self) -> None:
        self._position_timer = None
        self._handler(self._positions())

    def _plan(self) -> None:
        """Set the timer to when the scheduler has something to do."""
        due = self.scheduler.due(self._clock())
        if due == self._due:
            return
        if self._look_timer is not None:
            self._look_timer.cancel()
        self._due, self._look_timer = due, None
        if due is not None:
            delay = max(0.0, due - self._clock())
            self._look_timer = asyncio.get_running_loop().call_later(delay, self._look)

    def _look(self) -> None:
        self._look_timer = self._due = None
        self._deliver(self.scheduler.look(self._clock()))
