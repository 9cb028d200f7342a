"""The page below a path prefix, behind a proxy."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from .conftest import Server, open_page, send_message, wait_for_reply
from .proxy import PrefixProxy
from .test_attachments import PICTURE

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def proxy(server: Server) -> AsyncIterator[PrefixProxy]:
    """A proxy that removes the prefix and tells it in `X-Forwarded-Prefix`."""
    async with PrefixProxy(server.address, "/chat", strips=True).running() as proxy:
        yield proxy


@pytest_asyncio.fixture(loop_scope="session")
async def below(browser: Browser, proxy: PrefixProxy) -> AsyncIterator[Page]:
    """A page behind the proxy. The test fails if it asks for anything that is not below the prefix."""
    context = await browser.new_context(base_url=proxy.address, reduced_motion="reduce")
    page = await context.new_page()
    elsewhere: list[str] = []
    page.on(
        "request",
        lambda each: (
            None
            if each.url.startswith((f"{proxy.address}/chat/", "blob:", "data:"))
            else elsewhere.append(each.url)
        ),
    )
    page.on("pageerror", lambda error: elsewhere.append(str(error)))
    yield page
    await context.close()
    assert elsewhere == []


async def test_a_chat_with_a_picture_and_a_formula(below: Page) -> None:
    await open_page(below, "/chat/")
    file = {"name": "dot.png", "mimeType": "image/png", "buffer": PICTURE}
    await below.locator("input[type=file]").set_input_files([file])  # type: ignore[list-item]
    await expect(below.get_by_label("uploading")).to_have_count(0)
    await send_message(below, "What is $x^2$?")
    await wait_for_reply(below)
    assert "/chat/c/" in below.url
    await expect(below.locator(".reply .katex").first).to_be_visible()
    await below.reload()
    picture = below.get_by_alt_text("A picture that was sent")
    await expect(picture).to_be_visible()
    assert await picture.evaluate("each => each.naturalWidth") == 1
    link = await below.locator(".item.current a").get_attribute("href")
    assert link is not None
    assert below.url.endswith(link)
    await below.get_by_role("button", name="New conversation").click()
    assert below.url.endswith("/chat/")
    await below.go_back()
    await expect(picture).to_be_visible()


async def test_a_reload_and_a_cut_in_mid_reply_lose_nothing(below: Page, proxy: PrefixProxy) -> None:
    await open_page(below, "/chat/")
    await below.locator(".assistants").get_by_text("slow").click()
    words = " ".join(f"word{n}" for n in range(150))
    await send_message(below, words)
    await expect(below.locator(".prose.live")).to_contain_text("word3")
    await below.reload()
    await expect(below.locator(".prose.live")).to_contain_text("word5")
    proxy.cut()
    assert await wait_for_reply(below) == words


async def test_an_invitation_link_opens(below: Page) -> None:
    await open_page(below, "/chat/")
    await send_message(below, "Hello")
    await wait_for_reply(below)
    await below.get_by_title("People in this conversation").click()
    await below.get_by_role("button", name="Invite people to read").click()
    link = await below.get_by_label("Invitation").input_value()
    conversation = below.url
    await below.goto("about:blank")
    await below.goto(link)
    await expect(below).to_have_url(conversation)
    await expect(below.locator(".reply")).to_have_count(1)
