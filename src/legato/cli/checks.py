"""The checks of `legato doctor`. Each reports what it found, and names the fix for a problem. No check changes anything, except what
the program of an MCP server does at its start.
"""

import asyncio
import os
import shutil
import sqlite3
import stat
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import aiohttp
from sqlalchemy import text

from legato import __version__
from legato.check_result import CHECK_SECONDS, CheckResult, note, ok, problem
from legato.cli.component_checks import attachments, recordings, tools
from legato.cli.directories import nearest, unusable
from legato.cli.engine_checks import engines
from legato.errors import LegatoError, SettingsError
from legato.gateway.auth import SECRET_BYTES, Authenticator, check_open
from legato.gateway.environment import misspelled
from legato.gateway.jwks import fetch
from legato.gateway.settings import Settings, http_address
from legato.gateway.sockets import listen
from legato.gateway.web_page import FOLDER
from legato.gateway.wiring import open_database

PYTHON = (3, 11)
FREE_BYTES = 1 << 30
MIN_FREE_BYTES = 100 << 20
"""Bytes that should be free, and bytes that must be free."""

MIN_OPEN_FILES = 4096
"""Open files that a server needs: one for each connection, and a few."""


async def run_checks(settings: Settings, environ: Mapping[str, str] = os.environ) -> list[CheckResult]:
    """Run every check of a server with these settings, in the order of their importance to a person."""
    listening, database, models, keys, tool_results, recording = await asyncio.gather(
        ports(settings),
        database_opens(settings),
        engines(settings),
        jwks(settings),
        tools(settings),
        recordings(settings),
    )
    return [
        config(settings),
        *variables(environ),
        auth(settings),
        *keys,
        *data_dir(settings),
        database,
        *listening,
        *models,
        *tool_results,
        *recording,
        *attachments(settings),
        page(),
        open_files(),
    ]


def python() -> CheckResult:
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info[:2] < PYTHON:
        wanted = ".".join(map(str, PYTHON))
        return problem(
            "Python", f"This is Python {version}.", f"Install Legato with Python {wanted} or newer."
        )
    return ok("Python", f"Legato {__version__} on Python {version}.")


def config(settings: Settings) -> CheckResult:
    if settings.config_file is None:
        return ok("Settings", "No legato.toml: the defaults, the environment and flags count.")
    return ok("Settings", f"{settings.config_file} is well.")


def variables(environ: Mapping[str, str]) -> Iterator[CheckResult]:
    for name, meant in misspelled(environ):
        yield note("Environment", f"{name} is no setting.", f"Did you mean {meant}?")


def auth(settings: Settings) -> CheckResult:
    try:
        check_open(settings)
        Authenticator(settings.auth)
    except SettingsError as error:
        return problem("Sign-in", error.message)
    if not settings.auth.required:
        return ok("Sign-in", f"Off: only this machine can reach {settings.server.host}.")
    secret = settings.auth.jwt_secret
    if secret is not None and len(secret.get_secret_value().encode()) < SECRET_BYTES:
        return note(
            "Sign-in",
            f"On, with a secret of less than {SECRET_BYTES} bytes, which may be guessed.",
            "Make a new one, for example with: openssl rand -hex 32",
        )
    networks = " ".join(settings.auth.anonymous_networks)
    without = f" Clients in {networks} may use the APIs without one." if networks else ""
    return ok(
        "Sign-in", f"On: every request needs a token, for the APIs also a key of `legato key`.{without}"
    )


async def jwks(settings: Settings) -> list[CheckResult]:
    url = settings.auth.jwks_url
    if url is None:
        return []
    try:
        await fetch(url)
    except OSError as error:
        fix = "See that [auth] jwks_url is right and can be reached from here."
        return [problem("Sign-in keys", f"{url} cannot be fetched: {error}.", fix)]
    return [ok("Sign-in keys", f"{url} answers.")]


