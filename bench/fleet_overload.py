"""Five times more than the fleet can do: what it still does, how long its line gets, and what the rest are told.

    python bench/fleet.py overload [--times 5] [--seconds 8]

The agents are `legato agent` with the demo engine at a steady pace, so that the fleet's own share is what is measured. First
the peak: as many replies under way as keep every slot busy. Then so many times that rate of messages, whoever answers.
Goodput is replies that came to their end in each second of the second half.
"""

import argparse
import asyncio
import dataclasses
import statistics
import tempfile
from collections import Counter
from contextlib import AsyncExitStack
from typing import Any

from fleet_goals import Goal
from fleet_llama import PATIENCE, Person, agents_of, fleet, person
from harness import FLEET, FailedRunError, serving

SHARE = 0.9
LOOK = 0.05
"""Seconds between two looks at the line."""

CONFIG = """
[assistants.default]
engine = "fleet"
model = "demo:echo"
options = { tokens_per_second = 100 }
"""
SERVER = dataclasses.replace(FLEET, config=CONFIG)
WORDS = "one word after the other, twenty of them, each of them a token, and then it is over at last, goodbye"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--times", type=float, default=5.0, help="how much more than the fleet can do")
    parser.add_argument("--seconds", type=float, default=8.0, help="of each phase")
    parser.add_argument("--agents", type=int, default=4)
    parser.add_argument("--slots", type=int, default=4, help="of each agent")
    parser.add_argument("--people", type=int, default=40)


class Tally:
    """What became of the messages: when replies came to their end, and what was said to those who got none."""

    def __init__(self) -> None:
        self.ends: list[float] = []
        self.waits: list[float] = []
        self.refused: Counter[str] = Counter()
        self.silent = 0

    async def ask(self, someone: Person) -> None:
        loop = asyncio.get_running_loop()
        begun, last = loop.time(), {}
        try:
            ack = await someone.send(WORDS)
            async for at, last in someone.events(ack["reply"]):
                self.waits.append(at - begun) if last["type"] == "text" else None
        except (TimeoutError, FailedRunError):
            self.silent += 1
            return
        if last["type"] == "finished":
            self.ends.append(loop.time())
        else:
            told = "".join("N" if letter.isdigit() else letter for letter in last["message"])
            self.refused[f"{last['code']}: {told.replace('NN', 'N').replace('NN', 'N')}"] += 1

    def goodput(self, since: float, until: float) -> float:
        """Replies a second."""
        return sum(since <= end < until for end in self.ends) / (until - since)


async def phases(server: Any, given: argparse.Namespace) -> dict[str, Any]:
    loop = asyncio.get_running_loop()
    async with AsyncExitStack() as stack:
        people = [await stack.enter_async_context(person(server, user)) for user in range(given.people)]
        http = people[0][0]
        command = ["--engine", "demo", "--model", "demo:echo"]
        await stack.enter_async_context(agents_of(server, http, command, given.agents, given.slots))

        peak = Tally()
        begun = loop.time()
        until = begun + given.seconds

        async def keep_busy(someone: Person) -> None:
            while loop.time() < until:
                await peak.ask(someone)

        under_way = 2 * given.agents * given.slots
        await asyncio.gather(*(keep_busy(people[each % len(people)][1]) for each in range(under_way)))
        most = peak.goodput(begun + given.seconds / 2, until)

        flood, longest = Tally(), 0
        rate = given.times * most
        asked: list[asyncio.Task[None]] = []
        begun = loop.time()
        until = begun + given.seconds
        looked = begun
        while (now := loop.time()) < until:
            for _ in range(int((now - begun) * rate) - len(asked)):
                asked.append(asyncio.create_task(flood.ask(people[len(asked) % len(people)][1])))
            if now - looked > LOOK:
                longest, looked = max(longest, (await fleet(http))["queue"]), now
            await asyncio.sleep(0.002)
        flooded = flood.goodput(begun + given.seconds / 2, until)
        async with asyncio.timeout(PATIENCE + 10):
            await asyncio.gather(*asked)
    return {
        "peak": most,
        "offered": len(asked) / given.seconds,
        "goodput": flooded,
        "share": flooded / most,
        "longest_queue": longest,
        "asked": len(asked),
        "answered": len(flood.ends),
        "refused": dict(flood.refused),
        "silent": flood.silent,
        "median_wait_s": statistics.median(flood.waits) if flood.waits else 0.0,
    }


def measure(given: argparse.Namespace) -> tuple[dict[str, Any], list[Goal]]:
    """What became of every message, and what should have.

    :raises FailedRunError: the agents did not come.
    """
    with tempfile.TemporaryDirectory(), serving(SERVER) as server:
        found = asyncio.run(phases(server, given))
    print(
        f"{given.times:g}× more than {given.agents} agents with {given.slots} slots each can do, for {given.seconds:g} s"
    )
    print(
        f"  peak {found['peak']:.0f} replies/s; asked for {found['offered']:.0f}/s: {found['goodput']:.0f}/s; the line was "
        f"{found['longest_queue']} long at most; of {found['asked']} messages {found['answered']} were answered, "
        f"{found['silent']} never heard of"
    )
    for told, count in found["refused"].items():
        print(f"  {count} were told: {told}")
    every = found["answered"] + sum(found["refused"].values()) == found["asked"]
    return found, [
        Goal(
            f"Goodput at {given.times:g}× of what it can do: {found['share']:.0%} of the peak (goal ≥{SHARE:.0%})",
            found["share"] >= SHARE,
        ),
        Goal(f"Everyone got a reply or was told why not; {found['silent']} were not (goal 0)", every),
    ]
