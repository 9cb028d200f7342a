"""Slash commands: the menu, the results, invitations and exports."""

import re

import pytest
from playwright.async_api import Page, expect

from .conftest import Server, open_page, open_with_assistant, send_message, wait_for_reply

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]


async def test_a_slash_opens_the_command_menu_and_the_result_is_not_a_message(page: Page) -> None:
    await open_page(page)
    await send_message(page, "Hello")
    await wait_for_reply(page)
    field = page.get_by_label("Message", exact=True)
    await field.press_sequentially("/he")
    await expect(page.get_by_role("option")).to_have_count(1)
    await page.keyboard.press("Enter")
    await expect(field).to_have_value("/help ")
    await page.keyboard.press("Enter")
    await expect(page.get_by_label("Result of /help")).to_contain_text("/stop")
    assert await page.locator(".user-text").all_inner_texts() == ["Hello"]
    await send_message(page, "Again")
    await wait_for_reply(page, 2)
    await expect(page.get_by_label("Result of /help")).to_have_count(0)


async def test_a_command_is_sent_while_a_reply_is_running(page: Page, server: Server) -> None:
    await open_with_assistant(page, server, "patient")
    await send_message(page, " ".join(["word"] * 400))
    await page.wait_for_selector(".prose.live")
    await send_message(page, "/stop")
    await expect(page.get_by_text("You stopped it here.")).to_be_visible()


async def test_escape_closes_the_command_menu(page: Page) -> None:
    await open_page(page)
    field = page.get_by_label("Message", exact=True)
    await field.press_sequentially("/")
    await expect(page.get_by_role("option").nth(1)).to_be_visible()
    help_of_model = page.get_by_role("option").filter(has_text="/model [")
    await expect(help_of_model.locator(".muted code")).to_have_text("/model default")
    await expect(page.get_by_role("listbox")).not_to_contain_text("`")
    await page.keyboard.press("ArrowDown")
    await expect(page.get_by_role("option").nth(1)).to_have_attribute("aria-selected", "true")
    await page.keyboard.press("Escape")
    await expect(page.get_by_role("listbox")).to_have_count(0)
    await expect(field).to_have_value("/")


async def test_the_invite_command_shows_a_complete_link(page: Page, server: Server) -> None:
    await open_page(page)
    await send_message(page, "Hello")
    await wait_for_reply(page)
    await send_message(page, "/invite ")
    answer = page.get_by_label("Result of /invite")
    await expect(answer.locator("code")).to_have_text(re.compile(rf"^{server.address}/#/join/[\w-]+$"))
    await expect(answer).not_to_contain_text("Put it")


async def test_an_export_can_be_copied_and_saved(page: Page) -> None:
    await page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    await open_page(page)
    await send_message(page, "\n\n".join(["**Hello**"] * 60))
    await wait_for_reply(page)
    await send_message(page, "/export ")
    answer = page.get_by_label("Result of /export")
    await expect(answer.locator("pre")).to_contain_text("**Hello**")
    await expect(answer.locator("pre")).to_be_in_viewport()
    assert await answer.locator("pre").evaluate("e => e.scrollTop") == 0
    await expect(answer.get_by_role("button", name="Close")).to_be_in_viewport()
    await answer.get_by_role("button", name="Copy").click()
    assert (await page.evaluate("navigator.clipboard.readText()")).startswith("# Hello")
    async with page.expect_download() as saving:
        await answer.get_by_role("button", name="Save as a file").click()
    saved = await saving.value
    assert saved.suggested_filename.endswith(".md")
    assert (await saved.path()).read_text().startswith("# Hello")


async def test_a_long_export_is_saved_as_a_file(page: Page) -> None:
    await open_page(page)
    await send_message(page, "x" * 60_000)
    await wait_for_reply(page)
    await send_message(page, "/export ")
    answer = page.get_by_label("Result of /export")
    await expect(answer).to_contain_text("Save it as a file.")
    async with page.expect_download() as saving:
        await answer.get_by_role("button", name="Save as a file").click()
    assert len((await (await saving.value).path()).read_text()) > 60_000
