"""The load generator as an engine of Legato: a message that says `job N` is answered with the tokens of job N."""

import asyncio

from feed import JOB, Feed, Job
from legato.domain.message import text_of
from legato.engines.base import Capabilities, Health, Model, Outcome, ReplyWriter, Request
from legato.errors import EngineBrokeError, EngineRefusedError


class FeedEngine:
    """An `Engine`. It listens for feeds on `port` as soon as the event loop gets to it."""

    def __init__(self, port: int) -> None:
        self._feed = Feed()
        self._listening = asyncio.create_task(self._feed.listen(port))

    @property
    def name(self) -> str:
        return "feed"

    async def generate(self, request: Request, out: ReplyWriter) -> Outcome:
        await self._listening
        named = JOB.search(text_of(request.turns[-1].parts))
        if named is None:
            raise EngineRefusedError("Say which job: `job 17`.")
        ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()

        def end(how: str) -> None:
            if not ended.done():
                ended.set_result(how)

        self._feed.ask(int(named[1]), Job(out.text, end))
        if await ended == "lost":
            raise EngineBrokeError("The load generator went away.")
        return Outcome("stop", request.model)

    async def capabilities(self, model: str) -> Capabilities:
        return Capabilities()

    async def models(self) -> tuple[Model, ...]:
        return (Model("feed", self.name),)

    async def health(self) -> Health:
        return Health(True, "It takes what the load generator feeds it.")

    async def close(self) -> None:
        self._feed.close()
