"""`legato token`: a token for one user."""

import re
import time
from pathlib import Path
from typing import Annotated

import typer

from legato.domain.user import ALL_SCOPES
from legato.errors import InvalidError

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


def seconds(text: str) -> float:
    """Return `90`, `30s`, `15m`, `1h`, `7d`, `1h30m` in seconds.

    :raises InvalidError: it is not a duration, or is zero.
    """
    if not re.fullmatch(r"(?:[0-9]+[smhdw])+|[0-9]+", text):
        raise InvalidError(f"{text!r} is no length of time. Write it as 30m, 1h or 7d.")
    total = sum(int(number) * UNITS[unit or "s"] for number, unit in re.findall(r"([0-9]+)([smhdw]?)", text))
    if not total:
        raise InvalidError("A token that is good for no time is good for nothing. Try --ttl 1h.")
    return float(total)


def token(
    user: Annotated[str, typer.Option(help="The user it names.")],
    name: Annotated[
        str | None, typer.Option(help="The name that others see.  [default: the user]", show_default=False)
    ] = None,
    ttl: Annotated[str, typer.Option(help="How long it is valid: 30m, 1h, 7d.")] = "1h",
    scope: Annotated[
        str | None,
        typer.Option(help="Its scopes: `chat`, `admin`, or both with a space between.  [default: chat]"),
    ] = None,
    config: Annotated[Path | None, typer.Option(help="The legato.toml to read.")] = None,
) -> None:
    """Print a token for a user, and nothing else. It is signed with the secret of the server."""
    from legato.gateway.auth import issue_token
    from legato.gateway.config import load_settings

    for word in (scope.split() or [scope]) if scope is not None else ():
        if word not in ALL_SCOPES:
            raise InvalidError(f"There is no scope {word!r}. There is: {', '.join(sorted(ALL_SCOPES))}.")
    settings = load_settings({"config": config})
    typer.echo(issue_token(settings.auth, user, seconds(ttl), time.time(), name=name, scopes=scope))
