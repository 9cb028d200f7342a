"""A page or a script that speaks HTTP to a server, and writes down what it said and heard."""

import asyncio
import json
from types import TracebackType
from typing import Any, Self

import aiohttp

from .exchange import Exchange
from .people import PATIENCE


class Browser:
    def __init__(self, exchange: Exchange, address: str, name: str, token: str | None = None) -> None:
        self._exchange = exchange
        self.name = name
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._session = aiohttp.ClientSession(address, headers=headers)
        self._answer: aiohttp.ClientResponse | None = None
        self.lines: list[str] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._answer is not None:
            self._answer.close()
        await self._session.close()

    async def posts(self, path: str, body: Any, *, show: bool = True) -> Any:
        """`body` as JSON, text as it is. Gives what came back."""
        said = body if isinstance(body, str) else json.dumps(body)
        self._exchange.note(f"{self.name}> POST {path} {said}")
        headers = {"Content-Type": "application/json"}
        async with asyncio.timeout(PATIENCE), self._session.post(path, data=said, headers=headers) as answer:
            return await self._answered(answer, show)

    async def gets(self, path: str, *, show: bool = True) -> Any:
        self._exchange.note(f"{self.name}> GET {path}")
        async with asyncio.timeout(PATIENCE), self._session.get(path) as answer:
            return await self._answered(answer, show)

    async def _answered(self, answer: aiohttp.ClientResponse, show: bool) -> Any:
        body = await answer.json()
        self._exchange.note(f"{self.name}< {answer.status}")
        if show:
            self._exchange.heard(self.name, body)
        return body

    async def asks(self, body: dict[str, Any]) -> None:
        """`POST /api/chat/completions`, whose answer is `hears`d."""
        self._exchange.note(f"{self.name}> POST /api/chat/completions {json.dumps(body)}")
        async with asyncio.timeout(PATIENCE):
            self._answer = await self._session.post("/api/chat/completions", json=body)
        told = [
            self._answer.headers.get(name) for name in ("Content-Type", "Cache-Control", "X-Accel-Buffering")
        ]
        self._exchange.note(f"{self.name}< {self._answer.status} {', '.join(map(str, told))}")

    async def hears(self, text: str | None = None) -> None:
        """Every line, until its tokens say this text; without one until the answer ends."""
        assert self._answer is not None
        said = ""
        while text is None or said != text:
            async with asyncio.timeout(PATIENCE):
                line = (await self._answer.content.readline()).decode()
            if not line:
                assert text is None, said
                self._exchange.note(f"{self.name}| has heard all")
                return
            if line == "\n":
                continue
            self.lines.append(line)
            assert line.startswith("data: "), line
            if line == "data: [DONE]\n":
                self._exchange.note(f"{self.name}< [DONE]")
                continue
            event = json.loads(line.removeprefix("data: "))
            said += event.get("token", "")
            self._exchange.heard(self.name, event)

    def goes_away(self) -> None:
        assert self._answer is not None
        self._exchange.note(f"{self.name}| goes away")
        self._answer.close()
