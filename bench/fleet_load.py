"""What the server of a fleet spends on a token: the same load from 1, 10 and 100 agents, beside the C relay on as many feeds.

    python bench/fleet.py load [--agents 1,10,100] [--streams 1000] [--rate 20000] [--repeats 3]

Every stream is a conversation of a user of its own, begun by a message on the native protocol and stored in SQLite; its
job goes to an agent, and what the agent writes comes back to the user's WebSocket. Each token is a frame of its own on
both legs. `load.c` is the agents and the users.
"""

import argparse
import statistics
from typing import Any

from fleet_goals import Goal
from harness import C_RELAY, FLEET, Result, build, run

LIMIT = 1.5


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--agents", default="1,10,100", help="how many agents, separated by commas")
    parser.add_argument("--streams", type=int, default=1000)
    parser.add_argument("--rate", type=int, default=20_000, help="tokens a second over all streams")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each server, in turn")
    parser.add_argument("--seconds", type=float, default=3.0, help="how long a run is measured")
    parser.add_argument("--warm", type=float, default=1.0, help="seconds of every run before that")


def measure(given: argparse.Namespace) -> tuple[dict[str, Any], list[Goal]]:
    """The figures of every run, and what they should have been.

    :raises FailedRunError: a token was lost, or a server did not do its part.
    """
    build()
    found: dict[str, Any] = {}
    goals: list[Goal] = []
    print(f"{given.rate:,} tokens/s over {given.streams:,} streams, from so many agents (the relay: feeds)")
    print(f"  {'':24}{'CPU s/M':>9}{'× C':>7}{'p50 µs':>9}{'p99 µs':>9}{'per frame':>11}{'load':>6}")
    options = {"rate": given.rate, "seconds": given.seconds, "warm": given.warm}
    for agents in (int(each) for each in given.agents.split(",")):
        relays: list[Result] = []
        fleets: list[Result] = []
        for _ in range(given.repeats):
            relays.append(run(C_RELAY, given.streams, feeds=agents, **options))
            fleets.append(run(FLEET, given.streams, feeds=agents, agents=1, **options))
        ratio = statistics.median(
            ours["cpu_s_per_million"] / its["cpu_s_per_million"] if its["cpu_s_per_million"] else 0.0
            for ours, its in zip(fleets, relays, strict=True)
        )
        for name, runs, beside in (("C relay", relays, ""), ("Legato", fleets, f"{ratio:.2f}")):
            middle = {key: statistics.median(each[key] for each in runs) for key in runs[0]}
            print(
                f"  {f'{agents:>4} {name}':24}{middle['cpu_s_per_million']:9.2f}{beside:>7}{middle['p50_us']:9.0f}"
                f"{middle['p99_us']:9.0f}{middle['deliveries_per_frame']:11.2f}{middle['server_load']:6.0%}"
            )
        found[str(agents)] = {"c": relays, "legato": fleets, "ratio": ratio}
        what = f"CPU a token, {agents} agent{'' if agents == 1 else 's'}, {given.streams:,} streams"
        goals.append(Goal(f"{what}: {ratio:.2f}× the C relay's (goal ≤{LIMIT:g}×)", ratio <= LIMIT))
    return found, goals
