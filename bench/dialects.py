"""What a token costs in each chat dialect beside the native protocol, and what Legato adds to an engine's first token.

    python bench/dialects.py [--streams 8] [--short 200] [--long 4000] [--rate 400] [--repeats 3]

The server is `legato serve` on one core, the readers are on the other. Every stream is a conversation with one viewer, its tokens
come at `--rate` a second from `demo:echo`. What is told is CPU of the server for a token at its viewer, between the first token
of all and the end, the dialects in turn, medians; the engine's own part is in it, the same in each. Then the time from a
question to the first word, and how much of it is not the engine's own: over A and C, with `demo:echo` that waits 300 ms,
and with llama.cpp and a model that calculates as much as one of half a billion weights.

Exit status 1: a goal was not met. Only the frames of A may cost more in a long answer, since they carry it whole.
"""

import argparse
import asyncio
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from websockets.asyncio.client import ClientConnection, connect

from harness import LOAD_CORE, OUT, PYTHON, FailedRunError, Peer, cpu_seconds, keep, serving

WORD = "lorem "
GROWTH = 1.25
"""What a token of a long answer may cost beside one of a short one, in every dialect but A."""

BYTES = 1.1
"""What a frame of a long answer may have beside one of a short one; numbers in it grow by a digit or two."""

FIRST_CHUNK_MS = 1000
"""A's promise."""

FIRST_TOKEN_MS = 500
"""C's promise."""

WAIT_MS = 300

SHORT_RUNS = 3
"""Runs of short answers beside one of long ones, since there is less in each to measure."""

Send = Callable[[str, str], dict[str, Any]]


class Frame(msgspec.Struct):
    """As much of a frame of any of them as is counted."""

    type: str
    content: str = ""
    data: str = ""
    role: str = ""
    error: str = ""
    message: Any = None
    events: list[dict[str, Any]] = []
    timing: dict[str, float] = {}
    conversation_id: str = ""


decode = msgspec.json.Decoder(Frame).decode


def native_text(frame: Frame) -> str:
    return "".join([event["text"] for event in frame.events if event["type"] == "text"])


@dataclass
class Dialect:
    """How a client of it speaks: where it connects, what opens its way, how it asks, which frames are pieces of a reply,
    and which is the end."""

    title: str
    path: str
    ask: Send
    piece: str
    text: Callable[[Frame], str]
    last: Callable[[Frame], bool]
    opening: Callable[[str], dict[str, Any]] | None = None
    subprotocol: str | None = None

    async def connect(self, port: int, conversation: str, assistant: str = "default") -> ClientConnection:
        path = self.path.format(conversation=conversation)
        socket = await connect(
            f"ws://127.0.0.1:{port}{path}?assistant={assistant}",
            compression=None,
            max_size=None,
            subprotocols=[self.subprotocol] if self.subprotocol else None,  # type: ignore[list-item]
        )
        if self.opening is not None:
            await socket.send(json.dumps(self.opening(conversation)))
            while decode(await socket.recv()).type != "session_joined":
                pass
        return socket


DIALECTS = {
    "native": Dialect(
        "native",
        "/ws",
        lambda _, text: {"type": "send", "client_message_id": os.urandom(8).hex(), "text": text},
        "delta",
        native_text,
        lambda frame: any(event["type"] in {"finished", "failed"} for event in frame.events),
        subprotocol="legato.v1",
    ),
    "accumulating": Dialect(
        "A accumulating",
        "/ws/assistant",
        lambda conversation, text: {"type": "message", "content": text, "session_id": conversation},
        "message_chunk",
        lambda frame: frame.content,
        lambda frame: frame.type == "typing_stop",
    ),
    "rooms": Dialect(
        "B rooms, live",
        "/ws/sessions",
        lambda _, text: {"type": "chat_message", "content": text},
        "message_chunk",
        lambda frame: frame.content,
        lambda frame: frame.type == "message" and frame.role == "assistant",
        opening=lambda conversation: {"type": "join_session", "session_id": conversation, "stream": True},
    ),
    "tokens": Dialect(
        "C tokens",
        "/ws/chat",
        lambda conversation, text: {"type": "message", "message": text, "conversation_id": conversation},
        "token",
        lambda frame: frame.content,
        lambda frame: frame.type == "complete",
    ),
    "chunks": Dialect(
        "D chunks",
        "/ws/conversations/{conversation}",
        lambda _, text: {"type": "message", "text": text},
        "chunk",
        lambda frame: frame.data,
        lambda frame: frame.type == "done",
    ),
}


