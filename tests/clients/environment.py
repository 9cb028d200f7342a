"""The environment of the clients of others, which `make test` makes beside that of the tests, and their processes."""

import asyncio
import json
import os
import sys
from asyncio.subprocess import PIPE
from pathlib import Path
from typing import Any

from tests.services import missing

PYTHON = Path(sys.prefix).resolve().parent / ".venv-clients" / "bin" / "python"
SCRIPTS = Path(__file__).parent / "scripts"
SECONDS = 200


def require_clients() -> None:
    """Skip the test if the environment is missing, or fail it in CI."""
    if not PYTHON.exists():
        missing("The environment .venv-clients", "requirements-clients.lock (`make test` makes it)")


async def run_python(*arguments: str, address: str, folder: Path, **names: str) -> tuple[int, str]:
    """Run the Python of the clients in `folder`; return its exit code and what it printed. `names` are of models."""
    environment = {
        **os.environ,
        "HOME": str(folder),
        "LEGATO_ADDRESS": address,
        **{f"LEGATO_{key.upper()}": name for key, name in names.items()},
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "LLM_USER_PATH": str(folder),
        "OLLAMA_HOST": address,
        "PYTHONPATH": str(SCRIPTS),
    }
    process = await asyncio.create_subprocess_exec(
        PYTHON, *arguments, stdout=PIPE, stderr=PIPE, cwd=folder, env=environment
    )
    try:
        async with asyncio.timeout(SECONDS):
            out, error = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode or 0, out.decode() + error.decode()[-4000:]


async def run_checks(*modules: str, address: str, folder: Path, **names: str) -> list[dict[str, Any]]:
    """Run the checks of these modules; return their results, in order."""
    code, printed = await run_python(
        str(SCRIPTS / "run.py"), *modules, address=address, folder=folder, **names
    )
    assert code == 0, printed
    return [json.loads(line) for line in printed.splitlines() if line.startswith('{"client":')]


def failures(results: list[dict[str, Any]]) -> str:
    """Return the checks that failed, with what they raised; empty if none did."""
    return "\n".join(
        f"{each['client']} {each['api']} {each['feature']}:\n{each['error']}"
        for each in results
        if each["error"]
    )
