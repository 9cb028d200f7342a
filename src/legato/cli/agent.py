"""`legato agent`: this machine's models for a server elsewhere."""

from typing import Annotated

import typer


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
    # Imported late: it is slow to import, and other commands do not need it.
    from legato.agent.runner import run_agent

    run_agent(server, engines=engine or (), url=url, models=model or (), slots=slots, key=key, name=name)