class Tally:
    """What all readers of one run have read so far, and what the server had spent when they began."""

    def __init__(self, pid: int, streams: int) -> None:
        self._pid = pid
        self._waiting = streams
        self.characters = self.frames = self.bytes = 0
        self._begun = (0, 0, 0, 0.0)

    def first(self) -> None:
        self._waiting -= 1
        if not self._waiting:
            self._begun = (self.characters, self.frames, self.bytes, cpu_seconds(self._pid))

    def found(self) -> dict[str, float]:
        """Microseconds and bytes for a token, and tokens in a frame, since all had begun.

        :raises FailedRunError: one ended before all had begun.
        """
        characters, frames, size, spent = self._begun
        tokens = (self.characters - characters) / len(WORD)
        if self._waiting or tokens <= 0:
            raise FailedRunError("The replies were over before all had begun: make them longer.")
        return {
            "us": (cpu_seconds(self._pid) - spent) / tokens * 1e6,
            "bytes": (self.bytes - size) / tokens,
            "per_frame": tokens / (self.frames - frames),
        }


async def read(dialect: Dialect, socket: ClientConnection, text: str, tally: Tally) -> None:
    said = 0
    while True:
        raw = await socket.recv(decode=False)
        frame = decode(raw)
        if frame.type == "error":
            raise FailedRunError(f"{dialect.title}: {frame.message or frame.error}")
        if frame.type == dialect.piece:
            piece = len(dialect.text(frame))
            if piece:
                tally.characters += piece
                tally.frames += 1
                tally.bytes += len(raw)
                if not said:
                    tally.first()
                said += piece
        if dialect.last(frame):
            break
    if said != len(text):
        raise FailedRunError(f"{dialect.title} said {said} characters of {len(text)}")


async def measure(pid: int, port: int, dialect: Dialect, streams: int, tokens: int) -> dict[str, float]:
    names = [f"{dialect.piece}-{os.urandom(6).hex()}" for _ in range(streams)]
    sockets = [await dialect.connect(port, name) for name in names]
    text = WORD * tokens
    tally = Tally(pid, streams)
    reading = [asyncio.create_task(read(dialect, socket, text, tally)) for socket in sockets]
    for socket, name in zip(sockets, names, strict=True):
        await socket.send(json.dumps(dialect.ask(name, text)))
    await asyncio.gather(*reading)
    found = tally.found()
    for socket in sockets:
        await socket.close()
    return found


async def first_words(port: int, assistant: str, key: str, times: int) -> dict[str, float]:
    """Milliseconds from a question to the first word, and those of them that the engine took, medians."""
    dialect = DIALECTS[key]
    whole, own = [], []
    for _ in range(times):
        name = os.urandom(8).hex()
        socket = await dialect.connect(port, name, assistant)
        begun = time.perf_counter()
        await socket.send(json.dumps(dialect.ask(name, "How are you?")))
        first = 0.0
        while True:
            frame = decode(await socket.recv())
            if frame.type == dialect.piece and not first:
                first = (time.perf_counter() - begun) * 1000
            if frame.type == "error":
                raise FailedRunError(f"{assistant}: {frame.message}")
            if dialect.last(frame):
                break
        await socket.close()
        whole.append(first)
        own.append(await engine_ms(port, name))
    return {"first_ms": statistics.median(whole), "engine_ms": statistics.median(own)}


async def engine_ms(port: int, conversation: str) -> float:
    """What the engine says it took to its first token, as it is stored with the message."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET /api/conversations/{conversation} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
    answer = (await reader.read()).partition(b"\r\n\r\n")[2]
    writer.close()
    return float(json.loads(answer)["messages"][-1]["timings"]["first_token_ms"])


def config(rate: float, llama: bool) -> str:
    return f"""
