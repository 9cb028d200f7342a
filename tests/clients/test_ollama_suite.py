"""Ollama's own integration tests, unmodified, against this server: a Go module, compiled once and kept."""

import asyncio
import fcntl
import os
import re
import shutil
import subprocess
import tempfile
from asyncio.subprocess import PIPE, STDOUT
from pathlib import Path

import pytest
from tests.clients.recorded import recorded
from tests.doubles.engines import replace_demo
from tests.doubles.schema_engine import SchemaEngine
from tests.gateway.server import serving, settings_for

from legato.api.ollama.models import VERSION

MODULE = f"github.com/ollama/ollama@v{VERSION}"

SELECTED = (
    *("TestAPI", "TestBlueSky", "TestChatWithHistory", "TestConcurrentChat", "TestContextExhaustion"),
    *("TestExtendedUnicodeOutput", "TestGenerateWithHistory", "TestLongInputContext", "TestMultiModelStress"),
    *("TestNumPredict", "TestParallel"),
)
"""The beginnings of the tests that run. The others want a GPU, a server of their own to start, or the very vectors of one model."""

MODELS = (
    *("llama3.2:1b", "llama3.2", "llama3.1", "qwen3:0.6b", "gemma2:2b", "gpt-oss:20b", "gpt-oss:120b"),
    *("lfm2.5-thinking", "qwen3-vl", "qwen3", "mistral", "qwen2.5", "qwen2", "ministral-3", "mistral-nemo"),
    *("mistral-small", "mixtral:8x22b", "qwq", "granite3.3", "deepseek-r1:1.5b", "gemma3:1b", "gemma3:270m"),
)

ANSWER = (
    "Once upon a time sunlight met the water in the air, where nitrogen and oxygen scatter short wavelengths, as "
    "Rayleigh said, and every droplet refracts the light. Soil is organic. The declaration of independence was in July. "
    "Russia and Prussia were in a coalition. 😀"
)
"""It has a word that each of the tests looks for."""


def compiled() -> Path:
    """Return the program of the tests. Skip the test if Go or the module is missing."""
    go = shutil.which("go")
    if go is None:
        pytest.skip(f"Ollama's integration tests ({MODULE}) need Go.")
    cache = subprocess.run([go, "env", "GOMODCACHE"], capture_output=True, text=True, check=True)
    source = Path(cache.stdout.strip()) / MODULE
    if not (source / "integration").is_dir():
        pytest.skip(f"Ollama's integration tests are not here: `go mod download {MODULE}` gets them.")
    program = Path(tempfile.gettempdir()) / f"legato-ollama-{VERSION}-{os.getuid()}.test"
    with program.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not program.exists():
            environment = {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-mod=mod", "GOPROXY": "off"}
            command = [go, "test", "-c", "-tags", "integration", "-o", str(program), "./integration"]
            made = subprocess.run(command, cwd=source, env=environment, capture_output=True, text=True)
            if made.returncode != 0:
                pytest.skip(f"Ollama's integration tests do not compile here: {made.stderr[-300:]}")
    return program


@pytest.mark.timeout(240)
async def test_the_integration_tests_of_ollama(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = await asyncio.to_thread(compiled)
    replace_demo(monkeypatch, SchemaEngine(models=("demo:echo", *MODELS), answers={"": ANSWER}))
    async with serving(settings_for(tmp_path)) as server:
        environment = {
            **os.environ,
            "OLLAMA_HOST": server.address.removeprefix("http://"),
            "OLLAMA_TEST_EXISTING": "1",
        }
        process = await asyncio.create_subprocess_exec(
            program,
            "-test.v",
            f"-test.run=^({'|'.join(SELECTED)})",
            stdout=PIPE,
            stderr=STDOUT,
            env=environment,
        )
        printed = (await process.communicate())[0].decode()
    found = re.findall(r"^\x16?--- (PASS|FAIL|SKIP): (\w+) ", printed, re.MULTILINE)
    passed = [name for verdict, name in found if verdict == "PASS"]
    assert len(passed) == len(found) == len(recorded("ollama", passed)), printed[-4000:]
