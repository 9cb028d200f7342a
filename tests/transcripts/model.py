"""A model that says what the exchanges need, on OpenAI's wire: it halts where it is told to, breaks, thinks, repeats.

It runs on a loop of its own, so that it serves one server for as long as all tests of a process take.
"""

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from aiohttp import web
from tests.doubles.openai import DONE, chunk
from tests.doubles.server import Server

from .exchange import Exchange

HALT = object()
CUT = object()

ANSWERS: dict[str, list[Any]] = {
    "Count to four.": ["one ", "two ", HALT, "three ", "four"],
    "Break off.": ["one ", "two ", CUT],
    "Say nothing.": [],
}


class Model(Server):
    """Model `m` answers as `ANSWERS` has it, `How many?` with the number of messages it was given, anything else with what
    it was told. `thinker` thinks before, `spare` is the same under another name; `down` refuses, `away` is overloaded."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.gate = asyncio.Event()
        self.app.router.add_get("/v1/models", self._models)
        self.app.router.add_post("/v1/chat/completions", self._complete)

    def go_on(self) -> None:
        """Let the reply that halts, or is about to, go on."""
        self.loop.call_soon_threadsafe(self.gate.set)

    async def _models(self, request: web.Request) -> web.Response:
        models = [{"id": name, "object": "model"} for name in ("m", "spare", "thinker")]
        return web.json_response({"object": "list", "data": models})

    async def _complete(self, request: web.Request) -> web.StreamResponse:
        asked = await request.json()
        if asked["model"] == "down":
            return web.json_response({"error": {"message": "the model is on fire"}}, status=400)
        if asked["model"] == "away":
            return web.json_response({"error": {"message": "overloaded"}}, status=503)
        said = asked["messages"][-1]["content"]
        given = [each["content"] for each in asked["messages"] if each["role"] != "system"]
        answer = ANSWERS.get(said, [f"You said: {said}"])
        if said == "How many?":
            answer = [f"I was given {len(given)}, from “{given[0]}”."]
        return await self._stream(request, asked["model"], answer)

    async def _stream(self, request: web.Request, model: str, answer: list[Any]) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        response.enable_chunked_encoding()
        await response.prepare(request)
        if model == "thinker":
            await _write(
                response, chunk({"role": "assistant", "reasoning_content": "Hm, well."}, model=model)
            )
        for piece in answer:
            if piece is HALT:
                await self.gate.wait()
                self.gate.clear()
            elif piece is CUT:
                assert request.transport is not None
                request.transport.close()
            else:
                await _write(response, chunk({"role": "assistant", "content": piece}, model=model))
        await _write(response, chunk({"role": "assistant", "content": ""}, "stop", model=model))
        await response.write_eof(DONE)
        return response


class HeldModel:
    """The model as one exchange sees it: when it goes on is written down."""

    def __init__(self, model: Model, exchange: Exchange) -> None:
        self._model = model
        self._exchange = exchange

    def go_on(self) -> None:
        self._exchange.note("… the model goes on")
        self._model.go_on()


async def _write(response: web.StreamResponse, event: dict[str, Any]) -> None:
    await response.write(b"data: " + json.dumps(event, separators=(",", ":")).encode() + b"\n\n")


@contextmanager
def modelling() -> Iterator[Model]:
    model = Model()
    thread = threading.Thread(target=model.loop.run_forever, daemon=True)
    thread.start()
    asyncio.run_coroutine_threadsafe(model.__aenter__(), model.loop).result()
    try:
        yield model
    finally:
        asyncio.run_coroutine_threadsafe(model.__aexit__(None, None, None), model.loop).result()
        model.loop.call_soon_threadsafe(model.loop.stop)
        thread.join()
        model.loop.close()