[assistants.default]
engine = "demo"
model = "demo:echo"
options = {{ tokens_per_second = {rate} }}
[assistants.waits]
engine = "demo"
model = "demo:echo"
options = {{ first_token_ms = {WAIT_MS} }}
""" + (
        '[assistants.llama]\nengine = "llama"\nmodel = "scripted.gguf"\noptions = { temperature = 0 }\n'
        if llama
        else ""
    )


def write_model(directory: Path) -> None:
    from legato.testing.gguf import SMALL, scripted_model

    text = "The quick brown fox jumps over a lazy dog."
    scripted_model(directory / "scripted.gguf", text, shape=SMALL, context=2048)


def has_llama() -> bool:
    try:
        import gguf  # noqa: F401
        import numpy  # noqa: F401
        import xllamacpp  # noqa: F401
    except ImportError:
        return False
    return True


def table(found: dict[str, dict[str, dict[str, float]]], short: int, long: int) -> list[str]:
    """The figures, and the dialects that miss the goal."""
    missed = []
    sizes = f"{f'{short} tokens':>12}{'× native':>10}{f'{long} tokens':>13}{'× native':>10}{'growth':>8}"
    print(f"{'CPU µs a token':16}{sizes}{'bytes a token':>20}")
    for key, dialect in DIALECTS.items():
        (few, many), (least, most) = found[key].values(), found["native"].values()
        growth = many["us"] / few["us"]
        print(
            f"{dialect.title:16}{few['us']:12.1f}{few['us'] / least['us']:10.2f}"
            f"{many['us']:13.1f}{many['us'] / most['us']:10.2f}{growth:8.2f}"
            f"{few['bytes']:10.0f}{many['bytes']:10,.0f}   ({many['per_frame']:.2f} tokens a frame)"
        )
        if key != "accumulating":
            if growth > GROWTH:
                missed.append(f"{dialect.title} grows {growth:.2f}× with the answer (goal ≤{GROWTH}×)")
            if many["bytes"] * few["per_frame"] > BYTES * few["bytes"] * many["per_frame"]:
                missed.append(f"The frames of {dialect.title} grow with the answer (goal ≤{BYTES}×)")
    return missed


def promises(found: dict[str, dict[str, float]]) -> list[str]:
    missed = []
    print(f"\n{'first word':28}{'ms':>9}{'engine ms':>11}{'added ms':>10}{'of engine':>11}")
    for name, each in found.items():
        added = each["first_ms"] - each["engine_ms"]
        print(
            f"{name:28}{each['first_ms']:9.1f}{each['engine_ms']:11.1f}{added:10.2f}{added / each['engine_ms']:11.1%}"
        )
        promised = FIRST_CHUNK_MS if name.startswith("A") else FIRST_TOKEN_MS
        if each["first_ms"] > promised:
            missed.append(f"{name}: the first word after {each['first_ms']:.0f} ms (promise {promised} ms)")
    return missed


async def all_of(server: Any, given: argparse.Namespace, llama: bool) -> tuple[Any, Any]:
    runs: dict[str, dict[str, list[dict[str, float]]]] = {key: {"short": [], "long": []} for key in DIALECTS}
    for _ in range(given.repeats):
        for size in (*["short"] * SHORT_RUNS, "long"):
            tokens = getattr(given, size)
            for key, dialect in DIALECTS.items():
                runs[key][size].append(await measure(server.pid, server.port, dialect, given.streams, tokens))
    medians = {
        key: {
            size: {
                name: statistics.median(run[name] for run in each) for name in ("us", "bytes", "per_frame")
            }
            for size, each in sizes.items()
        }
        for key, sizes in runs.items()
    }
    firsts = {}
    for assistant in ("waits", *(("llama",) if llama else ())):
        await first_words(server.port, assistant, "tokens", 1)
        for key, letter in (("accumulating", "A"), ("tokens", "C")):
            name = f"{letter}, {'demo, waiting' if assistant == 'waits' else 'llama.cpp'}"
            firsts[name] = await first_words(server.port, assistant, key, given.questions)
    return medians, firsts


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--streams", type=int, default=8)
    parser.add_argument("--short", type=int, default=200, help="tokens of a short answer")
    parser.add_argument("--long", type=int, default=4000, help="tokens of a long one")
    parser.add_argument("--rate", type=float, default=400, help="tokens a second in each stream")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--questions", type=int, default=20, help="for each first word")
    parser.add_argument("--no-llama", action="store_true")
    parser.add_argument("--out", type=Path, default=OUT, help="where the figures go, as JSON")
    given = parser.parse_args()
    llama = has_llama() and not given.no_llama
    command = ["serve", "--port", "{port}", "--data-dir", "{dir}", "--config", "{dir}/legato.toml"]
    peer = Peer("legato serve", [PYTHON, "-m", "legato", *command], config=config(given.rate, llama))
    try:
        with serving(peer, write_model if llama else lambda _: None) as server:
            os.sched_setaffinity(0, {LOAD_CORE})
            costs, firsts = asyncio.run(all_of(server, given, llama))
    except FailedRunError as error:
        print(error, file=sys.stderr)
        return 2
    missed = [*table(costs, given.short, given.long), *promises(firsts)]
    print("".join(f"\n  NOT MET  {each}" for each in missed) or "\n  met      Every goal")
    print(
        f"\nEvery figure: {keep(given.out, 'dialects', {'costs': costs, 'first': firsts, 'rate': given.rate})}"
    )
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
