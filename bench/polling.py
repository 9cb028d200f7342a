"""The design that the fleet replaces, in its plainest form: an agent asks for work every half second, and posts each token.

    polling.py PORT

`POST /api/chat/completions` answers with server-sent events, `GET /jobs` hands out a job or nothing, `POST /tokens` takes
one token of a job.
"""

import asyncio
import sys
from collections import deque
from collections.abc import AsyncIterator
from itertools import count
from typing import Any

import uvicorn
from fastapi import FastAPI
from fastapi.responses import StreamingResponse

app = FastAPI()
waiting: deque[dict[str, Any]] = deque()
running: dict[str, asyncio.Queue[str | None]] = {}
numbers = count(1)


@app.post("/api/chat/completions")
async def ask(body: dict[str, Any]) -> StreamingResponse:
    job, queue = str(next(numbers)), asyncio.Queue[str | None]()
    running[job] = queue
    prompt = body["messages"][-1]["content"]
    waiting.append({"type": "job", "jobId": job, "model": body["model"], "prompt": prompt})

    async def tokens() -> AsyncIterator[str]:
        while (event := await queue.get()) is not None:
            yield f"data: {event}\n\n"
        del running[job]
        yield "data: [DONE]\n\n"

    return StreamingResponse(tokens(), media_type="text/event-stream")


@app.get("/jobs")
async def job() -> dict[str, Any]:
    return waiting.popleft() if waiting else {}


@app.post("/tokens")
async def token(body: dict[str, Any]) -> dict[str, Any]:
    running[body["jobId"]].put_nowait(None if body["done"] else body["token"])
    return {}


class Server(uvicorn.Server):
    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets)
        print("ready", flush=True)


if __name__ == "__main__":
    Server(uvicorn.Config(app, port=int(sys.argv[1]), log_level="warning", loop="uvloop")).run()
