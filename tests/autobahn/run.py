"""Run the core cases of the Autobahn test suite against the real server: `python tests/autobahn/run.py`.

The suite is `autobahntestsuite` 0.8.2, which needs Python 2.7; it is installed once into a cache. With no Python 2.7 the
run is skipped with a sentence. Its exit status is 0 when every case is OK or is explained in `EXPLAINED`.
"""

import argparse
import asyncio
import json
import os
import shutil
import socket as sockets
import subprocess
import sys
import tempfile
from pathlib import Path

import uvicorn
from fastapi import FastAPI

from legato.dialects.base import Endpoint, Handshake, Session, Socket
from legato.gateway.websocket import open_endpoints

SUITE = "autobahntestsuite==0.8.2"
EXCLUDED = ["9.*", "12.*", "13.*"]
"""9: limits and performance, minutes of large messages. 12 and 13: compression, which is never agreed to."""

BINARY = "the suite wants its binary message back; Legato speaks text, and closes with 1003 as RFC 6455, 7.4.1, has it"
LATE = (
    "text that is not UTF-8 is refused once the frame that holds it is whole, not in the middle of the frame"
)
EXPLAINED = {
    **{f"1.2.{case}": BINARY for case in range(1, 9)},
    "6.4.3": LATE,
    "6.4.4": LATE,
}
EXPLAINED_OF_ASGI = {
    "7.1.5": "the library takes a close within a message for an error, and says 1002",
    **dict.fromkeys(
        ["3.2", "3.3", "3.4", "4.1.3", "4.1.4", "4.1.5", "4.2.3", "4.2.4", "4.2.5", "5.15"],
        "uvicorn drops what came with the frame that is wrong, even if it came before it",
    ),
    **dict.fromkeys(["6.4.1", "6.4.2"], "uvicorn looks at the text of a message when it is whole"),
}
FINE = {"OK", "INFORMATIONAL"}


class Echo(Session):
    def __init__(self, handshake: Handshake, socket: Socket) -> None:
        self.socket = socket

    def received(self, payload: bytes) -> None:
        self.socket.send(payload)

    def resumed(self) -> None:
        pass

    def closed(self) -> None:
        pass


def python2() -> str | None:
    """A Python 2.7: `$PYTHON27`, on the path, or one of pyenv's."""
    candidates = [os.environ.get("PYTHON27"), shutil.which("python2.7"), shutil.which("python2")]
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    candidates += [str(path) for path in sorted(pyenv.glob("2.7*/bin/python2.7"))]
    for candidate in filter(None, candidates):
        asked = subprocess.run(
            [candidate, "-c", "import sys; print(sys.version_info[:2])"], capture_output=True, text=True
        )
        if asked.returncode == 0 and asked.stdout.strip() == "(2, 7)":
            return candidate
    return None


def installed(python: str) -> Path:
    """The suite, installed where caches are; zope has no `__init__` when it is installed with `--target`."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "legato" / "autobahn"
    if not (cache / "zope" / "__init__.py").exists():
        print(f"Installing {SUITE} into {cache} …", flush=True)
        command = [
            python,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--target",
            str(cache),
            SUITE,
        ]
        subprocess.run(command, check=True)
        (cache / "zope" / "__init__.py").touch()
    return cache


async def results(python: str, suite: Path, cases: list[str], transport: str) -> dict[str, dict[str, str]]:
    app = FastAPI()
    options = open_endpoints(
        app, [Endpoint("/{path:path}", Echo)], transport="asgi" if transport == "asgi" else "direct"
    )
    listener = sockets.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(
        uvicorn.Config(app, log_level="critical", lifespan="off", loop="uvloop", **options)
    )
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    with tempfile.TemporaryDirectory() as directory:
        spec = Path(directory, "fuzzingclient.json")
        spec.write_text(
            json.dumps(
                {
                    "outdir": f"{directory}/reports",
                    "servers": [{"agent": "legato", "url": f"ws://127.0.0.1:{listener.getsockname()[1]}"}],
                    "cases": cases,
                    "exclude-cases": EXCLUDED,
                    "exclude-agent-cases": {},
                }
            )
        )
        running = await asyncio.create_subprocess_exec(
            python,
            "-m",
            "autobahntestsuite.wstest",
            "-m",
            "fuzzingclient",
            "-s",
            str(spec),
            cwd=directory,
            env={**os.environ, "PYTHONPATH": str(suite)},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await running.communicate()
        server.should_exit = True
        await serving
        index = Path(directory, "reports", "index.json")
        if not index.exists():
            sys.exit(f"The suite did not run:\n{output.decode(errors='replace')}")
        report: dict[str, dict[str, str]] = json.loads(index.read_text())["legato"]
        return report


def verdict(report: dict[str, dict[str, str]], explained: dict[str, str]) -> int:
    """Print what happened; 0 if nothing is unexplained."""

    def order(case: str) -> list[int]:
        return [int(part) for part in case.split(".")]

    unexplained = 0
    counts: dict[str, int] = {}
    for case in sorted(report, key=order):
        behaviour, closing = report[case]["behavior"], report[case]["behaviorClose"]
        counts[behaviour] = counts.get(behaviour, 0) + 1
        if behaviour in FINE and closing in FINE:
            continue
        why = explained.get(case)
        unexplained += why is None
        print(f"{case:8} {behaviour}, close {closing}: {why or 'NOT EXPLAINED'}")
    print(f"{len(report)} cases: " + ", ".join(f"{count} {name}" for name, count in sorted(counts.items())))
    print("Nothing unexplained." if not unexplained else f"{unexplained} unexplained.")
    return 1 if unexplained or not report else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "cases", nargs="*", default=["*"], help="such as 6.* or 7.1.5; all core cases by default"
    )
    parser.add_argument("--transport", choices=["direct", "asgi"], default="direct")
    asked = parser.parse_args()
    python = python2()
    if python is None:
        print("Skipped: the Autobahn suite needs a Python 2.7, and there is none. Point PYTHON27 at one.")
        return 0
    explained = EXPLAINED if asked.transport == "direct" else {**EXPLAINED, **EXPLAINED_OF_ASGI}
    return verdict(asyncio.run(results(python, installed(python), asked.cases, asked.transport)), explained)


if __name__ == "__main__":
    sys.exit(main())
