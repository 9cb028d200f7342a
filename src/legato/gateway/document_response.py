"""The HTTP response of a generation that is not streamed: the object that its API stores of it."""

import asyncio
from collections.abc import Callable
from typing import Any

from fastapi import Response
from starlette.types import Receive, Scope, Send

from legato.api.generations import Generations
from legato.api.response_stream import ResponseStream
from legato.errors import LegatoError
from legato.gateway.generation_response import STREAM_HEADER
from legato.gateway.json_body import answer
from legato.gateway.sse_response import disconnected


class DocumentResponse(Response):
    """Waits for the end of a generation, and sends its object. The client is a reader of the generation until it leaves.

    `on_error` makes the response of a generation that failed before its first word.
    """

    def __init__(
        self, stream: ResponseStream, generations: Generations, on_error: Callable[[LegatoError], Response]
    ) -> None:
        super().__init__()
        self._stream = stream
        self._generations = generations
        self._on_error = on_error

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        leave = self._generations.read(self._stream)
        gone = asyncio.ensure_future(disconnected(receive))
        done: asyncio.Future[Any] = asyncio.ensure_future(self._stream.done.wait())
        try:
            await asyncio.wait([done, gone], return_when=asyncio.FIRST_COMPLETED)
            if not gone.done():
                await self._result()(scope, receive, send)
        finally:
            done.cancel()
            gone.cancel()
            leave()

    def _result(self) -> Response:
        error = self._stream.error
        if error is not None and not self._stream.log.next:
            return self._on_error(error)
        return answer(self._stream.document, headers={STREAM_HEADER: self._stream.id})
