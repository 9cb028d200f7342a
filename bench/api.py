"""A token through OpenAI's API of Legato, beside what else is put before models: nginx, `smg`, `vllm-router`, LiteLLM's proxy.

    python bench/api.py [--quick] [--peers legato,nginx,smg,vllm-router,litellm,litellm-rust] [--repeats N]

One upstream (`api_load.c`, which is also every client) stands behind all of them. All numbers of one table come from one
run, the servers in turn, in another order each time, and are medians. `straight` is the load generator at its own upstream: its
times are taken off where a table says `added`. A peer that is not on this machine is named and left out. Exit status 1: a goal
was not met; 2: a run broke.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fleet_goals import Goal
from fleet_proxies import CACHE, LITELLM, NGINX, listening
from harness import (
    BIN,
    LOAD_CORE,
    OUT,
    PYTHON,
    SECRET,
    FailedRunError,
    build,
    free_port,
    keep,
    machine,
    pinned,
    token,
)

PATIENCE = 120.0

LEGATO = """
[engines.openai]
url = "http://127.0.0.1:{upstream}/v1"
slots = 4096

[assistants.default]
engine = "openai"
model = "m"

[limits]
event_streams = 0
replies = 0
requests_per_minute = 0
"""

Result = dict[str, Any]


@dataclass
class Target:
    """A server under test: where it listens, the processes whose CPU is its own, and a header of its clients."""

    port: int
    pids: list[int]
    header: str = ""


@dataclass
class ApiPeer:
    """`command` makes the command of a server from its directory, its port and that of the upstream. `program` is what must
    be there, `package` what it is installed from."""

    name: str
    command: Callable[[Path, int, int], list[str]] | None
    program: Callable[[], Path | None] = lambda: Path(PYTHON)
    package: str = ""
    key: str = ""
    slow: bool = False
    """It cannot carry the rate of the other cases."""
    env: dict[str, str] = field(default_factory=dict)


def _installed(package: str, program: str) -> Path | None:
    """A program in a virtual environment of its own below the user's cache, installed the first time; None if that fails."""
    folder = CACHE / package.partition("[")[0]
    found = folder / "bin" / program
    if found.exists():
        return found
    print(f"  installing {package}, once …", flush=True)
    CACHE.mkdir(parents=True, exist_ok=True)
    try:
        for command in (
            [PYTHON, "-m", "venv", "--clear", str(folder)],
            [str(folder / "bin" / "pip"), "install", "-q", package],
        ):
            subprocess.run(command, check=True, capture_output=True, text=True, timeout=600)
    except (subprocess.SubprocessError, OSError) as error:
        print(f"  it cannot be installed: {str(getattr(error, 'stderr', '') or error)[-300:]}")
        return None
    return found if found.exists() else None


def _nginx() -> Path | None:
    found = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    return Path(found) if found else None


def _serve_legato(folder: Path, port: int, upstream: int) -> list[str]:
    config = folder / "legato.toml"
    config.write_text(LEGATO.format(upstream=upstream))
    return [
        *(PYTHON, "-m", "legato", "serve", "--port", str(port)),
        *("--data-dir", str(folder), "--config", str(config)),
    ]


def _serve_nginx(folder: Path, port: int, upstream: int) -> list[str]:
    config = folder / "nginx.conf"
    config.write_text(NGINX.format(folder=folder, upstream=upstream, port=port))
    return [str(_nginx()), "-c", str(config), "-e", "stderr"]


def _serve_smg(folder: Path, port: int, upstream: int) -> list[str]:
    return [
        *(str(_installed("smg", "smg")), "launch", "--host", "127.0.0.1", "--port", str(port)),
        *("--worker-urls", f"http://127.0.0.1:{upstream}", "--policy", "round_robin"),
        *("--prometheus-port", str(free_port()), "--log-level", "warn", "--disable-health-check"),
        *("--max-concurrent-requests", "-1", "--disable-load-monitoring"),
    ]


def _serve_vllm_router(folder: Path, port: int, upstream: int) -> list[str]:
    return [
        *(str(_installed("vllm-router", "vllm-router")), "--host", "127.0.0.1", "--port", str(port)),
        *("--worker-urls", f"http://127.0.0.1:{upstream}", "--policy", "round_robin"),
        *("--prometheus-port", str(free_port()), "--log-level", "warning"),
        *("--max-concurrent-requests", "20000"),
    ]


