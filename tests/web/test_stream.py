"""A reply on the page: it comes, it goes on after a refresh and after cuts, and it can be stopped."""

import re

import pytest
from playwright.async_api import Page, WebSocketRoute, expect

from .conftest import Server, ended, opened, say, with_assistant

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]

WORDS = " ".join(f"word{n}" for n in range(60))


async def test_a_message_gets_a_reply_and_the_conversation_an_address(page: Page) -> None:
    await opened(page)
    await say(page, "What I say comes back.")
    assert await ended(page) == "What I say comes back."
    assert re.search(r"/c/[^/]+$", page.url)
    await expect(page).to_have_title("What I say comes back. · Legato")
    await expect(page.locator(".item.current .title")).to_have_text("What I say comes back.")
    await expect(page.locator(".figures")).to_contain_text("demo:echo · ")


async def test_a_refresh_in_the_middle_goes_on(page: Page, server: Server) -> None:
    words = " ".join(f"word{n}" for n in range(40))
    await with_assistant(page, server, "patient")
    await say(page, words)
    await expect(page.locator(".reply .prose")).to_contain_text("word3")
    await page.reload()
    await expect(page.get_by_role("button", name="Stop")).to_be_visible()
    assert await ended(page) == words


async def test_a_finished_reply_is_there_after_a_refresh(page: Page) -> None:
    await opened(page)
    await say(page, "Keep this.")
    await ended(page)
    await page.reload()
    assert await ended(page) == "Keep this."
    assert await page.locator(".said").inner_text() == "Keep this."


@pytest.mark.parametrize("frames", [1, 2, 3, 5, 8, 13])
async def test_a_socket_that_is_cut_after_every_few_deltas_shows_the_same_text(
    page: Page, server: Server, frames: int
) -> None:
    cuts = 0

    def cutting(socket: WebSocketRoute) -> None:
        upstream = socket.connect_to_server()
        seen = 0

        async def pass_on(message: str | bytes) -> None:
            nonlocal seen, cuts
            socket.send(message)
            seen += '"type":"delta"' in str(message)
            if seen == frames:
                cuts += 1
                await socket.close(code=4100)
                await upstream.close()
                # The page would wait for a second or two; somebody who looks at it again does not.
                await page.evaluate("window.dispatchEvent(new Event('online'))")

        upstream.on_message(pass_on)

    await page.route_web_socket("**/ws", cutting)
    await with_assistant(page, server, "slow")
    await say(page, WORDS)
    assert await ended(page) == WORDS
    assert cuts > 0


@pytest.mark.parametrize("frames", range(1, 9))
async def test_a_cut_after_any_frame_loses_nothing(page: Page, frames: int) -> None:
    sockets = 0

    def cutting(socket: WebSocketRoute) -> None:
        nonlocal sockets
        sockets += 1
        upstream = socket.connect_to_server()
        if sockets > 1:
            return
        seen = 0

        async def pass_on(message: str | bytes) -> None:
            nonlocal seen
            socket.send(message)
            seen += 1
            if seen == frames:
                await socket.close(code=1012)
                await upstream.close()
                if frames > 1:  # Once the page waits for as long as it would, then it is told not to.
                    await page.evaluate("window.dispatchEvent(new Event('online'))")

        upstream.on_message(pass_on)

    await page.route_web_socket("**/ws", cutting)
    await page.goto("/")
    await say(page, "one two three four five")
    assert await ended(page) == "one two three four five"
    assert await page.locator(".said").all_inner_texts() == ["one two three four five"]
    assert sockets == 2


async def test_stop_keeps_the_text_so_far(page: Page, server: Server) -> None:
    await with_assistant(page, server, "patient")
    await say(page, WORDS)
    await page.wait_for_selector(".prose.live")
    await page.get_by_role("button", name="Stop").click()
    await expect(page.get_by_text("You stopped it here.")).to_be_visible()
    text = await page.locator(".reply .prose").inner_text()
    assert WORDS.startswith(text)
    await expect(page.get_by_role("button", name="Send")).to_be_visible()


async def test_what_is_sent_during_a_cut_goes_out_afterwards(page: Page) -> None:
    await opened(page)
    await page.context.set_offline(True)
    await expect(page.locator("[data-phase=offline]")).to_be_visible()
    await say(page, "I was patient.")
    await expect(page.get_by_text("goes out when the connection is back")).to_be_visible()
    await page.context.set_offline(False)
    assert await ended(page) == "I was patient."


async def test_another_reply_and_another_wording_are_branches(page: Page) -> None:
    await opened(page)
    await say(page, "first wording")
    await ended(page)
    await page.get_by_role("button", name="Another reply").click()
    await expect(page.locator(".reply .count")).to_have_text("2 of 2")
    await page.locator(".said").hover()
    await page.get_by_role("button", name="Edit", exact=True).click()
    await page.get_by_label("Edit your message").fill("second wording")
    await page.keyboard.press("Enter")
    await expect(page.locator(".reply .prose")).to_have_text("second wording")
    await expect(page.locator(".user .count")).to_have_text("2 of 2")
    await page.locator(".user").get_by_role("button", name="Earlier version").click()
    await expect(page.locator(".reply .prose")).to_have_text("first wording")
    await expect(page.locator(".reply .count")).to_have_text("2 of 2")


async def test_two_pages_see_the_same(page: Page, server: Server) -> None:
    await with_assistant(page, server, "slow")
    other = await page.context.new_page()
    await opened(other, page.url)
    await say(page, WORDS)
    assert await ended(other) == WORDS
    assert await ended(page) == WORDS
    await other.close()


async def test_a_conversation_that_is_not_there_says_so(page: Page) -> None:
    await opened(page, "/c/00000000-0000-0000-0000-000000000000")
    await expect(page.get_by_text("There is no such conversation")).to_be_visible()
    await page.get_by_role("button", name="Start a new one").click()
    await expect(page.get_by_label("Message", exact=True)).to_be_focused()
