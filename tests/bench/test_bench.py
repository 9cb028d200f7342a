"""The benchmarks run, tell what they found, and lose nothing; how fast anything was is not asked here."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

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


def fleet(part: str, out: Path, *options: str) -> dict[str, Any]:
    """What a part of the fleet's benchmark found; that it was told is asserted here."""
    told = bench("fleet.py", out, part, *options)
    assert "met" in told.lower()
    found: dict[str, Any] = json.loads((out / f"fleet_{part}.json").read_text())
    assert found["goals"]
    return found


def test_fleet_tells_of_pushed_jobs_and_of_tokens_beside_a_relay_that_is_polled(tmp_path: Path) -> None:
    options = ["--jobs", "10", "--polled-jobs", "1", "--seconds", "0.1"]
    figures = fleet("push", tmp_path, *options)
    for door in ("completions", "native", "polling relay"):
        assert figures[door]["tokens"] > 0
        assert figures[door]["push_ms"]["p50"] > 0


def test_fleet_compares_its_agents_with_a_relay_in_c(tmp_path: Path) -> None:
    options = ["--agents", "1,3", "--streams", "6", "--rate", "300", "--repeats", "1"]
    figures = fleet("load", tmp_path, *options, "--seconds", "0.3", "--warm", "0.1")
    for agents in ("1", "3"):
        for each in [*figures[agents]["c"], *figures[agents]["legato"]]:
            assert each["total"] > 0
            assert each["lost"] == each["wrong"] == 0


def test_fleet_reads_every_token_of_an_upstream(tmp_path: Path) -> None:
    options = ["--streams", "3", "--pace", "50", "--seconds", "0.2", "--repeats", "1"]
    told = bench("fleet.py", tmp_path, "proxies", *options, "--without", "litellm")
    assert "skipped  LiteLLM" in told
    runs = json.loads((tmp_path / "fleet_proxies.json").read_text())["runs"]
    for each in runs.values():
        assert each[0]["tokens"] == 30


def test_fleet_tells_everyone_who_asks_for_more_than_it_can_do(tmp_path: Path) -> None:
    options = ["--seconds", "1", "--agents", "1", "--slots", "1", "--people", "2"]
    figures = fleet("overload", tmp_path, *options)
    assert figures["silent"] == 0
    assert figures["answered"] + sum(figures["refused"].values()) == figures["asked"]


@pytest.mark.llama
@pytest.mark.parametrize("kind", [[], ["--stateless"]], ids=["conversations", "stateless"])
def test_fleet_tells_what_affinity_is_worth(tmp_path: Path, kind: list[str]) -> None:
    options = ["--conversations", "2", "--agents", "2", "--turns", "2", "--asked", "5", "--told", "5", *kind]
    figures = fleet("affinity", tmp_path, *options)
    assert len(figures["milliseconds"]["affine"][0]) == len(figures["milliseconds"]["random"][0]) == 2


@pytest.mark.llama
def test_fleet_tells_how_soon_a_stopped_slot_is_free(tmp_path: Path) -> None:
    figures = fleet("stop", tmp_path, "--stops", "1")
    for phase in ("decode", "prefill"):
        assert figures[phase]["ms"]["p50"] >= 0


def test_api_tells_what_a_token_costs_beside_other_relays(tmp_path: Path) -> None:
    options = ["--peers", "legato", "--streams", "3", "--rate", "300", "--seconds", "0.2", "--warm", "0.1"]
    told = bench("api.py", tmp_path, "--quick", *options, "--count", "3", "--sustained", "2")
    assert "Legato" in told
    found = json.loads((tmp_path / "api.json").read_text())
    assert not found["broken"]
    (run,) = found["runs"]["legato"]
    for case in ("first", "slow", "short", "paced", "saturated", "gaps"):
        assert run[case]["lost"] == run[case]["wrong"] == run[case]["failed"] == 0
    # How much fits into a fifth of a second depends on the machine; these two run to their end.
    assert run["first"]["replies"] == 3
    assert run["gaps"]["tokens"] == 3 * 64


def test_dialects_tells_what_a_token_costs_in_each_and_when_the_first_comes(tmp_path: Path) -> None:
    options = ["--streams", "3", "--short", "100", "--long", "200", "--repeats", "1", "--questions", "2"]
    told = bench("dialects.py", tmp_path, *options, "--no-llama")
    for title in ("native", "A accumulating", "B rooms", "C tokens", "D chunks", "first word"):
        assert title in told
    found = json.loads((tmp_path / "dialects.json").read_text())
    assert all(size["us"] > 0 for dialect in found["costs"].values() for size in dialect.values())
    assert all(first["first_ms"] >= first["engine_ms"] > 0 for first in found["first"].values())
