"""What `legato doctor` looks at. Each check says what it saw, and names the fix where something is wrong. None changes anything."""

import asyncio
import os
import re
import shutil
import socket
import sqlite3
import stat
import sys
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import aiohttp
from msgspec import Struct
from sqlalchemy import text

from legato import __version__
from legato.engines.base import Engine
from legato.engines.demo import full_name
from legato.engines.llama import trouble
from legato.engines.llama.weights import DEFAULT, find_model
from legato.engines.ollama import OllamaEngine
from legato.engines.openai import OpenAIEngine
from legato.errors import EngineError, LegatoError, ModelNotFoundError, SettingsError
from legato.gateway.auth import SECRET_BYTES, Authenticator, check_open
from legato.gateway.config import misspelt
from legato.gateway.jwks import fetch
from legato.gateway.page import FOLDER
from legato.gateway.settings import AssistantSettings, Settings, http_address
from legato.storage.sql import open_storage

PYTHON = (3, 11)
SECONDS = 5.0
"""How long one check may take."""

ROOM = 1 << 30
LITTLE_ROOM = 100 << 20
"""Bytes that should be free, and those that must."""

FILES = 4096
"""Open files that a server of some size needs: one for each connection, and a few."""

REMOTE = re.compile(r"(?:hf:)?[\w-][\w.-]*(?:/[\w.-]+){2,}")
"""owner/repository/file, which is fetched where it is not here."""


class Finding(Struct, frozen=True):
    """`problem` stops the server or its replies; `note` is worth knowing."""

    about: str
    verdict: Literal["ok", "note", "problem"]
    said: str
    fix: str = ""


def ok(about: str, said: str) -> Finding:
    return Finding(about, "ok", said)


def note(about: str, said: str, fix: str = "") -> Finding:
    return Finding(about, "note", said, fix)


def problem(about: str, said: str, fix: str = "") -> Finding:
    return Finding(about, "problem", said, fix)


async def examine(settings: Settings, environ: Mapping[str, str] = os.environ) -> list[Finding]:
    """Every check of a server with these settings, in the order in which a person would ask."""
    running, database, models, keys = await asyncio.gather(
        port(settings), database_opens(settings), engines(settings), jwks(settings)
    )
    return [
        config(settings),
        *variables(environ),
        auth(settings),
        *keys,
        *data_dir(settings),
        database,
        running,
        *models,
        page(),
        open_files(),
    ]


def python() -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info[:2] < PYTHON:
        wanted = ".".join(map(str, PYTHON))
        return problem(
            "Python", f"This is Python {version}.", f"Install Legato with Python {wanted} or newer."
        )
    return ok("Python", f"Legato {__version__} on Python {version}.")


def config(settings: Settings) -> Finding:
    if settings.config_file is None:
        return ok("Settings", "No legato.toml: the defaults, the environment and flags count.")
    return ok("Settings", f"{settings.config_file} is well.")


def variables(environ: Mapping[str, str]) -> Iterator[Finding]:
    for name, meant in misspelt(environ):
        yield note("Environment", f"{name} is no setting.", f"Did you mean {meant}?")


def auth(settings: Settings) -> Finding:
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
    return ok("Sign-in", "On: every request needs a token.")


async def jwks(settings: Settings) -> list[Finding]:
    url = settings.auth.jwks_url
    if url is None:
        return []
    try:
        await fetch(url)
    except OSError as error:
        fix = "See that [auth] jwks_url is right and can be reached from here."
        return [problem("Sign-in keys", f"{url} cannot be fetched: {error}.", fix)]
    return [ok("Sign-in keys", f"{url} answers.")]


