"""`legato`: run a command, and report an error as one sentence."""

import os
import sys
from typing import Annotated

import typer

from legato import __version__
from legato.cli import agent, chat, doctor, key, model, serve, token
from legato.disk import is_disk_full
from legato.errors import LegatoError
from legato.terminal_text import complain

app = typer.Typer(
    name="legato",
    help="A chat server for models you run yourself, whose tokens reach every viewer unbroken.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"legato {__version__}")
        raise typer.Exit


@app.callback()
def _legato(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


app.command("serve")(serve.serve)
app.command("agent")(agent.agent)
app.command("chat")(chat.chat)
app.command("token")(token.token)
app.add_typer(key.app)
app.add_typer(model.app)
app.command("doctor")(doctor.doctor)


def main() -> None:
    """Run the command line. The exit status is 1, with a sentence on stderr, if something is wrong, and 2 for a wrong call."""
    open_standard_streams()
    try:
        app()
    except LegatoError as error:
        complain(error.message)
        sys.exit(1)
    except BrokenPipeError:
        _silence()
        sys.exit(1)
    except OSError as error:
        if not is_disk_full(error):
            raise
        _silence()
        complain("The disk to which the output goes is full. Make room there, and try again.")
        sys.exit(1)


def open_standard_streams() -> None:
    """Open the null device in place of each standard stream that is closed.

    Otherwise the next socket or file gets its number, and whatever is printed goes into it.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            # The lowest free number is this one.
            os.open(os.devnull, os.O_RDWR)
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, "r" if number == 0 else "w", encoding="utf-8", closefd=False))  # noqa: SIM115


def _silence() -> None:
    """Discard what Python would still write at its end, because the reader is gone."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
