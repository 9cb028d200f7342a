"""`legato doctor`: what is fine, what is not, and what to do."""

import asyncio
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from legato.errors import SettingsError
from legato.terminal_text import harmless

if TYPE_CHECKING:
    from legato.check_result import CheckResult

STYLES = {"ok": "green", "note": "yellow", "problem": "bold red"}


def doctor(
    host: Annotated[str | None, typer.Option(help="The address the server would listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Its port.")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="The directory of conversations and models.")] = None,
    config: Annotated[Path | None, typer.Option(help="The legato.toml to read.")] = None,
) -> None:
    """Check everything that a server needs, and print each problem and its fix. The exit status is 1 if the server cannot start."""
    from legato.check_result import problem
    from legato.cli.checks import python, run_checks
    from legato.gateway.config import load_settings

    # The results contain what the components log.
    logging.getLogger("legato").addHandler(logging.NullHandler())
    findings = [python()]
    try:
        settings = load_settings({"host": host, "port": port, "data_dir": data_dir, "config": config})
    except SettingsError as error:
        findings += [problem("Settings", line) for line in error.message.splitlines()]
    else:
        findings += asyncio.run(run_checks(settings))
    show(findings)
    if any(finding.verdict == "problem" for finding in findings):
        raise typer.Exit(1)


def show(findings: "list[CheckResult]") -> None:
    """Print a line for each result, its fix below it, and a summary. It can be read without colour."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for finding in findings:
        text = Text(harmless(finding.message))
        if finding.fix:
            text.append(f"\n→ {harmless(finding.fix)}", style="bold")
        table.add_row(Text(finding.verdict, style=STYLES[finding.verdict]), finding.about, text)
    console = Console(highlight=False)
    console.print(table)
    problems = sum(finding.verdict == "problem" for finding in findings)
    console.print()
    if problems:
        console.print(f"{problems} problem{'s' if problems > 1 else ''} to solve.", style="bold red")
    else:
        console.print("Everything that a server needs is there.", style="green")
