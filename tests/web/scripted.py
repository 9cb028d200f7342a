"""A server for the page whose frames are sent by the test."""

import json
from typing import Any

from playwright.async_api import Page, WebSocketRoute

VIEW: dict[str, Any] = {
    "id": "c",
    "title": "A talk",
    "assistant": "default",
    "revision": 2,
    "created_at": "2026-01-01T00:00:00Z",
    "updated_at": "2026-01-01T00:00:00Z",
    "head": "r",
}
QUESTION: dict[str, Any] = {
    "id": "q",
    "conversation": "c",
    "role": "user",
    "status": "complete",
    "created_at": VIEW["created_at"],
}
REPLY = QUESTION | {"id": "r", "role": "assistant", "status": "streaming", "parent": "q"}


class ScriptedServer:
    """A server whose frames are sent by the test."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.socket: WebSocketRoute | None = None
        self.offset = 0
        self.received: list[dict[str, Any]] = []
        self.view = VIEW
        self.messages: list[dict[str, Any]] = [QUESTION | {"text": "Hello"}, REPLY]

    async def open(self, path: str = "/c/c") -> None:
        await self.page.route_web_socket("**/ws", self._open)
        await self.page.goto(path)
        await self.page.wait_for_selector("[data-phase=live]")

    def send(self, **message: Any) -> None:
        assert self.socket is not None
        self.socket.send(json.dumps(message))

    def send_event(self, **event: Any) -> None:
        """Send the next event of the reply's stream."""
        self.send(
            type="delta", stream="r", epoch="e", **{"from": self.offset}, to=self.offset + 1, events=[event]
        )
        self.offset += 1

    def _open(self, socket: WebSocketRoute) -> None:
        self.socket = socket
        socket.on_message(self._answer)
        self.send(type="welcome", user="local", server="0")

    def _answer(self, raw: str | bytes) -> None:
        message = json.loads(raw)
        self.received.append(message)
        if message["type"] == "follow":
            self.send(type="following", re=message["id"], conversation=self.view, messages=self.messages)
