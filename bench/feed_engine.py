"""The load generator as an engine of Legato: a message that says `job N` is answered with the tokens of job N."""

import asyncio

from feed import JOB, Feed, Line
from legato.engines.base import Capabilities, Health, Model, Out, Outcome, Request
from legato.errors import EngineRefusedError
from legato.message import text_of


class FeedEngine:
    """An `Engine`. It listens for feeds on `port` once `listen` was called."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._feed = Feed()

    @property
    def name(self) -> str:
        return "feed"

    async def listen(self) -> None:
        await self._feed.listen(self._port)

    async def generate(self, request: Request, out: Out) -> Outcome:
        named = JOB.search(text_of(request.turns[-1].parts))
        if named is None:
            raise EngineRefusedError("Say which job: `job 17`.")
        ended = asyncio.Event()
        text = out.text

        def take(line: Line) -> None:
            if line.token:
                text(line.token)
            elif line.type == "finished":
                ended.set()

        self._feed.ask(int(named[1]), take)
        await ended.wait()
        return Outcome("stop", request.model)

    async def capabilities(self, model: str) -> Capabilities:
        return Capabilities()

    async def models(self) -> tuple[Model, ...]:
        return (Model("feed", self.name),)

    async def health(self) -> Health:
        return Health(True, "It takes what the load generator feeds it.")

    async def close(self) -> None:
        self._feed.close()
