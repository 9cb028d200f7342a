"""`legato agent`: this machine's models for a server elsewhere."""

from typing import Annotated

import typer


def agent(
    server: Annotated[
        str | None,
        typer.Option(
            envvar="SERVER_WS_URL", show_envvar=True, help="The URL of the server: ws://HOST:PORT/ws/agents."
        ),
    ] = None,
    engine: Annotated[
        list[str] | None,
        typer.Option(
            help="auto (an Ollama), ollama, llama, openai or demo; may be repeated.  [default: auto]"
        ),
    ] = None,
    url: Annotated[
        str | None, typer.Option(help="The URL of the engine: Ollama, or an OpenAI-compatible server.")
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(help="A model to offer, or the path of a GGUF file; may be repeated.  [default: all]"),
    ] = None,
    slots: Annotated[int | None, typer.Option(min=1, max=1024, help="Replies generated at once.")] = None,
    key: Annotated[
        str | None,
        typer.Option(envvar="LEGATO_AGENT_KEY", show_envvar=True, help="The agent's key for the server."),
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="The agent's name on the server.  [default: the host's name]")
    ] = None,
) -> None:
    """Offer this machine's models to a server. The agent connects to it, so this machine needs no open port."""
    # Imported late: it is slow to import, and other commands do not need it.
    from legato.agent.runner import run_agent

    run_agent(server, engines=engine or (), url=url, models=model or (), slots=slots, key=key, name=name)
