"""What it is worth that a conversation comes back to the agent that has read it, with real llama.cpp.

    python bench/fleet.py affinity [--stateless] [--conversations 16] [--agents 4] [--turns 8]

The conversations take turns in talking, `--at-once` of them at a time. What is told is the time from `send` to the first
word of turns 2 to the last, with the fleet's own choice of agents and, on fresh agents of the same machine, with any
(`random_routing.py`), in turn. With `--stateless` they are no conversations of the server: each turn is a call of OpenAI's API
with all messages so far, and no name. The model calculates as much for a token as one of some 20 million weights, so that four of
them fit on two cores.
"""

import argparse
import asyncio
import dataclasses
import json
import random
import statistics
import tempfile
from pathlib import Path
from typing import Any

import aiohttp

from fleet_goals import Goal, quantiles
from fleet_llama import Person, agents, model, person
from harness import BENCH, FLEET, PYTHON, FailedRunError, Peer, serving
from legato.testing.gguf import Shape

SOONER = 3.0

SHAPE = Shape(dim=512, layers=6, heads=4, feed=1536, quantized=True)
CONTEXT = 4096

CONFIG = """
[assistants.default]
engine = "fleet"
model = "m"
history = 100
system = "{system}"
options = {{ temperature = 0, max_tokens = {length} }}
"""

WORDS = (
    "the",
    "of",
    "and",
    "to",
    "in",
    "that",
    "is",
    "was",
    "he",
    "for",
    "it",
    "with",
    "as",
    "his",
    "on",
    "be",
    "at",
)


def routing(*, affine: bool, length: int) -> Peer:
    words = FLEET.command if affine else [PYTHON, str(BENCH / "random_routing.py"), *FLEET.command[3:]]
    config = CONFIG.format(system=prose(random.Random(0), 400), length=length)
    name = "Legato" if affine else "random routing"
    return dataclasses.replace(FLEET, name=name, command=words, config=config)


def prose(chance: random.Random, characters: int) -> str:
    """Something to read; about one token a character, for the model knows no such words."""
    text = ""
    while len(text) < characters:
        text += f"{chance.choice(WORDS)} "
    return text.strip()


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--conversations", type=int, default=16)
    parser.add_argument("--agents", type=int, default=4)
    parser.add_argument("--turns", type=int, default=8)
    parser.add_argument("--at-once", type=int, default=1, help="conversations that wait for a reply at once")
    parser.add_argument("--asked", type=int, default=30, help="tokens of each question")
    parser.add_argument("--told", type=int, default=60, help="tokens of each answer")
    parser.add_argument("--repeats", type=int, default=1, help="runs of each")
    parser.add_argument("--stateless", action="store_true", help="calls of OpenAI's API with all messages")


async def turn(person: Person, text: str, conversation: str | None) -> tuple[float, str]:
    """Milliseconds from `send` to the first word, and the conversation.

    :raises FailedRunError: the reply broke.
    """
    begun = asyncio.get_running_loop().time()
    ack = await person.send(text, conversation)
    first = 0.0
    async for at, event in person.events(ack["reply"]):
        if event["type"] == "text" and not first:
            first = (at - begun) * 1000
        elif event["type"] == "failed":
            raise FailedRunError(f"A reply broke: {event}")
    return first, ack["conversation"]


async def call(http: aiohttp.ClientSession, messages: list[dict[str, str]], text: str, length: int) -> float:
    """Milliseconds from a call with all messages to the first word. The question and the answer are added to the messages.

    :raises FailedRunError: the reply broke.
    """
    messages.append({"role": "user", "content": text})
    body = {"model": "m", "stream": True, "temperature": 0, "max_tokens": length, "messages": messages}
    first, said = 0.0, ""
    begun = asyncio.get_running_loop().time()
    async with http.post("/v1/chat/completions", json=body) as response:
        if response.status != 200:
            raise FailedRunError(f"A reply broke: {await response.text()}")
        async for line in response.content:
            if line.startswith(b"data: {"):
                event = json.loads(line[6:])
                if "error" in event:
                    raise FailedRunError(f"A reply broke: {event}")
                piece = event["choices"][0]["delta"].get("content") if event["choices"] else ""
                if piece and not first:
                    first = (asyncio.get_running_loop().time() - begun) * 1000
                said += piece or ""
    messages.append({"role": "assistant", "content": said})
    return first


async def talk(server: Any, file: Path, given: argparse.Namespace, seed: int) -> list[float]:
    """The times to the first word of all turns but the first."""
    chance = random.Random(seed)
    slots = -(-given.conversations // given.agents)
    names: list[str | None] = [None] * given.conversations
    system = {"role": "system", "content": prose(random.Random(0), 400)}
    histories = [[system] for _ in range(given.conversations)]
    found: list[float] = []
    room = asyncio.Semaphore(given.at_once)
    async with person(server) as (http, someone), agents(server, http, file, given.agents, slots):

        async def take(number: int, text: str) -> float:
            async with room:
                if given.stateless:
                    return await call(http, histories[number], text, given.told)
                first, names[number] = await turn(someone, text, names[number])
            return first

        for number in range(given.turns):
            order = chance.sample(range(given.conversations), given.conversations)
            async with asyncio.TaskGroup() as group:
                turns = [group.create_task(take(each, prose(chance, given.asked))) for each in order]
            if number:
                found += [each.result() for each in turns]
    return found


def measure(given: argparse.Namespace) -> tuple[dict[str, Any], list[Goal]]:
    """The times of every turn, and what they should be.

    :raises FailedRunError: a reply broke.
    :raises SkippedError: there is no llama.cpp.
    """
    found: dict[str, list[list[float]]] = {"affine": [], "random": []}
    kind = "stateless conversations" if given.stateless else "conversations"
    what = f"{given.conversations} {kind} on {given.agents} llama.cpp agents, turns 2 to {given.turns}"
    print(f"{what}: from `send` to the first word")
    with tempfile.TemporaryDirectory(prefix="legato-model-") as folder:
        file = model(Path(folder), SHAPE, CONTEXT)
        for repeat in range(given.repeats):
            for name, times in found.items():
                with serving(routing(affine=name == "affine", length=given.told)) as server:
                    times.append(asyncio.run(talk(server, file, given, repeat)))
                each = quantiles(times[-1])
                print(
                    f"  {name:8} p50 {each['p50']:6.0f} ms   p99 {each['p99']:6.0f} ms   ({len(times[-1])} turns)"
                )
    pairs = zip(found["affine"], found["random"], strict=True)
    ratio = statistics.median(statistics.median(other) / statistics.median(ours) for ours, other in pairs)
    sentence = f"{what}: the first word {ratio:.1f}× sooner than by random routing (goal ≥{SOONER:g}×)"
    return {"milliseconds": found, "ratio": ratio}, [Goal(sentence, ratio >= SOONER)]
