"""Clients written from `docs/protocol.md` alone, with a plain WebSocket and a plain HTTP library, that are cut at random."""

import asyncio
import json
from random import Random
from typing import Any

import aiohttp
import websockets
from websockets.asyncio.client import ClientConnection

from legato.protocol.messages import PROTOCOL

UP = (OSError, websockets.WebSocketException, aiohttp.ClientError)
"""What a client sees of a server that is gone, or of a cut."""


class Text:
    """What a client has of one stream, by the rules of the protocol."""

    def __init__(self) -> None:
        self.text = ""
        self.epoch: str | None = None
        self.offset = 0
        self.end: dict[str, Any] | None = None
        self.resets = 0

    def take(self, frame: dict[str, Any]) -> None:
        if frame["type"] == "reset":
            self.text, self.offset, self.epoch, self.end = "", 0, None, None
            self.resets += 1
        elif frame["type"] == "delta":
            if frame["from"] == 0:
                self.text = ""
            else:
                assert frame["epoch"] == self.epoch, "another epoch without a reset"
                assert frame["from"] == self.offset, "a hole, or something twice"
            self.epoch, self.offset = frame["epoch"], frame["to"]
            for event in frame["events"]:
                if event["type"] == "text":
                    self.text += event["text"]
                elif event["type"] == "rewound":
                    self.text = event["text"]
                elif event["type"] in ("finished", "failed"):
                    self.end = event

    def take_whole(self, message: dict[str, Any]) -> None:
        """A reply that ended before this client had any of it is told as a message, not as a stream."""
        if self.epoch is None and message["status"] != "streaming":
            self.text = message["text"]
            self.end = {"type": "finished" if message["status"] == "complete" else "failed"}

    def position(self, stream: str) -> list[dict[str, Any]]:
        return [] if self.epoch is None else [{"stream": stream, "epoch": self.epoch, "offset": self.offset}]


class Cuts:
    """Decides, from a seed, how many frames a connection lives, and counts what it cut."""

    def __init__(self, seed: int, most: int = 5) -> None:
        self._random = Random(seed)
        self._most = most
        self.count = 0

    def frames(self) -> int:
        return self._random.randint(0, self._most)


async def send(url: str, text: str, key: str, conversation: str | None = None) -> dict[str, Any]:
    """Send a message until it is acknowledged, whatever happens to the connection; the `ack`."""
    while True:
        try:
            protocols = [websockets.Subprotocol(PROTOCOL)]
            # With a queue that is full, the library would wait 10 s for an answer to its close.
            async with websockets.connect(url, subprotocols=protocols, max_queue=None) as socket:
                command = {
                    "type": "send",
                    "client_message_id": key,
                    "text": text,
                    "conversation": conversation,
                }
                await socket.send(json.dumps(command))
                async for raw in socket:
                    frame: dict[str, Any] = json.loads(raw)
                    assert frame["type"] != "error", frame
                    if frame["type"] == "ack":
                        return frame
        except UP:
            await asyncio.sleep(0.02)


async def watch_socket(
    url: str, ack: dict[str, Any], cuts: Cuts | None = None, text: Text | None = None
) -> Text:
    """Follow a reply to its end over a WebSocket that is cut again and again."""
    text, stream = text or Text(), ack["reply"]
    while text.end is None:
        try:
            socket = await websockets.connect(url, subprotocols=[websockets.Subprotocol(PROTOCOL)])
        except UP:
            await asyncio.sleep(0.02)
            continue
        try:
            await _follow(socket, ack, text, stream, cuts)
        except UP:
            continue
        finally:
            socket.transport.abort()
            await socket.wait_closed()
    return text


async def _follow(
    socket: ClientConnection, ack: dict[str, Any], text: Text, stream: str, cuts: Cuts | None
) -> None:
    follow = {"type": "follow", "conversation": ack["conversation"], "positions": text.position(stream)}
    await socket.send(json.dumps(follow))
    left = cuts.frames() if cuts is not None else None
    async for raw in socket:
        frame = json.loads(raw)
        assert frame["type"] != "error", frame
        if frame["type"] in ("following", "messages"):
            for message in frame.get("messages", []):
                if message["id"] == stream:
                    text.take_whole(message)
        elif frame["type"] == "message" and frame["message"]["id"] == stream:
            text.take_whole(frame["message"])
        elif frame.get("stream") == stream:
            text.take(frame)
        else:
            continue
        if text.end is not None:
            return
        if left is not None and cuts is not None:
            if left == 0:
                cuts.count += 1
                return
            left -= 1


async def watch_sse(address: str, ack: dict[str, Any], cuts: Cuts | None = None) -> Text:
    """Follow a reply to its end over SSE that is cut again and again."""
    text, stream = Text(), ack["reply"]
    async with aiohttp.ClientSession(address) as http:
        while text.end is None:
            headers = {} if text.epoch is None else {"last-event-id": f"{text.epoch}:{text.offset}"}
            try:
                async with http.get(f"/api/streams/{stream}", headers=headers) as response:
                    assert response.status == 200
                    await _events(response, text, cuts)
            except UP:
                await asyncio.sleep(0.02)
    return text


async def _events(response: aiohttp.ClientResponse, text: Text, cuts: Cuts | None) -> None:
    left = cuts.frames() if cuts is not None else None
    async for line in response.content:
        if not line.startswith(b"data: "):
            continue
        text.take(json.loads(line[6:]))
        if left is not None and cuts is not None:
            if left == 0:
                cuts.count += 1
                response.close()
                return
            left -= 1
