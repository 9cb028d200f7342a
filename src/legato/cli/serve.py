"""`legato serve`: the server."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

Engine = Annotated[
    str | None,
    typer.Option(
        help="auto, demo, llama, ollama, openai or fleet. `auto` takes an Ollama that answers, else the embedded model, else demo. Another "
        "than the one in legato.toml leaves the model there behind."
    ),
]


def serve(
    host: Annotated[str | None, typer.Option(help="The address to listen on.  [default: 127.0.0.1]")] = None,
    port: Annotated[int | None, typer.Option(help="0 takes a free one.  [default: 8000]")] = None,
    agents_port: Annotated[
        int | None, typer.Option(help="A second port, for agents only, which take any path there.")
    ] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Where conversations and models are kept.")] = None,
    config: Annotated[Path | None, typer.Option(help="The legato.toml to read.")] = None,
    engine: Engine = None,
    model: Annotated[str | None, typer.Option(help="The model's name, or the path of a GGUF file.")] = None,
    backup_model: Annotated[
        str | None, typer.Option(help="The model that answers where the first one does not.")
    ] = None,
    url: Annotated[
        str | None, typer.Option(help="Where the engine is: Ollama, or an OpenAI-compatible server.")
    ] = None,
    api_key: Annotated[
        str | None, typer.Option(help="The engine's key. OPENAI_API_KEY keeps it out of the process list.")
    ] = None,
) -> None:
    """Serve the chat page, the API and the socket. Flags outrank the environment, which outranks legato.toml."""
    flags = {
        "host": host,
        "port": port,
        "agents_port": agents_port,
        "data_dir": data_dir,
        "config": config,
        "engine": engine,
        "model": model,
        "backup_model": backup_model,
        "url": url,
        "api_key": api_key,
    }
    with _stoppable():
        from legato.gateway.config import load_settings
        from legato.gateway.server import serve as run

        status = run(load_settings(flags))
    raise typer.Exit(status)


@contextmanager
def _stoppable() -> Iterator[None]:
    """End with status 0 on a signal before the server can handle it."""

    def end(number: int, frame: object) -> None:
        raise SystemExit(0)

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