def data_dir(settings: Settings) -> Iterator[CheckResult]:
    path = settings.server.data_dir
    if why := unusable(path):
        yield problem(
            "Data directory",
            why,
            "Choose another one with --data-dir or LEGATO_DATA_DIR, or change its owner.",
        )
        return
    existing = nearest(path)
    if existing != path:
        yield ok("Data directory", f"{path} will be made at the first start.")
    elif stat.S_IMODE(path.stat().st_mode) & 0o077:
        yield note(
            "Data directory", f"Other users of this machine can look into {path}.", f"chmod 700 {path}"
        )
    else:
        yield ok("Data directory", f"{path} can be written.")
    free = shutil.disk_usage(existing).free
    sentence = f"{free / (1 << 30):.1f} GiB are free."
    if free < MIN_FREE_BYTES:
        yield problem("Disk", sentence, "Make room: messages cannot be stored on a full disk.")
    elif free < FREE_BYTES:
        yield note("Disk", sentence, "Make room before it is full.")
    else:
        yield ok("Disk", sentence)


async def database_opens(settings: Settings) -> CheckResult:
    url = settings.server.database_url
    try:
        if url is not None and not url.get_secret_value().startswith("sqlite"):
            storage = open_database(settings)
            try:
                async with asyncio.timeout(CHECK_SECONDS):
                    await storage.database.read(
                        lambda connection: connection.execute(text("SELECT 1")).scalar()
                    )
            finally:
                await storage.close()
            return ok("Database", "It answers.")
        path = settings.server.data_dir / "legato.db"
        if url is not None:
            path = Path(url.get_secret_value().partition("///")[2].partition("?")[0])
            if why := unusable(path.parent):
                return problem("Database", why, "Choose another place for it in LEGATO_DATABASE_URL.")
        return await asyncio.to_thread(_sqlite, path)
    except TimeoutError:
        return problem(
            "Database",
            f"It does not answer within {CHECK_SECONDS:g} s.",
            "See that it runs, and its address.",
        )
    except LegatoError as error:
        return problem("Database", error.message)


def _sqlite(path: Path) -> CheckResult:
    if not path.exists():
        return ok("Database", f"{path} will be made at the first start.")
    try:
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=CHECK_SECONDS)
        try:
            (found,) = connection.execute(
                "SELECT count(*) FROM sqlite_master WHERE name = 'conversations'"
            ).fetchone()
            (count,) = connection.execute("SELECT count(*) FROM conversations").fetchone() if found else (0,)
        finally:
            connection.close()
    except sqlite3.Error as error:
        return problem(
            "Database",
            f"{path} cannot be read: {error}.",
            "Restore it from a backup, or move it away and begin anew.",
        )
    return ok("Database", f"{path} opens, with {count:,} conversation{'s' if count != 1 else ''}.")


async def ports(settings: Settings) -> list[CheckResult]:
    """Check the port of the server, and that of the agents if they have one. They are fine if a Legato is running there already."""
    host, number, agents = settings.server.host, settings.server.port, settings.server.agents_port
    version = await _running(host.strip("[]"), number) if number else None
    if version is not None:
        return [ok("Port", f"Legato {version} is running at port {number} already.")]
    findings = [_port(settings, "Port", number, "--port")]
    if agents is not None:
        findings.append(_port(settings, "Agents' port", agents, "--agents-port"))
    return list(dict.fromkeys(findings))


def _port(settings: Settings, about: str, number: int, flag: str) -> CheckResult:
    try:
        listen(settings, number, flag).close()
    except SettingsError as error:
        return problem(about, error.message)
    if number == 0:
        return ok(about, "A free one is taken at the start.")
    return ok(about, f"Port {number} of {settings.server.host} is free.")


async def _running(host: str, number: int) -> str | None:
    """Return the version of the Legato that answers there; None if none does."""
    url = f"{http_address(host, number)}/api/info"
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=CHECK_SECONDS)) as session,
            session.get(url) as response,
        ):
            info = await response.json()
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
        return None
    return str(info["server"]) if isinstance(info, dict) and "server" in info else None


def page() -> CheckResult:
    if (FOLDER / "index.html").is_file():
        return ok("Page", "It is built.")
    return note(
        "Page", "The chat page was not built into this installation.", "Run `make setup`, or install a wheel."
    )


def open_files() -> CheckResult:
    try:
        import resource
    except ImportError:
        return ok("Open files", "This system sets no limit of that kind.")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < MIN_OPEN_FILES:
        more = f"ulimit -n {min(hard, 65536) if hard != resource.RLIM_INFINITY else 65536}"
        return note("Open files", f"This process may have {soft:,} open, one for each connection.", more)
    return ok(
        "Open files", "As many as are needed." if soft == resource.RLIM_INFINITY else f"{soft:,} may be open."
    )
