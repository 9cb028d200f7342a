"""`legato chat`: a conversation in the terminal, or one question and its answer."""

import os
import select
import stat
import sys
from typing import Annotated

import typer

from legato.errors import InvalidError
from legato.terminal_text import complain

PIPE_SECONDS = 10.0
"""How long to wait for the first piped input beside a question."""


def chat(
    text: Annotated[
        list[str] | None,
        typer.Argument(
            help="Ask this, print the reply, and exit. Without it, an interactive conversation starts.",
            show_default=False,
        ),
    ] = None,
    server: Annotated[
        str | None,
        typer.Option(
            help="The URL of the server.  [default: the one in legato.toml, or http://127.0.0.1:8000]"
        ),
    ] = None,
    conversation: Annotated[str | None, typer.Option(help="Continue this conversation.")] = None,
    assistant: Annotated[str | None, typer.Option(help="The assistant of a new conversation.")] = None,
    token: Annotated[
        str | None,
        typer.Option(envvar="LEGATO_TOKEN", show_envvar=True, help="The token that `legato token` printed."),
    ] = None,
) -> None:
    """Talk with a server. Piped input is appended to TEXT; piped output is only the reply."""
    words = " ".join(text or ())
    question = "\n\n".join(part for part in (words, read_piped(with_question=bool(words))) if part) or None
    if question is None and not sys.stdin.isatty():
        raise InvalidError("There is nothing to ask: the input is empty.")
    # Imported late: they are slow to import, and other commands do not need them.
    from rich.console import Console

    from legato.cli.repl import open_repl

    console = Console(highlight=False)
    with open_repl(server or _default_server(), token, console) as repl:
        repl.conversation, repl.assistant, repl.server = conversation, assistant, server
        if question is None:
            status = repl.converse()
        elif console.is_terminal:
            status = repl.ask_live(question)
        else:
            status = repl.ask(question)
    raise typer.Exit(status)


def read_piped(*, with_question: bool) -> str:
    """Return the input of a pipe or a file; nothing at a terminal, or from what a service or a job may have as input.

    `with_question`, a pipe without data for a while is ignored: scripts leave theirs open.
    """
    mode = os.fstat(sys.stdin.fileno()).st_mode
    if stat.S_ISFIFO(mode) and with_question and not select.select([sys.stdin], [], [], PIPE_SECONDS)[0]:
        complain(f"Nothing came in by the pipe for {PIPE_SECONDS:g} s: asking without it.")
        return ""
    return sys.stdin.read().strip() if stat.S_ISFIFO(mode) or stat.S_ISREG(mode) else ""


def _default_server() -> str:
    from legato.gateway.config import load_settings
    from legato.gateway.settings import http_address

    server = load_settings().server
    return http_address(server.host, server.port)