def _serve_litellm(folder: Path, port: int, upstream: int, rust: str = "") -> list[str]:
    config = folder / "litellm.yaml"
    config.write_text(LITELLM.format(upstream=upstream).replace("api_key: none", f"api_key: none{rust}"))
    program = str(_installed("litellm[proxy]", "litellm"))
    return [program, "--config", str(config), "--host", "127.0.0.1", "--port", str(port)]


LITELLM_ENV = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_MASTER_KEY": f"sk-{SECRET}"}

PEERS = {
    "straight": ApiPeer("straight", None),
    "legato": ApiPeer("Legato", _serve_legato, key="jwt", env={"LEGATO_JWT_SECRET": SECRET}),
    "nginx": ApiPeer("nginx", _serve_nginx, _nginx, "the system's package nginx"),
    "smg": ApiPeer("smg", _serve_smg, lambda: _installed("smg", "smg"), "smg on PyPI"),
    "vllm-router": ApiPeer(
        "vllm-router",
        _serve_vllm_router,
        lambda: _installed("vllm-router", "vllm-router"),
        "vllm-router on PyPI",
    ),
    "litellm": ApiPeer(
        "LiteLLM",
        _serve_litellm,
        lambda: _installed("litellm[proxy]", "litellm"),
        "litellm[proxy] on PyPI",
        f"sk-{SECRET}",
        slow=True,
        env=LITELLM_ENV,
    ),
    "litellm-rust": ApiPeer(
        "LiteLLM, rust",
        lambda folder, port, upstream: _serve_litellm(folder, port, upstream, ", rust: true"),
        lambda: _installed("litellm[proxy]", "litellm"),
        "litellm[proxy] on PyPI",
        f"sk-{SECRET}",
        slow=True,
        env=LITELLM_ENV,
    ),
}


