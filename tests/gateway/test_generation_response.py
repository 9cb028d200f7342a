"""The response of a generation, without a socket and in virtual time: signs of life while nothing is written."""

import asyncio
from typing import Any, cast

import pytest

from legato.api.byte_log import ByteLog
from legato.api.generations import Generations
from legato.api.response_stream import ResponseStream
from legato.gateway.generation_response import COMMENT, GenerationResponse
from legato.gateway.sse_response import KEEP_ALIVE
from legato.testing.clock import virtual_time


class _Reading:
    """In the place of the generations: it counts readers and does nothing."""

    def read(self, stream: ResponseStream) -> Any:
        return lambda: None

    def begin(self, stream: ResponseStream) -> None: ...


class _Client:
    """What a client receives, and when."""

    def __init__(self) -> None:
        self.received: list[tuple[float, bytes]] = []
        self.stays = asyncio.Event()

    async def receive(self) -> dict[str, Any]:
        await self.stays.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.body":
            self.received.append((asyncio.get_running_loop().time(), message["body"]))


@pytest.mark.parametrize("numbered", [True, False])
@virtual_time
async def test_silence_has_signs_of_life_and_words_have_none(*, numbered: bool) -> None:
    log = ByteLog("text/event-stream", numbered=numbered)
    stream = ResponseStream("s", "ann", "openai", "m", 0.0, log, streams=True)
    response = GenerationResponse(stream, cast("Generations", _Reading()), lambda error: response)
    client = _Client()
    begun = asyncio.get_running_loop().time()
    sending = asyncio.create_task(response({"type": "http"}, client.receive, client.send))
    for _ in range(10):
        log.append(b"data: x\n\n")
        stream.opened.set()
        await asyncio.sleep(KEEP_ALIVE * 0.9)
    assert [body for _, body in client.received].count(COMMENT) == 0
    await asyncio.sleep(KEEP_ALIVE * 3)
    stream.end()
    await sending
    signs = [at - begun for at, body in client.received if body == COMMENT]
    assert len(signs) == (3 if numbered else 0)
    assert b"".join(body for _, body in client.received if body != COMMENT).count(b"data: x\n\n") == 10


@virtual_time
async def test_a_client_that_left_is_sent_no_more() -> None:
    log = ByteLog("text/event-stream", numbered=True)
    stream = ResponseStream("s", "ann", "openai", "m", 0.0, log, streams=True)
    response = GenerationResponse(stream, cast("Generations", _Reading()), lambda error: response)
    client = _Client()
    log.append(b"data: x\n\n")
    stream.opened.set()
    sending = asyncio.create_task(response({"type": "http"}, client.receive, client.send))
    await asyncio.sleep(1)
    client.stays.set()
    await sending
    assert len(client.received) == 1
    assert not log.listened
