"""The agents of the scheduler, indexed by what they can run and by their free slots."""

from bisect import bisect_left, insort
from collections.abc import Collection, Iterable, Iterator, Mapping
from heapq import merge
from itertools import count

from legato.fleet.job_queue import PLAIN, Demand
from legato.fleet.protocol import REVISION, ModelInfo
from legato.fleet.scheduling import AgentSpec, SchedulerAgent

_Key = tuple[bool, float, int, int, int, SchedulerAgent]
"""Whether the model has to be loaded, the share of slots that are taken, `served` and `number` of the agent, the slots that
are taken, and the agent. The agent with the lowest key is best; `number` is never equal."""


class _DemandIndex:
    """The agents that can run jobs of one demand; those with a free slot in order of preference.

    An agent that changes is only noted in `changed`. It is moved to its new place when the index is asked next, so an agent
    with many models costs little for models that no job asks for.
    """

    __slots__ = ("_free", "_job_counts", "_keys", "_model", "_serving", "changed")

    def __init__(self, model: str | None) -> None:
        self._model = model
        self._keys: dict[SchedulerAgent, _Key | None] = {}
        self._free: list[_Key] = []
        self._job_counts: dict[int, int] = {}
        self._serving: set[SchedulerAgent] = set()
        self.changed: set[SchedulerAgent] = set()

    def __len__(self) -> int:
        return len(self._keys)

    def __contains__(self, agent: SchedulerAgent) -> bool:
        return agent in self._keys

    def add(self, agent: SchedulerAgent) -> None:
        self._keys[agent] = None
        self.changed.add(agent)

    def remove(self, agent: SchedulerAgent) -> None:
        self._replace(agent, None)
        del self._keys[agent]
        self._serving.discard(agent)
        self.changed.discard(agent)

    def serving(self) -> set[SchedulerAgent]:
        self._update()
        return self._serving

    def free(self) -> list[_Key]:
        if self.changed:
            self._update()
        return self._free

    def has_agent_below(self, jobs: int) -> bool:
        """Whether an agent with a free slot has fewer jobs than this."""
        self._update()
        return any(each < jobs for each in self._job_counts)

    def _update(self) -> None:
        while self.changed:
            agent = self.changed.pop()
            if not agent.serving:
                self._serving.discard(agent)
                self._replace(agent, None)
                continue
            self._serving.add(agent)
            taken = len(agent.assignments)
            loaded = self._model is not None and agent.loaded(self._model)
            key = not loaded, taken / agent.slots, agent.served, agent.number, taken, agent
            self._replace(agent, key if taken < agent.slots else None)

    def _replace(self, agent: SchedulerAgent, key: _Key | None) -> None:
        before = self._keys[agent]
        if before == key:
            return
        self._keys[agent] = key
        if before is not None:
            del self._free[bisect_left(self._free, before)]
            self._count(before[4], -1)
        if key is not None:
            insort(self._free, key)
            self._count(key[4], 1)

    def _count(self, jobs: int, change: int) -> None:
        self._job_counts[jobs] = self._job_counts.get(jobs, 0) + change
        if not self._job_counts[jobs]:
            del self._job_counts[jobs]


