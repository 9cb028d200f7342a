"""How the page shows text: right-to-left, long messages."""

import pytest
from playwright.async_api import Page, expect

from .conftest import open_page, send_message, wait_for_reply

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

HEBREW = "שלום עולם"


async def direction(page: Page, selector: str) -> str:
    return await page.locator(selector).first.evaluate("e => getComputedStyle(e).direction")


async def test_right_to_left_text_is_shown_right_to_left_everywhere(page: Page) -> None:
    await open_page(page)
    field = page.get_by_label("Message", exact=True)
    await field.fill(HEBREW)
    assert await direction(page, ".field textarea") == "rtl"
    await field.fill(
        f"{HEBREW}\n\n- {HEBREW}\n\n> {HEBREW}\n\n|{HEBREW}|a|\n|-|-|\n|1|2|\n\n```\nlet a\n```\n\nfrom the left"
    )
    await page.keyboard.press("Enter")
    await wait_for_reply(page)
    await expect(page.locator(".item.current .title")).to_contain_text(HEBREW)
    for selector in (
        ".prose p",
        ".prose li",
        ".prose blockquote",
        ".prose th",
        ".user-text > div",
        ".item.current .title",
        "h1",
    ):
        assert await direction(page, selector) == "rtl", selector
    assert await direction(page, ".prose pre") == "ltr"
    assert await page.locator(".prose p").last.evaluate("e => getComputedStyle(e).direction") == "ltr"


async def test_a_message_of_many_lines_is_collapsed(page: Page) -> None:
    await page.set_viewport_size({"width": 360, "height": 740})
    await open_page(page)
    await send_message(page, "one long line, " * 72)
    await wait_for_reply(page)
    await page.get_by_role("button", name="Show all").click()
    await expect(page.locator(".user-text.collapsed")).to_have_count(0)
    await page.get_by_role("button", name="Show less").click()
    await expect(page.locator(".user-text.collapsed")).to_have_count(1)
    await page.set_viewport_size({"width": 1440, "height": 740})
    await expect(page.locator(".user-text.collapsed")).to_have_count(0)


async def test_the_editor_is_as_high_as_its_text(page: Page) -> None:
    await open_page(page)
    await send_message(page, "one long line, " * 20)
    await wait_for_reply(page)
    await page.keyboard.press("ArrowUp")
    editor = page.get_by_label("Edit your message")
    assert await editor.evaluate("e => e.scrollHeight - e.clientHeight") == 0
    low = (await editor.bounding_box() or {})["height"]
    await editor.fill("one long line, " * 300)
    high = (await editor.bounding_box() or {})["height"]
    assert low < high <= 8 * 24 + 24
