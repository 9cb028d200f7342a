import json
import re
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from legato.cli.main import app
from legato.gateway.settings import Settings

from .conftest import DEADLINE


def test_flags_become_settings_and_the_servers_status_is_ours(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    served: list[Settings] = []

    def serve(settings: Settings) -> int:
        served.append(settings)
        return 7

    monkeypatch.setattr("legato.gateway.server.serve", serve)
    monkeypatch.chdir(tmp_path)
    flags = {
        "--host": "127.0.0.2",
        "--port": "0",
        "--data-dir": "data",
        "--engine": "openai",
        "--model": "gpt",
        "--backup-model": "other",
        "--url": "http://vllm/v1",
        "--api-key": "k",
    }
    result = CliRunner().invoke(app, ["serve", *(part for flag in flags.items() for part in flag)])
    assert result.exit_code == 7
    (settings,) = served
    assert (settings.server.host, settings.server.port) == ("127.0.0.2", 0)
    assert settings.server.data_dir == tmp_path / "data"
    default = settings.assistants["default"]
    assert (default.engine, default.model, default.backup_model) == ("openai", "gpt", "other")
    assert settings.engines.openai.url == "http://vllm/v1"
    assert settings.engines.openai.api_key is not None


def test_it_says_where_it_is_and_ends_cleanly(serving: Any) -> None:
    server = serving()
    assert server.line == f"Legato is ready at {server.url}\n"
    with urllib.request.urlopen(f"{server.url}/health") as answer:
        assert answer.status == 200
    assert server.end() == 0


def test_it_ends_cleanly_though_a_tool_does_not(serving: Any, tmp_path: Path) -> None:
    server = serving()

    def post(path: str, body: object) -> Any:
        data, headers = json.dumps(body).encode(), {"content-type": "application/json"}
        with urllib.request.urlopen(urllib.request.Request(f"{server.url}{path}", data, headers)) as answer:
            return json.load(answer)

    conversation = post("/api/conversations", {"assistant": "host"})["id"]
    post(f"/api/conversations/{conversation}/messages", {"text": "!tool ponder {}"})
    deadline = time.monotonic() + DEADLINE
    while not (tmp_path / "pondering").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert server.end() == 0


def test_it_says_in_the_log_where_agents_dial_in(serving: Any) -> None:
    server = serving("--agents-port", "0")
    server.process.terminate()
    out, said = server.process.communicate()
    assert re.search(r"legato agent --server ws://127\.0\.0\.1:[1-9]\d+\n", said)
    assert out == ""


def test_variables_that_do_nothing_are_reported(serving: Any) -> None:
    server = serving(LEGATO_REDIS_URL="redis://127.0.0.1:1", LEGATO_JWT_SECRTE="x")
    server.process.terminate()
    said = server.process.communicate()[1]
    assert "LEGATO_REDIS_URL does nothing yet" in said
    assert "LEGATO_JWT_SECRTE is no setting. Did you mean LEGATO_JWT_SECRET?" in said


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("--host", "0.0.0.0"), "LEGATO_JWT_SECRET"),
        (("--engine", "olama"), "Did you mean 'ollama'?"),
        (("--config", "gone.toml"), "there is no such file"),
        (
            ("--port", "0", "--engine", "demo", "--model", "demo:nope"),
            "model must be one of demo:echo, demo:markov, demo:canned, not 'demo:nope'.",
        ),
    ],
)
def test_what_stops_it_is_a_sentence(legato: Any, arguments: tuple[str, ...], reason: str) -> None:
    shown = legato("serve", *arguments)
    assert (shown.returncode, shown.stdout) == (1, "")
    assert reason in shown.stderr
    assert "Traceback" not in shown.stderr
