"""Keyboard shortcuts, the sidebar, drafts, copying, and the sign-in form."""

import time

import jwt
import pytest
from playwright.async_api import BrowserContext, Page, expect

from .conftest import SECRET, Server, open_page, open_with_assistant, send_message, wait_for_reply

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]


async def test_enter_sends_and_shift_enter_breaks_the_line(page: Page) -> None:
    await open_page(page)
    field = page.get_by_label("Message", exact=True)
    await expect(field).to_be_focused()
    await page.keyboard.type("one")
    await page.keyboard.press("Shift+Enter")
    await page.keyboard.type("two")
    await expect(field).to_have_value("one\ntwo")
    await page.keyboard.press("Enter")
    await expect(field).to_have_value("")
    await wait_for_reply(page)
    assert await page.locator(".user-text").inner_text() == "one\ntwo"


async def test_escape_stops_the_reply(page: Page, server: Server) -> None:
    await open_with_assistant(page, server, "late")
    await send_message(page, "never said")
    await expect(page.get_by_role("button", name="Stop")).to_be_enabled()
    await page.keyboard.press("Escape")
    await expect(page.get_by_text("You stopped it before it began.")).to_be_visible()


async def test_the_up_arrow_edits_the_last_message_and_escape_cancels(page: Page) -> None:
    await open_page(page)
    await send_message(page, "first")
    await wait_for_reply(page)
    await page.keyboard.press("ArrowUp")
    editor = page.get_by_label("Edit your message")
    await expect(editor).to_be_focused()
    await page.keyboard.press("Escape")
    await expect(editor).to_have_count(0)
    await expect(page.get_by_label("Message", exact=True)).to_be_focused()
    await page.keyboard.press("ArrowUp")
    await page.keyboard.type(" and last")
    await page.keyboard.press("Enter")
    await expect(page.locator(".reply .prose")).to_have_text("first and last")


async def test_control_k_finds_a_conversation(page: Page) -> None:
    await open_page(page)
    await send_message(page, "The albatross sleeps in flight.")
    await wait_for_reply(page)
    await page.get_by_role("button", name="New conversation").click()
    await page.keyboard.press("Control+k")
    await expect(page.get_by_role("searchbox")).to_be_focused()
    await page.keyboard.type("albatr")
    await expect(page.locator(".item").first).to_contain_text("albatross")
    await page.keyboard.press("Enter")
    assert await wait_for_reply(page) == "The albatross sleeps in flight."


async def test_a_question_mark_shows_the_keyboard_shortcuts(page: Page) -> None:
    await open_page(page)
    await page.keyboard.type("?")
    await expect(page.get_by_label("Message", exact=True)).to_have_value("?")
    await page.locator("h1").click()
    await page.keyboard.press("?")
    await expect(page.get_by_role("dialog", name="Keyboard shortcuts")).to_be_visible()
    await page.keyboard.press("Escape")
    await expect(page.get_by_role("dialog")).to_have_count(0)


async def test_the_tab_key_reaches_every_control_and_shows_the_focus(page: Page) -> None:
    await open_page(page)
    await send_message(page, "okapi")
    await wait_for_reply(page)
    await page.get_by_role("searchbox").fill("okapi")
    await expect(page.locator(".item")).to_have_count(1)
    names = set()
    for _ in range(40):
        await page.keyboard.press("Tab")
        name, ring = await page.evaluate(
            """() => {
                const e = document.activeElement, field = e.closest('.search, .field') ?? e;
                const style = getComputedStyle(field);
                return [e.ariaLabel || e.textContent, style.outlineStyle !== 'none' || style.boxShadow !== 'none' || e === document.body];
            }"""
        )
        names.add(name)
        assert ring, name
    for name in (
        "Message",
        "Copy",
        "Another reply",
        "Edit",
        "New conversation",
        "Find a conversation",
        "Keyboard shortcuts",
    ):
        assert name in names


async def test_a_conversation_can_be_renamed_and_deleted(page: Page) -> None:
    await open_page(page)
    await send_message(page, "to be renamed")
    await wait_for_reply(page)
    current = page.locator(".item.current")
    await current.get_by_role("button", name="Rename to be").click()
    await page.get_by_label("Title").fill("A better name")
    await page.keyboard.press("Enter")
    await expect(page.locator("h1")).to_have_text("A better name")
    await expect(page).to_have_title("A better name · Legato")
    await current.get_by_role("button", name="Delete A better name").click()
    await expect(page.get_by_role("button", name="Delete", exact=True)).to_be_focused()
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", name="Chat with")).to_be_visible()
    await expect(page.get_by_text("A better name")).to_have_count(0)


async def test_the_back_button_works_and_a_draft_stays_with_its_conversation(page: Page) -> None:
    await open_page(page)
    await send_message(page, "the first talk")
    await wait_for_reply(page)
    await page.get_by_label("Message", exact=True).fill("half a thou")
    await page.get_by_role("button", name="New conversation").click()
    await expect(page.get_by_label("Message", exact=True)).to_have_value("")
    await page.go_back()
    assert await wait_for_reply(page) == "the first talk"
    await expect(page.get_by_label("Message", exact=True)).to_have_value("half a thou")


async def test_a_draft_is_kept_when_a_new_conversation_gets_its_address(page: Page) -> None:
    await open_page(page)
    await send_message(page, "the first word")
    await page.keyboard.type("and the next")
    await wait_for_reply(page)
    await expect(page.get_by_label("Message", exact=True)).to_have_value("and the next")


