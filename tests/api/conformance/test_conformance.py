"""The public conformance suite of Durable Streams, with the handlers of `/v1/streams` for reading.

Left out are forks, which are made by writers, and `TTL Expiration`, which sleeps through real seconds of a stream's life: the server
has neither, and a harness would only test itself.
"""

import asyncio
import json
from pathlib import Path

import uvicorn
from tests.node import NODE, environment, installed

from .durable_streams import app

HERE = Path(__file__).parent
LEFT_OUT = "^(?!.*(Fork - |TTL Expiration))"
# Its own deadlines are two seconds of a fast machine, so that a failed test is tried again.
OPTIONS = ("--sequence.concurrent", "--maxConcurrency=6", "--retry=3", "--testTimeout=60000")


async def run_suite(modules: Path, address: str) -> tuple[int | None, bytes]:
    process = await asyncio.create_subprocess_exec(
        NODE,
        modules / "vitest/vitest.mjs",
        *("run", "--reporter=json", *OPTIONS, "-t", LEFT_OUT),
        cwd=HERE,
        env=environment() | {"SERVER_ADDRESS": address},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    return process.returncode, out or err


async def test_the_public_suite_passes() -> None:
    modules = await asyncio.to_thread(installed, HERE)
    server = uvicorn.Server(uvicorn.Config(app(), port=0, log_config=None, ws="none"))
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    status, said = await run_suite(modules, f"http://127.0.0.1:{port}")
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