class LoadGenerator:
    """The one upstream and all clients. `run` measures one target."""

    def __init__(self) -> None:
        self.port = free_port()
        self._process = subprocess.Popen(
            pinned(LOAD_CORE, [str(BIN / "api_load"), str(self.port)]),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._read()

    def run(self, target: Target, **options: Any) -> Result:
        """One run of the load generator.

        :raises FailedRunError: a reply was not whole, or a token was lost, doubled or out of order.
        """
        words = {"port": target.port, "path": "/v1/chat/completions", "pids": ",".join(map(str, target.pids))}
        if target.header:
            words["header"] = target.header.replace(" ", "|")
        line = " ".join(f"{name} {value}" for name, value in (options | words).items() if value != "")
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        result: Result = json.loads(self._read())
        if result["failed"] or result["wrong"] or result["lost"]:
            raise FailedRunError(
                f"{result['failed']} replies failed, {result['lost']} tokens were lost, {result['wrong']} out of order: "
                f"{result['trouble']}"
            )
        return result

    def close(self) -> None:
        self._process.terminate()
        self._process.wait()

    def _read(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise FailedRunError("The load generator ended.")
        return line


@contextmanager
def serving(peer: ApiPeer, upstream: int) -> Iterator[Target]:
    """A peer on the server's core, from when its port answers until the block ends.

    :raises FailedRunError: it never does.
    """
    if peer.command is None:
        yield Target(upstream, [])
        return
    with tempfile.TemporaryDirectory(prefix="legato-bench-") as directory:
        folder, port = Path(directory), free_port()
        environment = {**os.environ, **peer.env}
        if peer.name != "Legato":
            environment.pop("PYTHONPATH", None)
        command = peer.command(folder, port, upstream)
        with listening(peer.name, command, folder / "log", environment, port, PATIENCE) as pid:
            key = token(0) if peer.key == "jwt" else peer.key
            yield Target(port, [pid], f"Authorization: Bearer {key}" if key else "")


def warmed(load: LoadGenerator, target: Target) -> None:
    """Wait until a target answers: some learn of their upstream only after a while.

    :raises FailedRunError: it does not.
    """
    late = time.monotonic() + PATIENCE
    while True:
        try:
            load.run(target, mode="first", count=3)
        except FailedRunError:
            if time.monotonic() > late:
                raise
            time.sleep(0.5)
        else:
            return


def sustained(load: LoadGenerator, target: Target, counts: list[int]) -> Result:
    """The largest number of streams of 64 tokens, one every 20 ms, of which no token was lost or late, in one of two tries."""
    best: Result = {"streams": 0}
    for streams in counts:
        for _ in range(2):
            result = load.run(target, mode="sustain", streams=streams, tokens=64, gap=20)
            if not result["late"]:
                break
        else:
            return best
        best = {"streams": streams, **result}
    return best


def measure(
    load: LoadGenerator, target: Target, given: argparse.Namespace, *, slow: bool
) -> dict[str, Result]:
    """All figures of one target; of a slow one those that it can reach."""
    seconds, streams = given.seconds, given.streams
    warmed(load, target)
    found = {
        "first": load.run(target, mode="first", count=given.count),
        "slow": load.run(
            target, mode="paced", streams=streams, rate=given.slow_rate, warm=given.warm, seconds=seconds
        ),
        "short": load.run(target, mode="short", streams=32, warm=given.warm / 2, seconds=seconds / 2),
    }
    if slow:
        return found
    found |= {
        "paced": load.run(
            target, mode="paced", streams=streams, rate=given.rate, warm=given.warm, seconds=seconds
        ),
        "saturated": load.run(
            target, mode="window", streams=streams, window=10, warm=given.warm, seconds=seconds
        ),
        "gaps": load.run(target, mode="sustain", streams=streams, tokens=64, gap=20),
    }
    if given.sustained:
        found["sustained"] = sustained(load, target, [int(each) for each in given.sustained.split(",")])
    return found


class Found:
    """The figures of every peer, run by run."""

    def __init__(self) -> None:
        self.runs: dict[str, list[dict[str, Result]]] = {}

    def median(self, peer: str, case: str, figure: str) -> float:
        return statistics.median(run[case][figure] for run in self.runs[peer])

    def added(self, peer: str, case: str, figure: str) -> float:
        """The median of what a run had more than that straight to the upstream beside it, in ms."""
        pairs = zip(self.runs[peer], self.runs["straight"], strict=False)
        return statistics.median(one[case][figure] - other[case][figure] for one, other in pairs) / 1000

    def has(self, peer: str, case: str) -> bool:
        return all(case in run for run in self.runs.get(peer, [{}]))

    def ratio(self, peer: str, beside: str, case: str) -> float | None:
        """The median of the ratios of CPU a token of runs that stood side by side."""
        if not (self.has(peer, case) and self.has(beside, case)):
            return None
        pairs = [
            (one[case]["cpu_s_per_million"], other[case]["cpu_s_per_million"])
            for one, other in zip(self.runs[peer], self.runs[beside], strict=False)
        ]
        return statistics.median(one / other if other else 0.0 for one, other in pairs)


def table(found: Found, given: argparse.Namespace) -> None:
    print(
        f"\n{given.rate:,.0f} tokens/s (paced) and {given.slow_rate:,.0f} tokens/s (slow) over {given.streams} streams, "
        f"saturated, 64 tokens a 20 ms (gaps); CPU in µs, times in ms\n"
        f"  {'':14}{'slow':>8}{'paced':>8}{'satur.':>8}{'tokens/s':>11}{'first p50':>11}{'p99':>8}{'gap p99':>9}"
        f"{'sustained':>11}{'short/s':>9}{'CPU':>8}"
    )
    for peer, runs in found.runs.items():

        def cell(
            width: int, case: str, figure: str, form: str, *, added: bool = False, peer: str = peer
        ) -> str:
            if not found.has(peer, case):
                return f"{'-':>{width}}"
            value = (found.added if added else found.median)(peer, case, figure)
            return f"{value:{width}{form}}"

        short = statistics.median(run["short"]["cpu_s"] / max(1, run["short"]["replies"]) for run in runs)
        most = max(run.get("sustained", {}).get("streams", 0) for run in runs)
        print(
            f"  {PEERS[peer].name:14}"
            + cell(8, "slow", "cpu_s_per_million", ".1f")
            + cell(8, "paced", "cpu_s_per_million", ".1f")
            + cell(8, "saturated", "cpu_s_per_million", ".1f")
            + cell(11, "saturated", "tokens_per_s", ",.0f")
            + cell(11, "first", "first_p50_us", ".2f", added=True)
            + cell(8, "first", "first_p99_us", ".2f", added=True)
            + cell(9, "gaps", "gap_p99_us", ".2f", added=True)
            + f"{most or '-':>11}"
            + cell(9, "short", "replies_per_s", ",.0f")
            + f"{short * 1e6:8.0f}"
        )


def goals(found: Found) -> list[Goal]:
    told: list[Goal] = []

    def beside(peer: str, case: str, most: float) -> None:
        ratio = found.ratio("legato", peer, case)
        if ratio is not None:
            sentence = f"CPU a token, {case}: {ratio:.2f}× {PEERS[peer].name}'s (goal ≤{most:g}×)"
            told.append(Goal(sentence, ratio <= most))

    if "legato" not in found.runs:
        return told
    beside("vllm-router", "paced", 1.3)
    beside("nginx", "paced", 2.0)
    beside("nginx", "saturated", 2.0)
    for peer in ("litellm", "litellm-rust"):
        ratio = found.ratio(peer, "legato", "slow")
        if ratio is not None:
            told.append(
                Goal(
                    f"CPU a token, slow: {PEERS[peer].name} takes {ratio:.1f}× as much (goal ≥10×)",
                    ratio >= 10,
                )
            )
    for case, figure, what, most in (
        ("first", "first_p50_us", "time to the first token, p50", 2.0),
        ("first", "first_p99_us", "time to the first token, p99", 5.0),
        ("gaps", "gap_p99_us", "time between two tokens, p99", 1.0),
    ):
        added = found.added("legato", case, figure)
        told.append(Goal(f"Added {what}: {added:.2f} ms (goal ≤{most:g} ms)", added <= most))
    return told


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="a short form: one run of a few seconds of each")
    parser.add_argument("--peers", default="", help=f"of {','.join(list(PEERS)[1:])}; quick: legato,nginx")
    parser.add_argument("--streams", type=int, default=100)
    parser.add_argument("--rate", type=float, default=20_000, help="tokens a second over all streams")
    parser.add_argument("--slow-rate", type=float, default=500, help="the same for a rate that all can carry")
    parser.add_argument("--count", type=int, default=0, help="replies for the time to the first token")
    parser.add_argument(
        "--sustained", default=None, help="numbers of streams to try, with commas; empty: none"
    )
    parser.add_argument("--repeats", type=int, default=0, help="runs of each server, in turn (3; quick: 1)")
    parser.add_argument("--seconds", type=float, default=0, help="how long a run is measured (4; quick: 0.5)")
    parser.add_argument("--warm", type=float, default=None, help="seconds of every run before that")
    parser.add_argument("--out", type=Path, default=OUT, help="where the figures of every run go, as JSON")
    given = parser.parse_args()
    quick = given.quick
    given.seconds = given.seconds or (0.5 if quick else 4.0)
    given.warm = given.warm if given.warm is not None else 0.2 if quick else 1.0
    given.count = given.count or (30 if quick else 400)
    given.repeats = given.repeats or (1 if quick else 3)
    if given.sustained is None:
        given.sustained = "" if quick else "50,100,200,300,400,600,800,1200,1600,2400,3200"
    names = (given.peers or ("legato,nginx" if quick else ",".join(list(PEERS)[1:]))).split(",")
    here = machine()
    print(
        f"{here['processor']}, {here['cores']} cores, Python {here['python']}, load {here['load_average']:.1f}"
    )
    found = Found()
    missing: list[str] = []
    broken: dict[str, str] = {}
    before = os.sched_getaffinity(0)
    try:
        build()
        for name in list(names):
            if PEERS[name].program() is None:
                missing.append(name)
                names.remove(name)
                print(f"  skipped  {PEERS[name].name}: {PEERS[name].package} is not on this machine")
        os.sched_setaffinity(0, {LOAD_CORE})
        loads: list[float] = []
        for repeat in range(given.repeats):
            order = ["straight", *(names if repeat % 2 == 0 else names[::-1])]
            for name in order:
                if name in broken:
                    continue
                with ExitStack() as stack:
                    load = LoadGenerator()
                    stack.callback(load.close)
                    try:
                        target = stack.enter_context(serving(PEERS[name], load.port))
                        found.runs.setdefault(name, []).append(
                            measure(load, target, given, slow=PEERS[name].slow)
                        )
                    except FailedRunError as error:
                        broken[name] = str(error)
                        found.runs.pop(name, None)
                        print(f"  {PEERS[name].name} broke: {error}", file=sys.stderr)
                loads.append(os.getloadavg()[0])
    except FailedRunError as error:
        print(f"\n{error}", file=sys.stderr)
        return 2
    finally:
        os.sched_setaffinity(0, before)
    table(found, given)
    print(f"\n  load average between {min(loads):.1f} and {max(loads):.1f}")
    told = goals(found)
    print()
    for goal in told:
        print(f"  {'met    ' if goal.met else 'NOT MET'}  {goal.sentence}")
    figures = {
        "runs": found.runs,
        "missing": missing,
        "broken": broken,
        "loads": loads,
        "goals": [{"goal": goal.sentence, "met": goal.met} for goal in told],
    }
    print(f"\nEvery run: {keep(given.out, 'api', figures)}")
    return 2 if "legato" in broken else 0 if all(goal.met for goal in told) else 1


if __name__ == "__main__":
    sys.exit(main())
