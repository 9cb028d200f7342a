"""`kill -9` of a server in the middle of streams of all APIs, and another one on the same database."""

import asyncio
import re
from pathlib import Path
from typing import Any

import aiohttp
from tests.unbroken.process import ServerProcess

CONFIG = """
[assistants.default]
engine = "demo"
model = "demo:echo"
options = { tokens_per_second = 100 }
"""

TEXT = " ".join(f"word{n}" for n in range(3000))
USER = [{"role": "user", "content": TEXT}]
PARTS = [{"type": "text", "text": TEXT}]
CALLS: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": USER, "stream": True},
    "/v1/responses": {"input": TEXT, "stream": True, "background": True},
    "/v1/messages": {"messages": USER, "stream": True, "max_tokens": 100_000},
    "/api/chat": {"messages": USER},
    "/api/generate": {"prompt": TEXT},
    "/ai/chat": {"id": "c", "messages": [{"id": "m", "role": "user", "parts": PARTS}]},
}
HONEST = {
    "/v1/chat/completions": rb'data: \{"error":\{"message":"The server was stopped',
    "/v1/responses": rb"event: (response\.failed|response\.incomplete|error)\n",
    "/v1/messages": rb'event: error\ndata: \{"type":"error"',
    "/api/chat": rb'\n\{"error":"The server was stopped',
    "/api/generate": rb'\n\{"error":"The server was stopped',
    "/ai/chat": rb'data: \{"type":"error","errorText":"The server was stopped',
}
COMPLETE = re.compile(rb'"finish_reason":"|"message_stop"|"done":true|"type":"finish"|response\.completed')


class Client:
    """Reads one stream until the server is gone."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.got = b""
        self.stream = ""
        self.begun = asyncio.Event()

    async def read(self, http: aiohttp.ClientSession) -> None:
        headers = {"legato-on-disconnect": "continue", "idempotency-key": self.path}
        body = {"model": "default"} | CALLS[self.path]
        try:
            async with http.post(self.path, json=body, headers=headers) as response:
                self.stream = response.headers["legato-stream"]
                async for piece in response.content.iter_any():
                    self.got += piece
                    if b"word40" in self.got:
                        self.begun.set()
        except aiohttp.ClientError:
            return

    def position(self) -> str:
        """The last position that came, in the incarnation of the killed server."""
        ids = re.findall(rb"^id: (\S+)$", self.got[: self.got.rfind(b"\n\n") + 2], re.MULTILINE)
        return ids[-1].decode() if ids else f"0001_{len(self.got):016d}"


async def test_what_a_kill_cut_ends_honestly_in_each_api(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path, config=CONFIG)
    await server.start()
    clients = [Client(path) for path in CALLS]
    async with aiohttp.ClientSession(server.address) as http:
        reading = [asyncio.create_task(client.read(http)) for client in clients]
        await asyncio.gather(*[client.begun.wait() for client in clients])
        await server.kill()
        await asyncio.gather(*reading)
    await server.start()
    async with aiohttp.ClientSession(server.address) as http:
        for client in clients:
            url = f"/v1/streams/{client.stream}"
            async with http.get(url, params={"offset": "-1"}) as response:
                whole = await response.read()
                assert response.headers["stream-closed"] == "true"
            assert re.search(HONEST[client.path], whole), (client.path, whole[-400:])
            assert not COMPLETE.search(whole), (client.path, whole[-400:])
            async with http.get(url, params={"offset": client.position()}) as response:
                rest = await response.read()
                # Either the position was stored, and what follows is the end alone, or it was lost.
                assert response.status in (200, 410), client.path
                if response.status == 200:
                    assert whole.endswith(rest)
                    assert b"word" not in rest
            body = {"model": "default"} | CALLS[client.path]
            async with http.post(
                client.path, json=body, headers={"idempotency-key": client.path}
            ) as response:
                assert response.headers["legato-stream"] == client.stream
                assert await response.read() == whole
    await server.stop()
