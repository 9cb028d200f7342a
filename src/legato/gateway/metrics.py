"""Metrics for Prometheus, read from existing counters on request: they cost nothing for each token.

Labels have few values, and no client chooses them: names of assistants and models, ends of replies, states of agents.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import get_args

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from legato import __version__
from legato.broker.person_limits import LimitKind
from legato.chat.counters import End
from legato.gateway.dependencies import ServerContext

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4

STATES = ("idle", "working", "busy", "draining", "lost")
"""The states of agents in `FleetView`."""


ENDS: tuple[End, ...] = get_args(End)
"""Each one exists from the start, at 0: a rate needs a previous value."""


LIMIT_KINDS: tuple[LimitKind, ...] = get_args(LimitKind)


class Metrics:
    """The metrics of one server. `sockets` returns the number of open sockets of people."""

    def __init__(self, context: ServerContext, sockets: Callable[[], int]) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        ProcessCollector(registry=self._registry)
        self._registry.register(_Server(context, sockets))

    def text(self) -> bytes:
        """Return all metrics in the format that `CONTENT_TYPE` names."""
        return generate_latest(self._registry)


class _Server(Collector):
    def __init__(self, context: ServerContext, sockets: Callable[[], int]) -> None:
        self._context = context
        self._sockets = sockets

    def describe(self) -> list[Metric]:
        """Return nothing: metrics are collected on request."""
        return []

    def collect(self) -> Iterator[Metric]:
        yield InfoMetricFamily("legato", "The server", {"version": __version__})
        yield from self._chat()
        yield GaugeMetricFamily("legato_sockets", "Open WebSockets of people", self._sockets())
        yield GaugeMetricFamily(
            "legato_event_streams", "Open streams of server-sent events", len(self._context.sse_responses)
        )
        refused = CounterMetricFamily("legato_refused", "What a limit refused, by its kind", labels=("kind",))
        for kind in LIMIT_KINDS:
            refused.add_metric((kind,), self._context.limits.refusals.total[kind])
        yield refused
        yield from self._api()
        yield from self._fleet()

    def _chat(self) -> Iterator[Metric]:
        service = self._context.service
        counters = service.counters
        running = "Replies that are being written or wait in the line of their conversation"
        yield GaugeMetricFamily("legato_replies_running", running, service.replies.running)
        replies = CounterMetricFamily(
            "legato_replies", "Replies that ended, by how", labels=("assistant", "end")
        )
        for assistant in self._context.assistants:
            for end in ENDS:
                replies.add_metric((assistant, end), counters.replies[assistant, end])
        yield replies
        tokens = CounterMetricFamily(
            "legato_tokens",
            "Tokens of replies that ended, as the engine counts them, else the pieces in which they came",
            labels=("assistant",),
        )
        for assistant in self._context.assistants:
            tokens.add_metric((assistant,), counters.tokens[assistant])
        yield tokens
        yield CounterMetricFamily("legato_messages", "Messages of people that were taken", counters.messages)

    def _api(self) -> Iterator[Metric]:
        requests = CounterMetricFamily(
            "legato_api_requests", "Calls of the APIs that ended", labels=("model",)
        )
        tokens = CounterMetricFamily(
            "legato_api_tokens", "Tokens of calls of the APIs", labels=("model", "kind")
        )
        for model, used in self._context.calls.usage.models.items():
            requests.add_metric((model,), used.requests)
            tokens.add_metric((model, "prompt"), used.prompt_tokens)
            tokens.add_metric((model, "completion"), used.completion_tokens)
        yield requests
        yield tokens

    def _fleet(self) -> Iterator[Metric]:
        view = self._context.fleet.view()
        states = Counter(agent.status for agent in view.agents)
        agents = GaugeMetricFamily("legato_fleet_agents", "Agents, by their state", labels=("state",))
        for state in STATES:
            agents.add_metric((state,), states[state])
        yield agents
        yield GaugeMetricFamily("legato_fleet_slots", "Jobs that the agents can run at once", view.slots)
        yield GaugeMetricFamily("legato_fleet_jobs_running", "Jobs that agents run", view.running)
        yield GaugeMetricFamily("legato_fleet_queue", "Jobs that wait for an agent", view.queue)
        yield GaugeMetricFamily("legato_fleet_queue_size", "Jobs that may wait for an agent", view.queue_size)
        yield CounterMetricFamily("legato_fleet_jobs", "Jobs that were done", view.jobs)
        yield CounterMetricFamily("legato_fleet_jobs_lost", "Jobs whose agent was lost", view.lost)
        yield CounterMetricFamily("legato_fleet_tokens", "Tokens that agents wrote", view.tokens)
