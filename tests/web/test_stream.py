"""Streaming of a reply: after a page reload, after disconnects, and when it is stopped."""

import re

import pytest
from playwright.async_api import Page, WebSocketRoute, expect

from .conftest import Server, open_page, open_with_assistant, send_message, wait_for_reply

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

WORDS = " ".join(f"word{n}" for n in range(60))


async def test_a_message_gets_a_reply_and_the_conversation_gets_an_address(page: Page) -> None:
    await open_page(page)
    await send_message(page, "What I say comes back.")
    assert await wait_for_reply(page) == "What I say comes back."
    assert re.search(r"/c/[^/]+$", page.url)
    await expect(page).to_have_title("What I say comes back. · Legato")
    await expect(page.locator(".item.current .title")).to_have_text("What I say comes back.")
    await expect(page.locator(".reply-stats")).to_contain_text("demo:echo · ")


async def test_a_running_reply_continues_after_a_reload(page: Page, server: Server) -> None:
    words = " ".join(f"word{n}" for n in range(40))
    await open_with_assistant(page, server, "patient")
    await send_message(page, words)
    await expect(page.locator(".reply .prose")).to_contain_text("word3")
    await page.reload()
    await expect(page.get_by_role("button", name="Stop")).to_be_visible()
    assert await wait_for_reply(page) == words


async def test_a_complete_reply_is_shown_after_a_reload(page: Page) -> None:
    await open_page(page)
    await send_message(page, "Keep this.")
    await wait_for_reply(page)
    await page.reload()
    assert await wait_for_reply(page) == "Keep this."
    assert await page.locator(".user-text").inner_text() == "Keep this."


@pytest.mark.parametrize("frames", [1, 2, 3, 5, 8, 13])
async def test_repeated_disconnects_do_not_change_the_text(page: Page, server: Server, frames: int) -> None:
    disconnects = 0

    def route(socket: WebSocketRoute) -> None:
        upstream = socket.connect_to_server()
        seen = 0

        async def forward(message: str | bytes) -> None:
            nonlocal seen, disconnects
            socket.send(message)
            seen += '"type":"delta"' in str(message)
            # On a busy machine tokens arrive together, in fewer frames: then the cut comes behind the last one.
            if seen == frames or (not disconnects and '"type":"finished"' in str(message)):
                disconnects += 1
                await socket.close(code=4100)
                await upstream.close()
                # Reconnect now, without the delay of a second or two.
                await page.evaluate("window.dispatchEvent(new Event('online'))")

        upstream.on_message(forward)

    await page.route_web_socket("**/ws", route)
    await open_with_assistant(page, server, "slow")
    await send_message(page, WORDS)
    assert await wait_for_reply(page) == WORDS
    assert disconnects > 0


@pytest.mark.parametrize("frames", range(1, 9))
async def test_a_disconnect_after_any_frame_loses_nothing(page: Page, frames: int) -> None:
    sockets = 0

    def route(socket: WebSocketRoute) -> None:
        nonlocal sockets
        sockets += 1
        upstream = socket.connect_to_server()
        if sockets > 1:
            return
        seen = 0

        async def forward(message: str | bytes) -> None:
            nonlocal seen
            socket.send(message)
            seen += 1
            if seen == frames:
                await socket.close(code=1012)
                await upstream.close()
                if frames > 1:  # In one case, wait for the delay of the page itself.
                    await page.evaluate("window.dispatchEvent(new Event('online'))")

        upstream.on_message(forward)

    await page.route_web_socket("**/ws", route)
    await page.goto("/")
    await send_message(page, "one two three four five")
    assert await wait_for_reply(page) == "one two three four five"
    assert await page.locator(".user-text").all_inner_texts() == ["one two three four five"]
    assert sockets == 2


async def test_stop_keeps_the_text_so_far(page: Page, server: Server) -> None:
    await open_with_assistant(page, server, "patient")
    await send_message(page, WORDS)
    await page.wait_for_selector(".prose.live")
    await page.get_by_role("button", name="Stop").click()
    await expect(page.get_by_text("You stopped it here.")).to_be_visible()
    text = await page.locator(".reply .prose").inner_text()
    assert WORDS.startswith(text)
    await expect(page.get_by_role("button", name="Send")).to_be_visible()


async def test_a_message_written_while_offline_is_sent_later(page: Page) -> None:
    await open_page(page)
    await page.context.set_offline(True)
    await expect(page.locator("[data-phase=offline]")).to_be_visible()
    await send_message(page, "I was patient.")
    await expect(page.get_by_text("is sent when the connection is back")).to_be_visible()
    await page.context.set_offline(False)
    assert await wait_for_reply(page) == "I was patient."


async def test_regenerated_replies_and_edited_messages_are_branches(page: Page) -> None:
    await open_page(page)
    await send_message(page, "first wording")
    await wait_for_reply(page)
    await page.get_by_role("button", name="Another reply").click()
    await expect(page.locator(".reply .branch-count")).to_have_text("2 of 2")
    await page.locator(".user-text").hover()
    await page.get_by_role("button", name="Edit", exact=True).click()
    await page.get_by_label("Edit your message").fill("second wording")
    await page.keyboard.press("Enter")
    await expect(page.locator(".reply .prose")).to_have_text("second wording")
    await expect(page.locator(".user .branch-count")).to_have_text("2 of 2")
    await page.locator(".user").get_by_role("button", name="Earlier version").click()
    await expect(page.locator(".reply .prose")).to_have_text("first wording")
    await expect(page.locator(".reply .branch-count")).to_have_text("2 of 2")


async def test_two_pages_show_the_same_reply(page: Page, server: Server) -> None:
    await open_with_assistant(page, server, "slow")
    other = await page.context.new_page()
    await open_page(other, page.url)
    await send_message(page, WORDS)
    assert await wait_for_reply(other) == WORDS
    assert await wait_for_reply(page) == WORDS
    await other.close()


async def test_an_unknown_conversation_shows_a_message(page: Page) -> None:
    await open_page(page, "/c/00000000-0000-0000-0000-000000000000")
    await expect(page.get_by_text("This conversation does not exist or is not yours")).to_be_visible()
    await page.get_by_role("button", name="Start a new conversation").click()
    await expect(page.get_by_label("Message", exact=True)).to_be_focused()