def data_dir(settings: Settings) -> Iterator[Finding]:
    path = settings.server.data_dir
    there = path
    while not there.exists() and there != there.parent:
        there = there.parent
    elsewhere = "Choose another one with --data-dir or LEGATO_DATA_DIR, or change its owner."
    if not there.is_dir():
        yield problem("Data directory", f"{there} is in the way of {path}: it is no directory.", elsewhere)
        return
    if not os.access(there, os.W_OK | os.X_OK):
        yield problem("Data directory", f"{there} cannot be written by this user.", elsewhere)
        return
    if there != path:
        yield ok("Data directory", f"{path} will be made at the first start.")
    elif stat.S_IMODE(path.stat().st_mode) & 0o077:
        yield note(
            "Data directory", f"Other users of this machine can look into {path}.", f"chmod 700 {path}"
        )
    else:
        yield ok("Data directory", f"{path} can be written.")
    free = shutil.disk_usage(there).free
    said = f"{free / (1 << 30):.1f} GiB are free."
    if free < LITTLE_ROOM:
        yield problem("Disk", said, "Make room: messages cannot be stored on a full disk.")
    elif free < ROOM:
        yield note("Disk", said, "Make room before it is full.")
    else:
        yield ok("Disk", said)


async def database_opens(settings: Settings) -> Finding:
    url = settings.server.database_url
    try:
        if url is not None and not url.get_secret_value().startswith("sqlite"):
            storage = open_storage(url.get_secret_value())
            try:
                async with asyncio.timeout(SECONDS):
                    await storage.database.read(
                        lambda connection: connection.execute(text("SELECT 1")).scalar()
                    )
            finally:
                await storage.close()
            return ok("Database", "It answers.")
        path = settings.server.data_dir / "legato.db"
        if url is not None:
            path = Path(url.get_secret_value().partition("///")[2].partition("?")[0])
        return await asyncio.to_thread(_sqlite, path)
    except TimeoutError:
        return problem(
            "Database", f"It does not answer within {SECONDS:g} s.", "See that it runs, and its address."
        )
    except LegatoError as error:
        return problem("Database", error.message)


def _sqlite(path: Path) -> Finding:
    if not path.exists():
        return ok("Database", f"{path} will be made at the first start.")
    try:
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=SECONDS)
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


async def port(settings: Settings) -> Finding:
    host, number = settings.server.host.strip("[]"), settings.server.port
    if number == 0:
        return ok("Port", "A free one is taken at the start.")
    version = await _running(host, number)
    if version is not None:
        return ok("Port", f"Legato {version} is running at port {number} already.")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, number, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as listening:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(address)
    except OSError as error:
        return problem(
            "Port",
            f"Port {number} of {host} cannot be used: {error.strerror}.",
            "Stop what uses it, or choose another with --port.",
        )
    return ok("Port", f"Port {number} of {host} is free.")


async def _running(host: str, number: int) -> str | None:
    """The version of the Legato that answers there; None where none does."""
    url = f"{http_address(host, number)}/api/info"
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=SECONDS)) as session,
            session.get(url) as response,
        ):
            info = await response.json()
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
        return None
    return str(info["server"]) if isinstance(info, dict) and "server" in info else None


async def engines(settings: Settings) -> list[Finding]:
    """The engines that the assistants use, each looked at once for each model."""
    wanted = dict.fromkeys(
        (engine, model) for assistant in settings.assistants.values() for engine, model in _used(assistant)
    )
    found = await asyncio.gather(*(_engine(settings, engine, model) for engine, model in wanted))
    return [finding for each in found for finding in each]


def _used(assistant: AssistantSettings) -> Iterator[tuple[str, str | None]]:
    pairs = [(assistant.engine, assistant.model)]
    if assistant.backup_engine or assistant.backup_model:
        pairs.append((assistant.backup_engine or assistant.engine, assistant.backup_model))
    for engine, model in pairs:
        if engine == "auto" and model is not None and model.startswith("demo:"):
            yield "demo", model
        elif engine == "auto" and model is not None and model.endswith(".gguf"):
            yield "llama", model
        else:
            yield engine, model


async def _engine(settings: Settings, name: str, model: str | None) -> list[Finding]:
    match name:
        case "demo":
            return list(_demo(model))
        case "ollama":
            return [await _ollama(settings, model)]
        case "openai":
            return [await _openai(settings, model)]
        case "fleet":
            return [ok("Fleet", "Agents answer, which dial in by themselves.")]
        case "llama":
            return [await asyncio.to_thread(_llama, settings, model)]
    ollama = await _ollama(settings, model)
    if ollama.verdict == "ok":
        return [ollama]
    llama = await asyncio.to_thread(_llama, settings, model)
    instead = (
        "The embedded model answers instead." if llama.verdict != "problem" else "The demo engine answers."
    )
    return [
        note("Ollama", f"{ollama.said} {instead}", ollama.fix),
        llama if llama.verdict != "problem" else note(llama.about, llama.said, llama.fix),
    ]


