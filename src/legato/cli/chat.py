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
"""How long the first of what is piped in beside a question may take."""


def chat(
    text: Annotated[
        list[str] | None,
        typer.Argument(help="Ask this, print the reply, and end. Without it one talks.", show_default=False),
    ] = None,
    server: Annotated[
        str | None,
        typer.Option(help="Where the server is.  [default: what legato.toml says, or http://127.0.0.1:8000]"),
    ] = None,
    conversation: Annotated[str | None, typer.Option(help="Go on with this conversation.")] = None,
    assistant: Annotated[str | None, typer.Option(help="Whom a new conversation is with.")] = None,
    token: Annotated[
        str | None,
        typer.Option(envvar="LEGATO_TOKEN", show_envvar=True, help="What `legato token` gave."),
    ] = None,
) -> None:
    """Talk with a server. What is piped in is asked, behind TEXT; what is piped out is the reply and nothing else."""
    asked = " ".join(text or ())
    question = "\n\n".join(part for part in (asked, piped(beside=bool(asked))) if part) or None
    if question is None and not sys.stdin.isatty():
        raise InvalidError("There is nothing to ask: the input is empty.")
    # Here, for they take a while to import, and the other commands do without.
    from rich.console import Console

    from legato.cli.repl import connected

    console = Console(highlight=False)
    with connected(server or _default_server(), token, console) as talk:
        talk.conversation, talk.assistant, talk.server = conversation, assistant, server
        if question is None:
            status = talk.converse()
        elif console.is_terminal:
            status = talk.ask_aloud(question)
        else:
            status = talk.ask(question)
    raise typer.Exit(status)


def piped(*, beside: bool) -> str:
    """What a pipe or a file gives as input; nothing at a terminal, nor from what else a service or a job may have there.

    `beside` a question, a pipe on which nothing comes for a while is passed over: scripts leave theirs open.
    """
    mode = os.fstat(sys.stdin.fileno()).st_mode
    if stat.S_ISFIFO(mode) and beside and not select.select([sys.stdin], [], [], PIPE_SECONDS)[0]:
        complain(f"Nothing came in by the pipe for {PIPE_SECONDS:g} s: asking without it.")
        return ""
    return sys.stdin.read().strip() if stat.S_ISFIFO(mode) or stat.S_ISREG(mode) else ""


def _default_server() -> str:
    from legato.gateway.config import load_settings
    from legato.gateway.settings import http_address

    server = load_settings().server
    return http_address(server.host, server.port)
