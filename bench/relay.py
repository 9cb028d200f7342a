"""What a token costs from an engine to the clients that watch: Legato beside a C relay and beside ASGI.

    python bench/relay.py [--quick] [--streams 1,10,100] [--peers c,legato,asgi,naive] [--repeats N] [--seconds S]

Legato runs full turns: every stream is a conversation of a user of its own, authenticated by a JWT, begun by a message on the
native protocol, kept in SQLite, with the journal on. All numbers of one table come from one run, the servers in turn,
and are medians; compare them within a table only. Exit status 1: a goal was not met.
"""

import argparse
import statistics
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import (
    C_RELAY,
    LEGATO,
    LEGATO_ASGI,
    NAIVE,
    OUT,
    FailedRunError,
    Peer,
    Result,
    build,
    keep,
    machine,
    run,
)

PEERS = {"c": C_RELAY, "legato": LEGATO, "asgi": LEGATO_ASGI, "naive": NAIVE}
RATE = 20_000


@dataclass
class Case:
    """`only` names the peers that take part; `repeats` is how often at most."""

    title: str
    streams: int
    options: dict[str, Any]
    viewers: int = 0
    only: tuple[str, ...] = tuple(PEERS)
    repeats: int = 100


def cases(counts: list[int], rate: int) -> dict[str, Case]:
    paced = {
        f"paced {count}": Case(
            f"{rate:,} tokens/s over {count:,} stream{'s' if count > 1 else ''}",
            count,
            {"rate": rate},
            repeats=2 if count >= 10_000 else 100,
        )
        for count in counts
    }
    full = min(100, max(counts))
    crowd = min(1000, 10 * max(counts))
    return paced | {
        "saturated": Case(
            f"As fast as it can, {full} streams, 10 tokens under way in each",
            full,
            {"window": 10 * full, "finish": 0},
        ),
        "crowd": Case(
            f"As fast as it can, one stream with {crowd:,} viewers, a token at a time",
            1,
            {"window": 1, "finish": 0},
            viewers=crowd,
            only=("c", "legato", "asgi"),
        ),
    }


class Found:
    """The results of every case and peer, run by run."""

    def __init__(self) -> None:
        self.runs: dict[str, dict[str, list[Result]]] = {}

    def add(self, case: str, peer: str, result: Result) -> None:
        self.runs.setdefault(case, {}).setdefault(peer, []).append(result)

    def has(self, case: str, *peers: str) -> bool:
        return all(peer in self.runs.get(case, {}) for peer in peers)

    def median(self, case: str, peer: str, figure: str) -> float:
        return statistics.median(each[figure] for each in self.runs[case][peer])

    def ratio(self, case: str, peer: str, figure: str, beside: str = "c") -> float:
        """The median of the ratios of runs that stood side by side."""
        pairs = zip(self.runs[case][peer], self.runs[case][beside], strict=True)
        return statistics.median(
            one[figure] / other[figure] if other[figure] else 0.0 for one, other in pairs
        )


def table(found: Found, case: str, title: str) -> None:
    print(f"\n{title}")
    print(
        f"  {'':16}{'CPU s/M':>9}{'× C':>7}{'p50 µs':>9}{'p99 µs':>9}{'× C':>7}"
        f"{'tokens/s':>11}{'deliveries/s':>14}{'per frame':>11}{'load':>6}"
    )
    for peer in found.runs[case]:
        figures = {name: found.median(case, peer, name) for name in found.runs[case][peer][0]}
        beside = found.has(case, "c") and peer != "c"
        cpu = f"{found.ratio(case, peer, 'cpu_s_per_million'):.2f}" if beside else ""
        p99 = f"{found.ratio(case, peer, 'p99_us'):.2f}" if beside else ""
        print(
            f"  {PEERS[peer].name:16}{figures['cpu_s_per_million']:9.2f}{cpu:>7}{figures['p50_us']:9.0f}{figures['p99_us']:9.0f}"
            f"{p99:>7}{figures['tokens_per_s']:11,.0f}{figures['deliveries_per_s']:14,.0f}{figures['deliveries_per_frame']:11.2f}"
            f"{figures['server_load']:6.0%}"
        )


