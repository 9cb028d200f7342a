"""`legato key`: keys for clients of the APIs. Works beside a running server, on the same database."""

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from legato.cli.token import seconds
from legato.errors import InvalidError, NotFoundError
from legato.terminal_text import harmless

if TYPE_CHECKING:
    from legato.gateway.settings import Settings
    from legato.storage.api_base import ApiKeyRecord, UsageRecord
    from legato.storage.sql.api_store import SqlApiStore

T = TypeVar("T")

NAME_LENGTH = 100
MODEL_LENGTH = 500

app = typer.Typer(
    name="key",
    help="Keys for clients of the APIs of OpenAI, Ollama and Anthropic.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

DataDir = Annotated[Path | None, typer.Option(help="The directory of conversations and models.")]
Config = Annotated[Path | None, typer.Option(help="The legato.toml to read.")]


@app.callback()
def _key() -> None:
    pass


@app.command("create")
def create(
    name: Annotated[str, typer.Argument(help="What the key is for, for example `laptop`.")],
    user: Annotated[
        str | None,
        typer.Option(help="The user it acts for.  [default: local, if auth is off]", show_default=False),
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(
            help="A model, alias or assistant that it may use; give it again for more.  [default: all]"
        ),
    ] = None,
    scope: Annotated[str, typer.Option(help="What it may do: `chat`, `embed`, or both.")] = "chat embed",
    expires: Annotated[
        str | None, typer.Option(help="How long it is valid: 12h, 30d.  [default: for ever]")
    ] = None,
    requests_per_minute: Annotated[
        int | None, typer.Option(min=0, help="In place of the setting in [api]; 0: no limit.")
    ] = None,
    streams: Annotated[
        int | None,
        typer.Option(min=0, help="Streams at once, in place of the setting in [api]; 0: no limit."),
    ] = None,
    tokens_per_day: Annotated[
        int | None, typer.Option(min=0, help="In place of the setting in [api]; 0: no limit.")
    ] = None,
    data_dir: DataDir = None,
    config: Config = None,
) -> None:
    """Make a key, and print it. It is shown only this once: the database has its hash."""
    from legato.api.key_cache import digest_of, new_key
    from legato.gateway.config import load_settings
    from legato.storage.api_base import ApiKeyRecord

    settings = load_settings({"data_dir": data_dir, "config": config})
    now = time.time()
    limits = {
        "requests_per_minute": requests_per_minute,
        "streams": streams,
        "tokens_per_day": tokens_per_day,
    }
    key = new_key()
    record = ApiKeyRecord(
        f"key_{secrets.token_hex(6)}",
        _user(settings, user),
        _checked(name, "The key's name"),
        digest_of(key),
        now,
        _scopes(scope),
        tuple(dict.fromkeys(_checked(each, "A model's name", MODEL_LENGTH) for each in model or ())),
        {each: value for each, value in limits.items() if value is not None},
        None if expires is None else now + seconds(expires),
    )
    _run(settings, lambda store: store.add_key(record))
    typer.echo(key)
    typer.echo(f"This is the key {record.id} of {harmless(record.user)}. It is not shown again.", err=True)


@app.command("list")
def list_keys(
    user: Annotated[str | None, typer.Option(help="Only the keys of this user.")] = None,
    data_dir: DataDir = None,
    config: Config = None,
) -> None:
    """List the keys, with what each used today (UTC)."""
    from legato.gateway.config import load_settings

    settings = load_settings({"data_dir": data_dir, "config": config})
    now = time.time()

    async def read(store: "SqlApiStore") -> "tuple[list[ApiKeyRecord], list[UsageRecord]]":
        return await store.keys(user), await store.usage(_day(now), user)

    keys, usage = _run(settings, read)
    if not keys:
        typer.echo("There are no keys. `legato key create NAME` makes one.", err=True)
        return
    rows = [HEADINGS, *(_row(key, usage, now) for key in keys)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


@app.command("revoke")
def revoke(
    key: Annotated[str, typer.Argument(help="The id of the key, or its name.")],
    user: Annotated[str | None, typer.Option(help="Its user, if keys of several have the name.")] = None,
    data_dir: DataDir = None,
    config: Config = None,
) -> None:
    """Revoke a key. A running server refuses it, and ends what runs under it, within 2 seconds."""
    from legato.gateway.config import load_settings

    settings = load_settings({"data_dir": data_dir, "config": config})

    async def end(store: "SqlApiStore") -> "ApiKeyRecord":
        record = _find(await store.keys(user), key)
        if not await store.revoke_key(record.id, time.time()):
            raise NotFoundError(f"The key {key} was revoked before.")
        return record

    record = _run(settings, end)
    typer.echo(f"The key {record.id} ({harmless(record.name)}) of {harmless(record.user)} is revoked.")


HEADINGS = ("ID", "USER", "NAME", "STATE", "SCOPES", "MODELS", "LIMITS", "CREATED", "REQUESTS", "TOKENS")


def _row(key: "ApiKeyRecord", usage: "Iterable[UsageRecord]", now: float) -> tuple[str, ...]:
    used = [each for each in usage if each.key == key.id]
    return (
        key.id,
        harmless(key.user),
        harmless(key.name),
        _state(key, now),
        " ".join(key.scopes),
        harmless(" ".join(key.models)) or "all",
        _limits(key.limits),
        _date(key.created_at),
        str(sum(each.requests for each in used)),
        str(sum(each.prompt_tokens + each.completion_tokens for each in used)),
    )


def _state(key: "ApiKeyRecord", now: float) -> str:
    if key.revoked_at is not None:
        return "revoked"
    if key.expires_at is None:
        return "valid"
    return f"valid until {_date(key.expires_at)}" if key.expires_at > now else "expired"


def _limits(limits: Mapping[str, int]) -> str:
    units = {"requests_per_minute": "requests/min", "streams": "streams", "tokens_per_day": "tokens/day"}
    return (
        ", ".join(f"{limits[name] or 'any'} {unit}" for name, unit in units.items() if name in limits) or "-"
    )


def _date(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d %H:%M")


def _day(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).date().isoformat()


def _find(keys: "list[ApiKeyRecord]", wanted: str) -> "ApiKeyRecord":
    """Return the key with this id, or the only valid one with this name.

    :raises NotFoundError: there is none.
    :raises InvalidError: several users have a key of this name.
    """
    found = [each for each in keys if each.id == wanted] or [
        each for each in keys if each.name == wanted and each.revoked_at is None
    ]
    if not found:
        raise NotFoundError(
            f"There is no key {wanted!r} that could be revoked. `legato key list` names all keys."
        )
    if len(found) > 1:
        raise InvalidError(f"{len(found)} users have a key {wanted!r}. Name its id, or the user with --user.")
    return found[0]


def _user(settings: "Settings", user: str | None) -> str:
    from legato.gateway.auth import LOCAL, check_user

    if user is not None and not (user == LOCAL.id and not settings.auth.required):
        return check_user(user)
    if user is None and settings.auth.required:
        raise InvalidError("Name the user for whom the key acts: --user ann.")
    return LOCAL.id


def _scopes(text: str) -> tuple[str, ...]:
    from legato.api.key_cache import SCOPES

    words = text.replace(",", " ").split()
    for word in words or [text]:
        if word not in SCOPES:
            raise InvalidError(f"There is no scope {word!r} of keys. There is: {', '.join(SCOPES)}.")
    return tuple(dict.fromkeys(words))


def _checked(text: str, what: str, length: int = NAME_LENGTH) -> str:
    from legato.domain.validation import is_visible

    text = text.strip()
    if not 0 < len(text) <= length or not is_visible(text):
        raise InvalidError(f"{what} has 1 to {length} visible characters.")
    return text


def _run(settings: "Settings", work: "Callable[[SqlApiStore], Awaitable[T]]") -> T:
    """Open the database, do the work and close it."""
    from legato.gateway.wiring import open_database
    from legato.storage.sql.api_store import SqlApiStore

    async def run() -> T:
        storage = open_database(settings)
        await storage.open()
        try:
            return await work(SqlApiStore(storage.database))
        finally:
            await storage.close()

    return asyncio.run(run())