def _demo(model: str | None) -> Iterator[Finding]:
    """It is always there, so only a model that is none is worth a word."""
    try:
        full_name(model or "")
    except ModelNotFoundError as error:
        yield problem("Demo", error.message)


async def _ollama(settings: Settings, model: str | None) -> Finding:
    ollama = settings.engines.ollama
    headers = {name: value.get_secret_value() for name, value in ollama.headers.items()}
    start = "Start it with `ollama serve`, or say where it is with OLLAMA_HOST."
    try:
        engine = OllamaEngine(ollama.url, ca_file=ollama.ca_file, headers=headers)
        names = await _names(engine)
    except LegatoError as error:
        return problem("Ollama", error.message)
    except TimeoutError:
        return problem("Ollama", f"Nothing answers at {ollama.url} within {SECONDS:g} s.", start)
    if not names:
        return problem(
            "Ollama", f"It answers at {ollama.url} and has no model.", f"ollama pull {model or 'qwen3:0.6b'}"
        )
    if model is not None and model not in names and f"{model}:latest" not in names:
        return problem(
            "Ollama", f"It answers at {ollama.url} and has no model {model!r}.", f"ollama pull {model}"
        )
    return ok("Ollama", f"It answers at {ollama.url} and has {_listed(names)}.")


async def _openai(settings: Settings, model: str | None) -> Finding:
    openai = settings.engines.openai
    key = openai.api_key.get_secret_value() if openai.api_key is not None else None
    fix = "See that OPENAI_BASE_URL and OPENAI_API_KEY, or [engines.openai], are right."
    try:
        engine = OpenAIEngine(openai.url, api_key=key, ca_file=openai.ca_file)
        names = await _names(engine)
    except LegatoError as error:
        return problem("OpenAI API", error.message)
    except TimeoutError:
        return problem("OpenAI API", f"Nothing answers at {openai.url} within {SECONDS:g} s.", fix)
    if model is not None and names and model not in names:
        return note("OpenAI API", f"{openai.url} does not list a model {model!r}, but {_listed(names)}.")
    return ok("OpenAI API", f"It answers at {openai.url} and has {_listed(names)}.")


async def _names(engine: Engine) -> list[str]:
    try:
        async with asyncio.timeout(SECONDS):
            return [model.name for model in await engine.models()]
    finally:
        await engine.close()


def _llama(settings: Settings, model: str | None) -> Finding:
    about = "Embedded model"
    if find_spec("xllamacpp") is None:
        return problem(about, trouble.MISSING)
    directory = settings.server.data_dir / "models"
    if model is None or (REMOTE.fullmatch(model) and not Path(model).is_file()):
        file = directory / Path(model or DEFAULT.file).name
        if file.is_file():
            return ok(about, f"{file} is here.")
        return note(
            about, f"{model or DEFAULT} is fetched at the first start, unless it is in a cache already."
        )
    try:
        file = find_model(model, directory)
    except EngineError as error:
        return problem(about, error.message)
    return ok(about, f"{file} is here.")


def page() -> Finding:
    if (FOLDER / "index.html").is_file():
        return ok("Page", "It is built.")
    return note(
        "Page", "The chat page was not built into this installation.", "Run `make setup`, or install a wheel."
    )


def open_files() -> Finding:
    try:
        import resource
    except ImportError:
        return ok("Open files", "This system sets no limit of that kind.")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < FILES:
        more = f"ulimit -n {min(hard, 65536) if hard != resource.RLIM_INFINITY else 65536}"
        return note("Open files", f"This process may have {soft:,} open, one for each connection.", more)
    return ok(
        "Open files", "As many as are needed." if soft == resource.RLIM_INFINITY else f"{soft:,} may be open."
    )


def _listed(names: list[str]) -> str:
    if not names:
        return "no list of models"
    shown = ", ".join(names[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"
