"""The agents as the scheduler knows them: what each can do, what it holds, and which of them fits a job best."""

from collections import OrderedDict
from collections.abc import Iterable, Mapping

from msgspec import Struct, field

from legato.backoff import exponential_delay
from legato.fleet.job_queue import QueuedJob
from legato.fleet.model_names import canonical_model_name
from legato.fleet.protocol import ModelInfo


class AgentSpec(Struct, frozen=True):
    """An agent that joins; `facts` by the `canonical_model_name` names of its models. `any_model`: it did not say which models it has, and is asked for whatever is wanted."""

    id: str
    generation: int = 2
    slots: int = 1
    models: Mapping[str, ModelInfo] = field(default_factory=dict)
    any_model: bool = False


class SlotAssignment:
    """A slot that a job has. `unwanted` is since when nobody wants it, while it still runs there."""

    __slots__ = ("attempt", "unwanted")

    def __init__(self, attempt: int) -> None:
        self.attempt = attempt
        self.unwanted: float | None = None


class SchedulerAgent:
    """An agent in the books. It is `present` while it is connected and gives signs of life; else its lease ends at `until`
    (None: it is connected and silent, and has no lease any more). `pause` is until when it wants no job."""

    __slots__ = (
        "_failures",
        "any_model",
        "assignments",
        "draining",
        "generation",
        "id",
        "models",
        "pause",
        "present",
        "served",
        "slots",
        "until",
    )

    def __init__(self, agent: AgentSpec) -> None:
        self.id = agent.id
        self.generation = agent.generation
        self.slots = agent.slots if agent.generation > 1 else 1
        self.models = dict(agent.models)
        self.any_model = agent.any_model
        self.draining = False
        self.present = True
        self.until: float | None = None
        self.pause = 0.0
        self.served = 0
        self.assignments: dict[str, SlotAssignment] = {}
        self._failures: dict[str, tuple[int, float]] = {}

    def renew(self, agent: AgentSpec) -> None:
        """It is here again, as it says it is now."""
        self.slots, self.models, self.any_model = agent.slots, dict(agent.models), agent.any_model
        self.present, self.until, self.draining, self.pause = True, None, False, 0.0

    @property
    def free(self) -> int:
        return self.slots - len(self.assignments)

    def has(self, model: str) -> bool:
        return self.any_model or canonical_model_name(model) in self.models

    def loaded(self, model: str) -> bool:
        facts = self.models.get(canonical_model_name(model))
        return facts is not None and facts.loaded

    def continues(self, model: str) -> bool:
        """Whether it goes on behind a text that stands there already."""
        facts = self.models.get(canonical_model_name(model))
        return facts is not None and facts.can is not None and facts.can.supports_prefill

    def failed(self, model: str, now: float, first: float, most: float) -> None:
        """The model failed on it: it ails for `first` seconds, and for twice as long after each failure in a row, up to `most`."""
        times, _ = self._failures.get(canonical_model_name(model), (0, 0.0))
        self._failures[canonical_model_name(model)] = (
            times + 1,
            now + exponential_delay(times, first, most),
        )

    def succeeded(self, model: str) -> None:
        """It ails no more."""
        self._failures.pop(canonical_model_name(model), None)

    def cooling_down(self, model: str, now: float) -> bool:
        """Whether the model has failed on it lately."""
        return self._failures.get(canonical_model_name(model), (0, 0.0))[1] > now

    def recoveries(self, now: float) -> Iterable[float]:
        """When it will ail no more."""
        return (until for _, until in self._failures.values() if until > now)

    def serves(self, entry: QueuedJob) -> bool:
        """Whether it is there for this job, now or once it has a free slot."""
        return self.present and not self.draining and self.could(entry)

    def could(self, entry: QueuedJob) -> bool:
        """Whether it is one for this job, were it there."""
        ticket = entry.ticket
        return self.has(ticket.model) and (not ticket.continuing or self.continues(ticket.model))

    def can(self, entry: QueuedJob, now: float) -> bool:
        """Whether it can begin this job now."""
        return (
            self.present
            and not self.draining
            and self.pause <= now
            and self.free > 0
            and entry.ticket.job not in self.assignments
            and self.could(entry)
        )


REMEMBERED = 10_000
"""Conversations of which it is remembered who served them last."""


class Affinity:
    """Who served a conversation last, and so has its beginning at hand."""

    def __init__(self) -> None:
        self._homes: OrderedDict[tuple[str, str], str] = OrderedDict()

    def of(self, entry: QueuedJob) -> str | None:
        return self._homes.get((entry.ticket.conversation, canonical_model_name(entry.ticket.model)))

    def served(self, entry: QueuedJob, seat: str) -> None:
        if entry.ticket.conversation:
            key = (entry.ticket.conversation, canonical_model_name(entry.ticket.model))
            self._homes[key] = seat
            self._homes.move_to_end(key)
            if len(self._homes) > REMEMBERED:
                self._homes.popitem(last=False)


def pick_agent(
    entry: QueuedJob, seats: Iterable[SchedulerAgent], home: str | None, lead: int
) -> SchedulerAgent | None:
    """Which of these, all of them able to begin, should: one that has not failed at it, then the home of the
    conversation unless it has more than `lead` jobs more than the idlest, then one that has the model loaded, then the
    least loaded, then the one that has waited longest."""
    seats = list(seats)
    if not seats:
        return None
    fresh = [seat for seat in seats if seat.id not in entry.tried] or seats
    model = entry.ticket.model
    if home is not None:
        least = min(len(seat.assignments) for seat in fresh)
        for seat in fresh:
            if seat.id == home and seat.loaded(model) and len(seat.assignments) <= least + lead:
                return seat
    return min(
        fresh, key=lambda seat: (not seat.loaded(model), len(seat.assignments) / seat.slots, seat.served)
    )