async def test_a_message_that_is_too_long_can_be_edited_again(page: Page) -> None:
    await open_page(page)
    await send_message(page, "x" * 70_000)
    await expect(page.get_by_text("This is too long")).to_be_visible()
    await page.get_by_role("button", name="Take it back").click()
    await expect(page.get_by_label("Message", exact=True)).to_have_value("x" * 70_000)
    await expect(page.locator("[data-phase=live]")).to_be_visible()


async def test_code_is_copied_unchanged(page: Page) -> None:
    await page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    await open_page(page)
    await send_message(page, "```python\nif a < b:\n    print('<b>')\n```")
    await wait_for_reply(page)
    await page.locator(".code-copy").click()
    await expect(page.locator(".code-copy")).to_have_text("Copied")
    assert await page.evaluate("navigator.clipboard.readText()") == "if a < b:\n    print('<b>')"


async def test_the_live_region_announces_the_begin_and_the_end_of_a_reply(page: Page, server: Server) -> None:
    await open_with_assistant(page, server, "slow")
    region = page.get_by_role("status")
    assert await page.locator("[aria-live]").count() == 1
    await send_message(page, " ".join(["word"] * 60))
    await expect(region).to_have_text("The reply begins.")
    await wait_for_reply(page)
    await expect(region).to_have_text("The reply is done.")


def token(user: str) -> str:
    return jwt.encode({"sub": user, "exp": int(time.time()) + 600}, SECRET, algorithm="HS256")


async def test_a_server_with_authentication_asks_for_a_token(
    context: BrowserContext, locked_server: Server
) -> None:
    page = await context.new_page()
    await page.goto(locked_server.address)
    field = page.get_by_label("Token", exact=True)
    await expect(field).to_be_focused()
    await field.fill("not.a.token")
    await page.keyboard.press("Enter")
    await expect(page.locator(".error")).to_have_text("This is not a token.")
    await field.fill(token("ada"))
    await page.keyboard.press("Enter")
    await page.wait_for_selector("[data-phase=live]")
    await send_message(page, "Let me in.")
    assert await wait_for_reply(page) == "Let me in."
    await page.reload()
    assert await wait_for_reply(page) == "Let me in."
    assert await page.evaluate("localStorage.getItem('legato.token')") is None


async def test_a_token_in_the_fragment_is_used_and_removed_from_the_address(
    context: BrowserContext, locked_server: Server
) -> None:
    page = await context.new_page()
    await page.goto(f"{locked_server.address}/#token={token('grace')}")
    await page.wait_for_selector("[data-phase=live]")
    assert page.url == f"{locked_server.address}/"


async def test_an_expired_token_shows_a_message(context: BrowserContext, locked_server: Server) -> None:
    page = await context.new_page()
    old = jwt.encode({"sub": "ada", "exp": int(time.time()) - 600}, SECRET, algorithm="HS256")
    await page.goto(f"{locked_server.address}/#token={old}")
    await expect(page.locator(".error")).to_contain_text("expired")
    await expect(page.get_by_text("legato token --user")).to_be_visible()
    await page.get_by_label("Token", exact=True).fill(token("ada"))
    await page.keyboard.press("Enter")
    await page.wait_for_selector("[data-phase=live]")
    await expect(page.locator(".notice")).to_have_text("")


async def test_the_list_is_one_tab_stop_and_the_arrow_keys_move_in_it(page: Page) -> None:
    await open_page(page)
    for bird in ("kiwi one", "kiwi two", "kiwi three"):
        await page.get_by_role("button", name="New conversation").click()
        await send_message(page, bird)
        await wait_for_reply(page)
    await page.get_by_role("searchbox").fill("kiwi")
    await expect(page.locator(".item")).to_have_count(3)
    links = page.locator(".item a")
    await page.keyboard.press("ArrowDown")
    await expect(links.nth(0)).to_be_focused()
    await page.keyboard.press("ArrowDown")
    await expect(links.nth(1)).to_be_focused()
    await page.keyboard.press("Tab")
    await expect(page.get_by_role("button", name="Rename kiwi two")).to_be_focused()
    await page.keyboard.press("Tab")
    await page.keyboard.press("Tab")
    await expect(page.get_by_role("button", name="Theme")).to_be_focused()
    await page.keyboard.press("Shift+Tab")
    await expect(links.nth(1)).to_be_focused()
    await page.keyboard.press("ArrowUp")
    await page.keyboard.press("ArrowUp")
    await expect(page.get_by_role("searchbox")).to_be_focused()


async def test_the_first_link_skips_to_the_message_field(page: Page) -> None:
    await open_page(page)
    await page.get_by_role("link", name="Legato").focus()
    await page.keyboard.press("Shift+Tab")
    skip = page.get_by_role("link", name="Skip to the message field")
    await expect(skip).to_be_focused()
    await page.keyboard.press("Enter")
    await expect(page.get_by_label("Message", exact=True)).to_be_focused()


async def test_a_new_conversation_can_have_another_assistant(page: Page) -> None:
    await open_page(page)
    await page.locator(".assistants").get_by_text("slow").click()
    await send_message(page, "Hello there")
    await wait_for_reply(page)
    await expect(page.locator(".assistant-label")).to_contain_text("slow")