def goals(found: Found) -> list[tuple[str, bool]]:
    told: list[tuple[str, bool]] = []
    if found.has("paced 100", "c", "legato"):
        cpu = found.ratio("paced 100", "legato", "cpu_s_per_million")
        told.append((f"CPU a token, 100 streams: {cpu:.2f}× the C relay's (goal ≤1.3×)", cpu <= 1.3))
        p99 = found.ratio("paced 100", "legato", "p99_us")
        told.append((f"p99 of added latency, 100 streams: {p99:.2f}× the C relay's (goal ≤1.5×)", p99 <= 1.5))
    if found.has("saturated", "c", "legato"):
        more = found.ratio("saturated", "legato", "tokens_per_s")
        told.append((f"Saturated, tokens/s: {more:.2f}× the C relay's (goal >1×)", more > 1))
    if found.has("paced 10", "legato") and found.has("paced 10000", "legato"):
        few, many = (
            found.median(case, "legato", "cpu_s_per_million") for case in ("paced 10", "paced 10000")
        )
        told.append(
            (f"CPU a token, from 10 to 10,000 streams: {many / few:.2f}× (goal ≤1.3×)", many / few <= 1.3)
        )
    if found.has("crowd", "legato"):
        each = found.median("crowd", "legato", "deliveries_per_s")
        told.append((f"One stream, many viewers: {each:,.0f} deliveries/s (goal ≥80,000)", each >= 80_000))
    return told


def progress(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


def measure(
    names: list[str], counts: list[int], rate: int, seconds: float, warm: float, repeats: int
) -> Found:
    found = Found()
    for key, case in cases(counts, rate).items():
        peers = [name for name in names if name in case.only]
        for repeat in range(min(repeats, case.repeats)):
            for name in peers:
                peer: Peer = PEERS[name]
                progress(f"{case.title}: {peer.name}, run {repeat + 1}")
                options = {"warm": warm, "seconds": seconds, **case.options}
                found.add(key, name, run(peer, case.streams, case.viewers, **options))
        progress("")
        if peers:
            table(found, key, case.title)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="a short form: fewer streams, one run of each")
    parser.add_argument("--streams", help="how many streams, separated by commas")
    parser.add_argument("--peers", default=",".join(PEERS), help=f"of {','.join(PEERS)}")
    parser.add_argument("--rate", type=int, default=RATE, help="tokens a second over all streams")
    parser.add_argument("--repeats", type=int, default=0, help="runs of each server, in turn (5; quick: 1)")
    parser.add_argument("--seconds", type=float, default=0, help="how long a run is measured (4; quick: 1.5)")
    parser.add_argument("--warm", type=float, default=1.0, help="seconds of every run before that")
    parser.add_argument("--out", type=Path, default=OUT, help="where the figures of every run go, as JSON")
    given = parser.parse_args()
    counts = [
        int(each)
        for each in (given.streams or ("1,100,1000" if given.quick else "1,10,100,1000,10000")).split(",")
    ]
    repeats = given.repeats or (1 if given.quick else 5)
    seconds = given.seconds or (1.5 if given.quick else 4.0)
    try:
        build()
        here = machine()
        print(
            f"{here['processor']}, {here['cores']} cores, Python {here['python']}, load {here['load_average']:.1f}"
        )
        found = measure(given.peers.split(","), counts, given.rate, seconds, given.warm, repeats)
    except FailedRunError as error:
        print(f"\n{error}", file=sys.stderr)
        return 2
    told = goals(found)
    print()
    for sentence, met in told:
        print(f"  {'met    ' if met else 'NOT MET'}  {sentence}")
    path = keep(
        given.out, "relay", {"runs": found.runs, "goals": [{"goal": goal, "met": met} for goal, met in told]}
    )
    print(f"\nEvery run: {path}")
    return 0 if all(met for _, met in told) else 1


if __name__ == "__main__":
    sys.exit(main())
