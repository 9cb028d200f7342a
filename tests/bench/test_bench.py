"""The benchmarks run, tell what they found, and lose nothing; how fast anything was is not asked here."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[2] / "bench"

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")


def bench(name: str, out: Path, *options: str) -> str:
    """What a benchmark printed; its exit status may say that a goal was missed, not that it failed."""
    done = subprocess.run(
        [sys.executable, str(BENCH / name), "--out", str(out), *options],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in {0, 1}, done.stderr
    return done.stdout


def test_relay_compares_the_whole_server_with_a_relay_in_c(tmp_path: Path) -> None:
    options = [
        "--peers",
        "c,legato",
        "--streams",
        "3",
        "--rate",
        "300",
        "--repeats",
        "1",
        "--seconds",
        "0.3",
        "--warm",
        "0.1",
    ]
    told = bench("relay.py", tmp_path, *options)
    assert "C relay" in told
    assert "Legato" in told
    runs = json.loads((tmp_path / "relay.json").read_text())["runs"]
    assert set(runs) == {"paced 3", "saturated", "crowd"}
    for peers in runs.values():
        for each in [*peers["c"], *peers["legato"]]:
            assert each["total"] > 0
            assert each["lost"] == each["wrong"] == 0


def test_idle_tells_the_memory_of_a_connection(tmp_path: Path) -> None:
    told = bench("idle.py", tmp_path, "--connections", "20", "--warm", "5", "--seconds", "0.2")
    assert "following a conversation" in told
    assert json.loads((tmp_path / "idle.json").read_text())["connections"] == 20


def test_first_token_tells_how_long_a_person_waits(tmp_path: Path) -> None:
    told = bench("first_token.py", tmp_path, "--sends", "10", "--history", "2")
    assert "first word" in told
    figures = json.loads((tmp_path / "first_token.json").read_text())["milliseconds"]
    assert 0 < figures["ack"]["p50"] <= figures["first word"]["p50"]


def test_fleet_tells_of_pushed_jobs_and_of_tokens_through_the_gateway(tmp_path: Path) -> None:
    told = bench("fleet.py", tmp_path, "--jobs", "10", "--seconds", "0.1")
    assert "job at an idle agent" in told
    figures = json.loads((tmp_path / "fleet.json").read_text())
    for door in ("completions", "native"):
        assert figures[door]["tokens"] == 500
        assert figures[door]["push_ms"]["p50"] > 0
