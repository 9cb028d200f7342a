"""One call that embeds texts: within the limits of its caller, cancelled with the caller, and counted."""

import asyncio
import math
from collections.abc import Sequence

from fastapi import Request
from msgspec.structs import replace

from legato.api.call import Caller
from legato.api.catalog import ResolvedModel
from legato.chat.message_tree import size
from legato.domain.message import TextPart
from legato.domain.public_text import public_error
from legato.engines.embedding import Embedding, embedder_of
from legato.errors import EngineRefusedError, LegatoError, UnsupportedOptionError
from legato.gateway.dependencies import ServerContext
from legato.gateway.sse_response import disconnected


class EmbeddingCall:
    """Embeds texts for `caller`. `name` is the model that the caller asked for, `resolved` what it means. `counted`: the engine told no
    tokens, and they are an estimate.
    """

    def __init__(self, context: ServerContext, caller: Caller, name: str, resolved: ResolvedModel) -> None:
        self._context = context
        self._caller = caller
        self._name = name
        self._resolved = resolved
        self.counted = False

    async def run(self, request: Request, texts: Sequence[str], dimensions: int | None) -> Embedding:
        """Return the vectors. If the client of `request` leaves, the engine's call is cancelled.

        :raises EngineError: the engine failed, or embeds no texts.
        :raises OverLimitError: the caller has as many calls as they may.
        """
        if self._resolved.assistant is not None:
            raise UnsupportedOptionError("An assistant embeds no texts. Ask for the model itself.", "model")
        with self._context.limits.hold("replies", self._caller.user):
            try:
                with self._context.calls.hold(self._caller):
                    found = await self._embed(request, texts, dimensions)
            except LegatoError as error:
                raise public_error(error) from error
        if found.tokens is None:
            self.counted = True
            found = replace(found, tokens=math.ceil(size(tuple(map(TextPart, texts)))))
        self._context.calls.used(self._caller, self._name, found.tokens or 0, 0)
        return found

    async def _embed(self, request: Request, texts: Sequence[str], dimensions: int | None) -> Embedding:
        engine = embedder_of(self._resolved.engine, self._resolved.engine.name)
        embedding = asyncio.ensure_future(engine.embed(self._resolved.model, texts, dimensions))
        leaving = asyncio.ensure_future(disconnected(request.receive))
        try:
            await asyncio.wait([embedding, leaving], return_when=asyncio.FIRST_COMPLETED)
            if not embedding.done():
                raise EngineRefusedError("The client left before the vectors were there.")
            return embedding.result()
        finally:
            for task in (embedding, leaving):
                task.cancel()
            await asyncio.wait([embedding, leaving])
