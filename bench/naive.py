"""A relay as one writes it in an afternoon: Starlette, a queue for each socket, `await send_text` for each token.

    naive.py VIEWERS_PORT FEED_PORT

One viewer a job.
"""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import uvicorn
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket

from feed import JOB, Feed, Job, Line

feed = Feed()


async def relay(websocket: WebSocket) -> None:
    await websocket.accept(subprotocol="legato.v1")
    asked = JOB.search(await websocket.receive_text())
    if asked is None:
        raise ValueError("a message that names no job")
    number = int(asked[1])
    lines: asyncio.Queue[Line] = asyncio.Queue()
    await websocket.send_text('{"type":"ack"}')
    feed.ask(
        number,
        Job(
            lambda token: lines.put_nowait(Line(number, token)),
            lambda how: lines.put_nowait(Line(number, type=how)),
        ),
    )
    line = Line(number)
    while not line.type:
        line = await lines.get()
        await websocket.send_text(msgspec.json.encode(line).decode())
    await websocket.receive()


@asynccontextmanager
async def lifespan(_: Starlette) -> AsyncIterator[None]:
    await feed.listen(int(sys.argv[2]))
    print("ready", flush=True)
    yield
    feed.close()


if __name__ == "__main__":
    uvicorn.run(
        Starlette(routes=[WebSocketRoute("/ws", relay)], lifespan=lifespan),
        port=int(sys.argv[1]),
        ws="websockets-sansio",
        loop="uvloop",
        ws_per_message_deflate=False,
        log_level="error",
        access_log=False,
    )