class AgentPool:
    """All agents by id. Whatever changes an agent goes through here, so that the indexes follow.

    `slots` is the number of slots of the agents that are present.
    """

    def __init__(self) -> None:
        self.agents: dict[str, SchedulerAgent] = {}
        self.slots = 0
        self._indexes: dict[Demand, _DemandIndex] = {}
        self._any_model = _DemandIndex(None)
        self._numbers = count()
        self._turns = count(1)

    # Changes.

    def join(self, spec: AgentSpec) -> None:
        """Add an agent."""
        agent = self.agents[spec.id] = SchedulerAgent(spec, next(self._numbers))
        self.slots += agent.slots
        self._list(agent)

    def leave(self, agent: SchedulerAgent) -> None:
        """Remove an agent."""
        self.set_present(agent, present=False)
        for demand in agent.demands:
            self._unlist(agent, demand)
        if agent in self._any_model:
            self._any_model.remove(agent)
        del self.agents[agent.id]

    def renew(self, agent: SchedulerAgent, spec: AgentSpec) -> None:
        """Let an agent be present again, as it describes itself now."""
        self.set_present(agent, present=False)
        agent.slots, agent.models, agent.unlisted = spec.slots, spec.models, spec.unlisted
        agent.revision = spec.revision
        agent.until, agent.draining, agent.pause = None, False, 0.0
        self.set_present(agent, present=True)
        self._list(agent)

    def offer(
        self, agent: SchedulerAgent, models: Mapping[str, ModelInfo], unlisted: frozenset[str] | None
    ) -> None:
        """Replace the models of an agent, and those that it can be asked for although it does not list them (None: any)."""
        agent.models, agent.unlisted = models, unlisted
        self._list(agent)

    def set_present(self, agent: SchedulerAgent, *, present: bool) -> None:
        if agent.present != present:
            agent.present = present
            self.slots += agent.slots if present else -agent.slots
            self._changed(agent)

    def drain(self, agent: SchedulerAgent) -> None:
        """Give the agent no more jobs."""
        agent.draining = True
        self._changed(agent)

    def occupy(self, agent: SchedulerAgent, job: str, attempt: int) -> None:
        """Let a job take a slot."""
        agent.assignments[job] = attempt
        agent.served = next(self._turns)
        self._changed(agent)

    def release(self, agent: SchedulerAgent, job: str) -> None:
        """Free the slot of a job."""
        del agent.assignments[job]
        self._changed(agent)

    # Questions.

    def could(self, demand: Demand) -> bool:
        """Whether an agent could run such a job, if it were connected and had a free slot."""
        return bool(self._indexes_of(demand))

    def serves(self, demand: Demand, excluded: Collection[str] = ()) -> bool:
        """Whether an agent takes such jobs, now or once a slot is free, and is not one of `excluded`."""
        return any(
            agent.id not in excluded for index in self._indexes_of(demand) for agent in index.serving()
        )

    def serving(self, demand: Demand) -> Iterator[SchedulerAgent]:
        """The agents that take such jobs, now or once a slot is free, in no order."""
        return (agent for index in self._indexes_of(demand) for agent in index.serving())

    def with_free(self, demands: Iterable[Demand]) -> list[Demand]:
        """Those of these demands for which an agent has a free slot."""
        indexes, any_model = self._indexes, bool(self._any_model) and bool(self._any_model.free())
        return [
            demand
            for demand in demands
            if (any_model and demand[1:] == PLAIN)
            or ((index := indexes.get(demand)) is not None and index.free())
        ]

    def free(self, demand: Demand) -> Iterator[SchedulerAgent]:
        """The agents that take such jobs and have a free slot, the best first."""
        index = self._indexes.get(demand)
        listed = [] if index is None else index.free()
        if demand[1:] != PLAIN or not self._any_model:
            return (key[5] for key in listed)
        # An agent that can be asked for any model may list this one, too.
        others = (key for key in self._any_model.free() if demand not in key[5].demands)
        return (key[5] for key in merge(listed, others))

    def has_free_below(self, demand: Demand, jobs: int) -> bool:
        """Whether an agent that takes such jobs and has a free slot has fewer jobs than this."""
        return any(index.has_agent_below(jobs) for index in self._indexes_of(demand))

    def _indexes_of(self, demand: Demand) -> list[_DemandIndex]:
        index = self._indexes.get(demand)
        indexes = [] if index is None else [index]
        if self._any_model and demand[1:] == PLAIN:
            indexes.append(self._any_model)
        return indexes

    def _list(self, agent: SchedulerAgent) -> None:
        """List the agent under what it can run now."""
        abilities = {(model, False) for model in agent.models}
        abilities |= {
            (model, True)
            for model, info in agent.models.items()
            if info.can is not None and info.can.supports_prefill
        }
        abilities |= {(model, False) for model in agent.unlisted or ()}
        revisions = range(min(agent.revision, REVISION) + 1)
        demands = {(*ability, revision) for ability in abilities for revision in revisions}
        for demand in agent.demands - demands:
            self._unlist(agent, demand)
        for demand in demands - agent.demands:
            self._indexes.setdefault(demand, _DemandIndex(demand[0])).add(agent)
        if agent.unlisted is None and agent not in self._any_model:
            self._any_model.add(agent)
        elif agent.unlisted is not None and agent in self._any_model:
            self._any_model.remove(agent)
        agent.demands = frozenset(demands)
        self._changed(agent)

    def _unlist(self, agent: SchedulerAgent, demand: Demand) -> None:
        self._indexes[demand].remove(agent)
        if not self._indexes[demand]:
            del self._indexes[demand]

    def _changed(self, agent: SchedulerAgent) -> None:
        for demand in agent.demands:
            self._indexes[demand].changed.add(agent)
        if agent.unlisted is None:
            self._any_model.changed.add(agent)
