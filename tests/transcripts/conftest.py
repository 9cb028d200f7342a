"""Real servers, each in a process of its own, that live as long as the tests of a process."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import jwt
import pytest

from .exchange import Exchange
from .model import HeldModel, Model, modelling
from .people import Person

SECRET = "a secret that only these tests know, and long enough"

MEDICAL = (
    "⚠️ **Medical Disclaimer**: This information is for educational purposes only and should not replace "
    "professional medical advice. Please consult with a healthcare provider for medical concerns."
)

CONFIG = f"""
[assistants.default]
engine = "demo"
model = "demo:echo"
[assistants.careful]
engine = "demo"
model = "demo:echo"
disclaimer = "{MEDICAL}"
[assistants.model]
engine = "openai"
model = "m"
[assistants.careful-model]
engine = "openai"
model = "m"
disclaimer = "{MEDICAL}"
[assistants.thinker]
engine = "openai"
model = "thinker"
[assistants.broken]
engine = "openai"
model = "down"
[assistants.backed]
engine = "openai"
model = "away"
backup_model = "spare"
[assistants.tools]
engine = "demo"
model = "demo:echo"
tools = ["almanac"]
[tools.almanac]
kind = "python"
"""

ALMANAC = '''
def moon(day: str) -> str:
    """Says how the moon stands on a day."""
    return f"On {day} the moon is full."

def tide(day: str) -> str:
    """Says when the sea comes."""
    raise RuntimeError("no such table: tides")

tools = [moon, tide]
'''

PASSED = pytest.StashKey[bool]()

Start = Callable[..., str]


@contextmanager
def serving(directory: Path, config: str, *arguments: str, **env: str) -> Iterator[str]:
    """`legato serve` with this configuration. Gives its address."""
    (directory / "legato.toml").write_text(config)
    kept = ("PATH", "PYTHONPATH", "VIRTUAL_ENV", "COVERAGE_PROCESS_CONFIG")
    inherited = {name: os.environ[name] for name in kept if name in os.environ}
    paths = [str(directory / "packages"), *filter(None, [inherited.pop("PYTHONPATH", "")])]
    own = {"HOME": str(directory), "LANG": "C.UTF-8", "PYTHONPATH": os.pathsep.join(paths)}
    with (directory / "log").open("w") as log:
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "legato",
                "serve",
                "--port",
                "0",
                "--data-dir",
                str(directory),
                *arguments,
            ],
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            cwd=directory,
            env={**inherited, **own, **env},
        )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        assert line, (directory / "log").read_text()
        yield line.split()[-1]
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.communicate(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()


@pytest.fixture(scope="session")
def running_model() -> Iterator[Model]:
    with modelling() as one:
        yield one


@pytest.fixture(scope="session")
def start(running_model: Model, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """Start a server, once for each configuration. With `auth`, it wants tokens signed with `SECRET`."""
    running: dict[tuple[str, bool, tuple[str, ...]], str] = {}
    with ExitStack() as stack:

        def one(more: str = "", *arguments: str, auth: bool = False) -> str:
            key = (more, auth, arguments)
            if key not in running:
                directory = tmp_path_factory.mktemp("server")
                install(directory / "packages", "almanac", ALMANAC)
                env = {
                    "OPENAI_BASE_URL": f"{running_model.url}/v1",
                    **({"LEGATO_JWT_SECRET": SECRET} if auth else {}),
                }
                running[key] = stack.enter_context(serving(directory, CONFIG + more, *arguments, **env))
            return running[key]

        yield one


def install(directory: Path, name: str, source: str) -> None:
    """A package with tools, as an installer would leave it."""
    about = directory / f"{name}-1.0.dist-info"
    about.mkdir(parents=True)
    (directory / f"{name}.py").write_text(source)
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(f"[legato.tools]\n{name} = {name}:tools\n")


@pytest.fixture(scope="session")
def address(start: Start) -> str:
    """A server without auth."""
    return start()


@pytest.fixture(scope="session")
def locked(start: Start) -> str:
    """A server with auth."""
    return start(auth=True)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.when == "call":
        item.stash[PASSED] = report.passed
    return report


@pytest.fixture
def exchange(request: pytest.FixtureRequest, running_model: Model) -> Iterator[Exchange]:
    """One exchange, named after its test, compared with its file when the test is through."""
    module = request.node.module.__name__.rpartition("test_")[2]
    name = request.node.name.removeprefix("test_").translate(str.maketrans("_[", "--", "]"))
    one = Exchange(f"{module}-{name}", hide=running_model.url)
    yield one
    if request.node.stash.get(PASSED, False):
        one.finish()


@pytest.fixture
def model(running_model: Model, exchange: Exchange) -> HeldModel:
    return HeldModel(running_model, exchange)


@pytest.fixture
def person(exchange: Exchange, address: str) -> Callable[..., Person]:
    def one(name: str = "", server: str = address) -> Person:
        return Person(exchange, server, name)

    return one


def token(user: str, *, secret: str = SECRET, lasts: float = 3600, **claims: Any) -> str:
    return jwt.encode({"sub": user, "exp": int(time.time() + lasts), **claims}, secret, "HS256")
