"""Tool calls in a reply."""

import json

import pytest
from playwright.async_api import Page, WebSocketRoute, expect

from .conftest import open_page

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]


async def test_a_tool_call_is_shown_at_its_place_and_waits_for_approval(page: Page) -> None:
    """The test sends the server's frames itself."""
    received: list[dict[str, object]] = []
    at = "2026-01-01T00:00:00.000Z"
    view = {"id": "c", "title": "Rooms", "assistant": "default", "revision": 2, "created_at": at, "updated_at": at, "head": "r"}  # fmt: skip
    common = {"conversation": "c", "created_at": at}
    messages = [
        {"id": "q", "role": "user", "status": "complete", "text": "Which rooms?", "revision": 1, **common},
        {"id": "r", "role": "assistant", "status": "streaming", "parent": "q", "revision": 2, **common},
    ]
    offset = 0

    def handle(socket: WebSocketRoute) -> None:
        def send(*events: dict[str, object]) -> None:
            nonlocal offset
            frame = {"type": "delta", "stream": "r", "epoch": "e", "from": offset, "to": offset + len(events)}
            offset += len(events)
            socket.send(json.dumps({**frame, "events": events}))

        def on_message(message: str | bytes) -> None:
            command = json.loads(message)
            received.append(command)
            if command["type"] == "follow":
                socket.send(
                    json.dumps(
                        {
                            "type": "following",
                            "re": command["id"],
                            "conversation": view,
                            "messages": messages,
                        }
                    )
                )
                send(
                    {"type": "text", "text": "Let me look."},
                    {"type": "tool_started", "call": "1", "name": "find_documents", "arguments": '{"n":3}'},
                    {"type": "tool_finished", "call": "1", "output": "three rooms"},
                    {"type": "text", "text": "There are three. I shall book one."},
                    {"type": "tool_asked", "call": "2", "name": "book", "arguments": "{}"},
                )
            if command["type"] == "approve":
                send(
                    {"type": "tool_started", "call": "2", "name": "book", "arguments": "{}"},
                    {"type": "tool_finished", "call": "2", "output": "no room is free", "failed": True},
                    {"type": "text", "text": "It did not work."},
                    {"type": "finished", "reason": "stop"},
                )

        socket.on_message(on_message)
        socket.send(json.dumps({"type": "welcome", "user": "local", "server": "0"}))

    await page.route_web_socket("**/ws", handle)
    await open_page(page, "/c/c")
    first, second = page.locator(".tool-card").nth(0), page.locator(".tool-card").nth(1)
    await expect(first).to_contain_text("find_documents answered")
    await expect(first.get_by_text("three rooms")).to_be_hidden()
    await first.locator("summary").click()
    await expect(first.get_by_text("three rooms")).to_be_visible()
    await expect(second).to_contain_text("asks to run")
    order = await page.locator(".reply .prose, .reply .tool-card").evaluate_all(
        "all => all.map(each => each.className.split(' ')[0])"
    )
    assert order == ["prose", "tool-card", "prose", "tool-card"]
    await second.get_by_role("button", name="Allow").click()
    await expect(second).to_contain_text("failed")
    await expect(page.get_by_text("It did not work.")).to_be_visible()
    assert [each for each in received if each["type"] == "approve"] == [
        {
            "type": "approve",
            "id": received[-1]["id"],
            "conversation": "c",
            "message": "r",
            "call": "2",
            "allow": True,
        }
    ]
