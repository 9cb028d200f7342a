"""B: fifty people in one room, one of whom reads nothing."""

import asyncio
import json
import socket
from urllib.parse import urlsplit

from websockets.asyncio.client import ClientConnection, connect

PEOPLE = 50
ROUNDS = 8
WORDS = "it is said again and again " * 300

Heard = list[tuple[str, str]]


async def joined(address: str, *, deaf: bool = False) -> ClientConnection:
    """Somebody in the room. One who is deaf has hardly any room in their machine for what they do not read."""
    where = urlsplit(address)
    plain = socket.socket()
    if deaf:
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    plain.connect((where.hostname, where.port))
    plain.setblocking(False)
    one = await connect(
        f"ws://{where.netloc}/ws/sessions", sock=plain, compression=None, max_size=None, max_queue=1
    )
    await one.send(json.dumps({"type": "join_session", "session_id": "crowd", "stream": True}))
    while json.loads(await one.recv())["type"] != "session_joined":
        pass
    return one


async def hears(one: ClientConnection, rounds: int) -> Heard:
    """All messages of the room, until so many of the assistant's; each is held against what was told of it live."""
    heard: Heard = []
    live: dict[str, str] = {}
    while sum(role == "assistant" for role, _ in heard) < rounds:
        frame = json.loads(await one.recv())
        assert frame["type"] != "error", frame
        if frame["type"] == "message_chunk":
            live[frame["id"]] = live.get(frame["id"], "") + frame["content"]
        elif frame["type"] == "message" and frame["role"] != "system":
            if frame["role"] == "assistant":
                assert live.pop(frame["id"]) == frame["content"]
            heard.append((frame["role"], frame["content"]))
    return heard


async def test_one_who_reads_nothing_harms_nobody(address: str) -> None:
    async with asyncio.timeout(60):
        deaf = await joined(address, deaf=True)
        people = [await joined(address) for _ in range(PEOPLE - 1)]
        listening = [asyncio.create_task(hears(one, ROUNDS)) for one in people]
        for number in range(ROUNDS):
            await people[number].send(json.dumps({"type": "chat_message", "content": f"{number}. {WORDS}"}))
        heard = await asyncio.gather(*listening)
        assert all(each == heard[0] for each in heard)
        said = {f"{number}. {WORDS}".strip() for number in range(ROUNDS)}
        for role in ("user", "assistant"):
            assert {text.strip() for who, text in heard[0] if who == role} == said
        assert await hears(deaf, ROUNDS) == heard[0]
        for one in (deaf, *people):
            one.transport.abort()
            await one.wait_closed()
