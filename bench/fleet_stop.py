"""From a person's `stop` to a slot that is free, with real llama.cpp: while it writes, and while it reads a long prompt.

    python bench/fleet.py stop [--stops 100]

One agent with one slot, and a model that calculates as much for a token as one of half a billion weights. Two things are
waited for: that the fleet counts the slot as free, and that the process of the model does nothing more, by its CPU clock.
What is told is the later of the two.
"""

import argparse
import asyncio
import random
import statistics
import tempfile
from pathlib import Path
from typing import Any

from fleet_affinity import prose
from fleet_goals import Goal, quantiles
from fleet_llama import STEP, LlamaAgent, Person, agents, fleet, model, person
from harness import FLEET, FailedRunError, cpu_seconds, serving
from legato.testing.gguf import SMALL

LIMIT = 200.0
CONTEXT = 4096
LONG = 3500
"""Tokens of a prompt that takes seconds to read."""

QUIET = 0.3
"""Seconds without work after which a process is idle."""

SHARE = 0.2
"""Of the time between two looks: less work than this is none, and only the threads that wait for a request."""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--stops", type=int, default=100, help="in each phase")


async def idle_since(worker: int) -> float:
    """Wait until the process has done nothing for a while, and say since when."""
    loop = asyncio.get_running_loop()
    looked = busy = loop.time()
    spent = cpu_seconds(worker)
    while looked - busy < QUIET:
        await asyncio.sleep(STEP)
        now, more = loop.time(), cpu_seconds(worker)
        if more - spent > SHARE * (now - looked):
            busy = now
        looked, spent = now, more
    return busy


async def free_since(http: Any) -> float:
    """Wait until nothing runs in the fleet, and say since when."""
    while (await fleet(http))["running"]:
        await asyncio.sleep(STEP)
    return asyncio.get_running_loop().time()


async def stop_once(
    http: Any, someone: Person, agent: LlamaAgent, text: str, delay: float, *, reading: bool
) -> tuple[float, float]:
    """Milliseconds from `stop` until the slot was counted as free, and until the processor was. `reading`: while the prompt is."""
    ack = await someone.send(text)
    events = someone.events(ack["reply"])
    async for _, event in events:
        if event["type"] == ("state" if reading else "text"):
            break
    await asyncio.sleep(delay)
    if not (await fleet(http))["running"]:
        raise FailedRunError("The reply ended before it could be stopped.")
    begun = asyncio.get_running_loop().time()
    stopping = asyncio.create_task(someone.stop(ack["conversation"]))
    free, idle = await asyncio.gather(free_since(http), idle_since(agent.worker))
    await stopping
    async for _, event in events:
        if reading and event["type"] == "text":
            raise FailedRunError("The prompt was read before it could be stopped.")
    return (free - begun) * 1000, (idle - begun) * 1000


async def stops(server: Any, file: Path, count: int) -> dict[str, Any]:
    chance = random.Random(1)
    found: dict[str, Any] = {}
    async with person(server) as (http, someone), agents(server, http, file, 1, 1) as (agent,):
        await idle_since(agent.worker)
        for phase, length, latest in (("decode", 20, 0.3), ("prefill", LONG, 1.5)):
            pairs = [
                await stop_once(
                    http,
                    someone,
                    agent,
                    prose(chance, length),
                    chance.uniform(0, latest),
                    reading=phase == "prefill",
                )
                for _ in range(count)
            ]
            whole = quantiles([max(pair) for pair in pairs])
            found[phase] = {
                "ms": whole,
                "counted_ms": quantiles([pair[0] for pair in pairs]),
                "processor_ms": quantiles([pair[1] for pair in pairs]),
                "pairs": pairs,
            }
            told, work = (found[phase][key] for key in ("counted_ms", "processor_ms"))
            print(
                f"  in {phase:8} p50 {whole['p50']:5.0f} ms   p99 {whole['p99']:5.0f} ms   (counted as free "
                f"{told['p50']:.0f} and {told['p99']:.0f} ms, the processor {work['p50']:.0f} and {work['p99']:.0f} ms)"
            )
    return found


def measure(given: argparse.Namespace) -> tuple[dict[str, Any], list[Goal]]:
    """The times of every stop, and what they should be.

    :raises FailedRunError: a reply ended before it was stopped.
    :raises SkippedError: there is no llama.cpp.
    """
    print(f"From `stop` to a free slot, {given.stops} times in each phase")
    with tempfile.TemporaryDirectory(prefix="legato-model-") as folder, serving(FLEET) as server:
        file = model(Path(folder), SMALL, CONTEXT)
        found = asyncio.run(stops(server, file, given.stops))
    goals = []
    for phase in ("decode", "prefill"):
        late = found[phase]["ms"]["p99"]
        middle = statistics.median(max(pair) for pair in found[phase]["pairs"])
        goals.append(
            Goal(
                f"Stop to a free slot in {phase}: {late:.0f} ms at p99, {middle:.0f} ms at p50 (goal ≤{LIMIT:g} ms at p99)",
                late <= LIMIT,
            )
        )
    return found, goals
