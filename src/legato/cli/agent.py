"""`legato agent`: this machine's models for a server elsewhere."""

import asyncio
import os
import signal
import socket
import sys
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from legato.agent.agent import Agent, Away, Registered
from legato.agent.dial import socket_url
from legato.agent.roster import Roster
from legato.agent.sources import Asked, make_sources
from legato.cli.plain import complain
from legato.engines.keys import given
from legato.errors import InvalidError
from legato.gateway.logs import scrub, set_up_logs
from legato.gateway.loop import new_loop
from legato.gateway.settings import default_data_dir


def agent(
    server: Annotated[
        str | None,
        typer.Option(
            envvar="SERVER_WS_URL", show_envvar=True, help="Where the server is: ws://HOST:PORT/ws/agents."
        ),
    ] = None,
    engine: Annotated[
        list[str] | None,
        typer.Option(
            help="auto (an Ollama), ollama, llama, openai or demo; several may be given.  [default: auto]"
        ),
    ] = None,
    url: Annotated[
        str | None, typer.Option(help="Where the engine is: Ollama, or an OpenAI-compatible server.")
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(
            help="A model to offer, or the path of a GGUF file; several may be given.  [default: all]"
        ),
    ] = None,
    slots: Annotated[int | None, typer.Option(min=1, max=1024, help="Replies written at once.")] = None,
    key: Annotated[
        str | None,
        typer.Option(envvar="LEGATO_AGENT_KEY", show_envvar=True, help="The agent's key for the server."),
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="What the server calls it.  [default: the host's name]")
    ] = None,
) -> None:
    """Lend this machine's models to a server. It is dialled, so nothing here has to be reachable from outside."""
    set_up_logs()
    if not server:
        raise InvalidError(
            "Which server? Give it with --server ws://HOST:PORT/ws/agents, or in SERVER_WS_URL."
        )
    asked = Asked(
        engines=tuple(engine or ("auto",)),
        models=tuple(model or _listed(os.environ.get("MODELS", ""))),
        url=url,
        slots=slots,
    )
    data = os.environ.get("LEGATO_DATA_DIR")
    directory = (Path(data) if data else default_data_dir()) / "models"
    sources, capacity = make_sources(asked, os.environ, directory)
    running = Agent(
        socket_url(server),
        Roster(sources),
        key=given(key, "--key or LEGATO_AGENT_KEY"),
        slots=capacity,
        name=name or socket.gethostname(),
        told=_Told(),
    )
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(_run(running))


async def _run(agent: Agent) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        with suppress(NotImplementedError, RuntimeError, ValueError):
            loop.add_signal_handler(number, agent.stop)
    await agent.run()


class _Told:
    """Says each thing once: a server that is away for a night is one line."""

    def __init__(self) -> None:
        self._reason = ""

    def __call__(self, event: Registered | Away) -> None:
        if isinstance(event, Away):
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


def _listed(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())
