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
        help="auto, demo, llama, ollama, openai or fleet. `auto` selects an Ollama that answers, else the embedded model, else demo. Another engine "
        "than the one in legato.toml does not use the model there."
    ),
]


def serve(
    host: Annotated[str | None, typer.Option(help="The address to listen on.  [default: 127.0.0.1]")] = None,
    port: Annotated[int | None, typer.Option(help="0 selects a free one.  [default: 8000]")] = None,
    agents_port: Annotated[
        int | None, typer.Option(help="A second port for agents only, which accepts any path.")
    ] = None,
    data_dir: Annotated[Path | None, typer.Option(help="The directory of conversations and models.")] = None,
    config: Annotated[Path | None, typer.Option(help="The legato.toml to read.")] = None,
    engine: Engine = None,
    model: Annotated[str | None, typer.Option(help="The model's name, or the path of a GGUF file.")] = None,
    backup_model: Annotated[
        str | None, typer.Option(help="The model that answers if the first one does not.")
    ] = None,
    url: Annotated[
        str | None, typer.Option(help="The URL of the engine: Ollama, or an OpenAI-compatible server.")
    ] = None,
    api_key: Annotated[
        str | None, typer.Option(help="The engine's key. OPENAI_API_KEY keeps it out of the process list.")
    ] = None,
) -> None:
    """Serve the chat page, the API and the socket. Flags override the environment, which overrides legato.toml."""
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
