"""An agent as the scheduler knows it, and which agent served which conversation."""

from collections import OrderedDict
from collections.abc import Container, Mapping
from typing import NamedTuple, TypeVar

from msgspec import Struct, field

from legato.backoff import exponential_delay
from legato.fleet.job_queue import PLAIN, Demand, QueuedJob
from legato.fleet.prompt_prefixes import PromptPrefix
from legato.fleet.protocol import ModelInfo

REMEMBERED = 10_000
"""Conversations of which it is remembered which agent served them last."""

REMEMBERED_PREFIXES = 30_000
"""Prefixes of prompts of which it is remembered which agent read them: two or three of each call."""

_Key = TypeVar("_Key")


class AgentSpec(Struct, frozen=True):
    """An agent that joins. `models` are by canonical name. `unlisted` are canonical names of models that it can be asked for
    although it does not list them; None: any. `resumes`: it may reconnect within its lease and continue its jobs.
    `revision`: which fields of a job it knows."""

    id: str
    slots: int = 1
    models: Mapping[str, ModelInfo] = field(default_factory=dict)
    unlisted: frozenset[str] | None = frozenset()
    resumes: bool = True
    revision: int = 0


class SchedulerAgent:
    """An agent as the scheduler knows it. `AgentPool` changes it; others read it.

    It is `present` while it is connected and gives signs of life. Otherwise its lease ends at `until` (None: it is connected
    and silent, and has no lease any more). It gets no job before `pause`. `assignments` has the attempt of each job that
    takes a slot. `served` orders agents by when they got their last job, `number` by when they joined.
    """

    __slots__ = (
        "_failures",
        "assignments",
        "demands",
        "draining",
        "id",
        "models",
        "number",
        "pause",
        "present",
        "resumes",
        "revision",
        "served",
        "slots",
        "unlisted",
        "until",
    )

    def __init__(self, agent: AgentSpec, number: int) -> None:
        self.id = agent.id
        self.number = number
        self.slots = agent.slots
        self.models = agent.models
        self.unlisted = agent.unlisted
        self.resumes = agent.resumes
        self.revision = agent.revision
        self.demands: frozenset[Demand] = frozenset()
        self.draining = False
        self.present = True
        self.until: float | None = None
        self.pause = 0.0
        self.served = 0
        self.assignments: dict[str, int] = {}
        self._failures: dict[str, tuple[int, float]] = {}

    @property
    def free(self) -> int:
        """Slots that no job takes."""
        return self.slots - len(self.assignments)

    @property
    def serving(self) -> bool:
        """Whether it takes jobs, now or once a slot is free."""
        return self.present and not self.draining

    def could(self, demand: Demand) -> bool:
        """Whether it can run such a job, if it is connected."""
        return demand in self.demands or (self.unlisted is None and demand[1:] == PLAIN)

    def can_start(self, job: QueuedJob, now: float) -> bool:
        """Whether it can start this job now."""
        return (
            self.serving
            and self.free > 0
            and self.pause <= now
            and job.spec.job not in self.assignments
            and self.could(job.demand)
        )

    def loaded(self, model: str) -> bool:
        """Whether the model of this canonical name is loaded."""
        info = self.models.get(model)
        return info is not None and info.loaded

    def failed(self, model: str, now: float, first: float, most: float) -> None:
        """Let the model cool down on this agent for `first` seconds, and for twice as long after each failure in a row, up to
        `most`."""
        times, _ = self._failures.get(model, (0, 0.0))
        self._failures[model] = times + 1, now + exponential_delay(times, first, most)

    def succeeded(self, model: str) -> None:
        """Forget the failures of this model."""
        self._failures.pop(model, None)

    def cooling_down(self, model: str, now: float) -> bool:
        """Whether the model has failed on this agent lately."""
        return bool(self._failures) and self._failures.get(model, (0, 0.0))[1] > now

    def cools_down_until(self, model: str) -> float | None:
        return self._failures[model][1] if model in self._failures else None


class AffinityMatch(NamedTuple):
    """The agent that has read the beginning of a job's prompt: `size` characters. `shared`: other conversations begin so too."""

    agent: str
    size: int
    shared: bool = False


class Affinity:
    """Which agent served a conversation last, or has read the beginning of a prompt, and so may have it in its cache.

    `agents` are those that are here; what others have read is forgotten.
    """

    def __init__(self, agents: Container[str]) -> None:
        self._present = agents
        self._conversations: OrderedDict[tuple[str, str], str] = OrderedDict()
        self._prefixes: OrderedDict[tuple[bytes, str], str] = OrderedDict()

    def of(self, job: QueuedJob) -> AffinityMatch | None:
        """Return the agent that served the job's conversation last with this model. Without a conversation, it is the agent that
        has read the longest prefix of the prompt.
        """
        spec, model = job.spec, job.demand[0]
        for prefix in reversed(spec.prefixes):
            agent = self._prefixes.get((prefix.digest, model))
            if agent in self._present and agent is not None:
                return AffinityMatch(agent, prefix.size, prefix.shared)
            if agent is not None:
                del self._prefixes[prefix.digest, model]
        agent = self._conversations.get((spec.conversation, model))
        return AffinityMatch(agent, spec.size) if agent is not None and agent in self._present else None

    def served(self, job: QueuedJob, agent: str) -> None:
        """Note that this agent serves the job, and so reads its prompt."""
        spec, model = job.spec, job.demand[0]
        if spec.conversation:
            _remember(self._conversations, (spec.conversation, model), agent, REMEMBERED)
        for prefix in spec.prefixes[-1:]:
            self.has_read(prefix, model, agent)
        for prefix in spec.prefixes[:1]:
            if prefix.shared:
                self.has_read(prefix, model, agent)

    def has_read(self, prefix: PromptPrefix, model: str, agent: str) -> None:
        """Note that this agent has read the prefix with the model of this canonical name."""
        _remember(self._prefixes, (prefix.digest, model), agent, REMEMBERED_PREFIXES)


def _remember(agents: OrderedDict[_Key, str], key: _Key, agent: str, most: int) -> None:
    """Note the agent of a key. Beyond `most` keys, the one that was used least recently is forgotten."""
    agents[key] = agent
    agents.move_to_end(key)
    if len(agents) > most:
        agents.popitem(last=False)
