"""How long a person waits for Legato itself: from `send` to the first word, with an engine that answers at once.

    python bench/first_token.py [--sends 500] [--history 20]

The server is `legato serve` with `demo:echo`, auth on, conversations in SQLite, the message stored before anything is
said. Each of ten people has a conversation with that many messages in it, and they write in turn. What is told
includes the engine's own time and the client's, both small. Exit status 1: the goal was not met.
"""

import argparse
import asyncio
import os
import statistics
import sys
import time
from pathlib import Path

import msgspec
from websockets.asyncio.client import ClientConnection, connect

from harness import LOAD_CORE, OUT, PYTHON, SECRET, FailedRunError, Peer, keep, serving, token
from legato.protocol.messages import PROTOCOL, Ack, Delta, Error, Send, ServerMessage
from legato.stream import Failed, Finished, Text

GOAL = 2.0
PEOPLE = 10

OPTIONS = ["--port", "{port}", "--data-dir", "{dir}", "--engine", "demo", "--model", "demo:echo"]
SERVER = Peer(
    "legato serve",
    [PYTHON, "-m", "legato", "serve", *OPTIONS],
    authenticated=True,
    env={"LEGATO_JWT_SECRET": SECRET},
)

decode = msgspec.json.Decoder(ServerMessage).decode
encode = msgspec.json.encode


class Talk:
    """One person with one conversation."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._conversation: str | None = None
        self._said = 0

    async def say(self) -> tuple[float, float]:
        """Write a message and hear the whole reply. Milliseconds until the `ack`, and until the first word.

        :raises FailedRunError: it was refused, or the reply broke.
        """
        self._said += 1
        message = Send(
            client_message_id=f"m{self._said}",
            conversation=self._conversation,
            text=f"Say number {self._said}.",
        )
        begun = time.perf_counter()
        await self._socket.send(encode(message).decode())
        acknowledged = first = 0.0
        reply = ""
        while True:
            told = decode(await self._socket.recv())
            now = (time.perf_counter() - begun) * 1000
            if isinstance(told, Ack):
                acknowledged, reply, self._conversation = now, told.reply, told.conversation
            elif isinstance(told, Delta) and told.stream == reply:
                if not first and any(isinstance(event, Text) for event in told.events):
                    first = now
                match told.events[-1]:
                    case Finished():
                        return acknowledged, first
                    case Failed(message=why):
                        raise FailedRunError(why)
            elif isinstance(told, Error):
                raise FailedRunError(told.message)


async def measure(port: int, sends: int, history: int) -> list[tuple[float, float]]:
    sockets = [
        await connect(
            f"ws://127.0.0.1:{port}/ws",
            subprotocols=[PROTOCOL],  # type: ignore[list-item]
            additional_headers={"Authorization": f"Bearer {token(person)}"},
            compression=None,
        )
        for person in range(PEOPLE)
    ]
    talks = [Talk(socket) for socket in sockets]
    for talk in talks:
        for _ in range(history // 2):
            await talk.say()
    found = [await talks[turn % PEOPLE].say() for turn in range(sends)]
    for socket in sockets:
        await socket.close()
    return found


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sends", type=int, default=500)
    parser.add_argument("--history", type=int, default=20, help="messages that each conversation has before")
    parser.add_argument("--out", type=Path, default=OUT, help="where the figures go, as JSON")
    given = parser.parse_args()
    try:
        with serving(SERVER) as server:
            os.sched_setaffinity(0, {LOAD_CORE})
            times = asyncio.run(measure(server.port, given.sends, given.history))
    except FailedRunError as error:
        print(error, file=sys.stderr)
        return 2
    figures: dict[str, dict[str, float]] = {}
    for name, column in (("ack", 0), ("first word", 1)):
        values = sorted(each[column] for each in times)
        figures[name] = {"p50": statistics.median(values), "p99": values[int(0.99 * (len(values) - 1))]}
        print(f"send to {name:11} p50 {figures[name]['p50']:6.2f} ms   p99 {figures[name]['p99']:6.2f} ms")
    p50 = figures["first word"]["p50"]
    print(
        f"\n  {'met    ' if p50 <= GOAL else 'NOT MET'}  Send to first word: {p50:.2f} ms at p50 (goal ≤{GOAL:.0f} ms)"
    )
    print(
        f"\nEvery figure: {keep(given.out, 'first_token', {'milliseconds': figures, 'sends': given.sends, 'history': given.history})}"
    )
    return 0 if p50 <= GOAL else 1


if __name__ == "__main__":
    sys.exit(main())
