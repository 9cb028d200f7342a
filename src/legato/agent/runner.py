"""What `legato agent` does: build an agent from the options and the environment, run it, and print its state."""

import asyncio
import os
import socket
import sys
from collections.abc import Iterable
from pathlib import Path

from legato.agent.agent import Agent, AgentDisconnected, AgentRegistered
from legato.agent.connect import socket_url
from legato.agent.engine_config import EngineSelection, make_sources
from legato.agent.engine_pool import EnginePool
from legato.api_keys import given
from legato.data_dir import default_data_dir
from legato.errors import InvalidError
from legato.event_loop import call_when_told_to_stop, new_loop
from legato.logs import scrub, set_up_logs
from legato.terminal_text import complain


def run_agent(
    server: str | None,
    *,
    engines: Iterable[str],
    url: str | None,
    models: Iterable[str],
    slots: int | None,
    key: str | None,
    name: str | None,
) -> None:
    """Run an agent until it is told to stop.

    :raises LegatoError: the agent cannot run. The sentence says why, and what to do.
    """
    set_up_logs()
    if not server:
        raise InvalidError(
            "Which server? Give it with --server ws://HOST:PORT/ws/agents, or in SERVER_WS_URL."
        )
    selection = EngineSelection(
        engines=tuple(engines) or ("auto",),
        models=tuple(models) or _split(os.environ.get("MODELS", "")),
        url=url,
        slots=slots,
    )
    data = os.environ.get("LEGATO_DATA_DIR")
    directory = (Path(data) if data else default_data_dir()) / "models"
    sources, capacity = make_sources(selection, os.environ, directory)
    agent = Agent(
        socket_url(server),
        EnginePool(sources),
        key=given(key, "--key or LEGATO_AGENT_KEY"),
        slots=capacity,
        name=name or socket.gethostname(),
        listener=_ConsoleReporter(),
    )
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(_run(agent))


async def _run(agent: Agent) -> None:
    call_when_told_to_stop(agent.stop)
    await agent.run()


class _ConsoleReporter:
    """Prints each state once: a server that is down for a night is one line."""

    def __init__(self) -> None:
        self._reason = ""

    def __call__(self, event: AgentRegistered | AgentDisconnected) -> None:
        if isinstance(event, AgentDisconnected):
            if event.reason != self._reason:
                complain(f"{scrub(event.reason)} Trying again until it is there.")
            self._reason = event.reason
            return
        self._reason = ""
        models = ", ".join(event.models) or "no models yet"
        slots = f"{event.slots} slot{'' if event.slots == 1 else 's'}"
        again = " again" if event.again else ""
        sys.stdout.write(f"The agent is registered{again} at {event.url}: {models}; {slots}\n")
        sys.stdout.flush()


def _split(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())
