"""Pictures that are sent with a message."""

import base64
from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from .checks import assert_accessible, assert_fits, take_screenshot
from .conftest import open_page, send_message, wait_for_reply

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

PICTURE = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
)


async def test_a_selected_picture_is_sent_and_shown_after_a_reload(page: Page) -> None:
    await open_page(page)
    file = {"name": "dot.png", "mimeType": "image/png", "buffer": PICTURE}
    await page.locator("input[type=file]").set_input_files([file])  # type: ignore[list-item]
    await expect(page.get_by_label("Files for this message")).to_contain_text("dot.png")
    await expect(page.get_by_label("uploading")).to_have_count(0)
    await send_message(page, "What is this?")
    await expect(page.get_by_label("Files for this message")).to_have_count(0)
    picture = page.get_by_alt_text("A picture that was sent")
    await expect(picture).to_be_visible()
    await page.reload()
    await expect(picture).to_be_visible()
    assert await picture.evaluate("each => each.naturalWidth") == 1


async def test_a_picture_can_be_pasted(page: Page) -> None:
    await open_page(page)
    await page.get_by_label("Message", exact=True).evaluate(
        """(field, bytes) => {
            const data = new DataTransfer();
            data.items.add(new File([Uint8Array.from(atob(bytes), c => c.charCodeAt(0))], "pasted.png", { type: "image/png" }));
            field.dispatchEvent(new ClipboardEvent("paste", { clipboardData: data, bubbles: true, cancelable: true }));
        }""",
        base64.b64encode(PICTURE).decode(),
    )
    await expect(page.get_by_label("Files for this message")).to_contain_text("pasted.png")
    await expect(page.get_by_role("button", name="Send")).to_be_enabled()


async def test_an_invalid_picture_is_rejected_with_a_reason_and_can_be_removed(page: Page) -> None:
    await open_page(page)
    file = {"name": "virus.png", "mimeType": "image/png", "buffer": b"MZ this is no picture"}
    await page.locator("input[type=file]").set_input_files([file])  # type: ignore[list-item]
    await expect(page.locator(".attachment .error")).not_to_be_empty()
    await expect(page.get_by_role("button", name="Send")).to_be_disabled()
    await send_message(page, "Look at this")
    await expect(page.locator(".notice")).to_have_text("A file was rejected. Remove it, then send.")
    await expect(page.locator(".user-text")).to_have_count(0)
    await page.get_by_role("button", name="Remove virus.png").click()
    await expect(page.get_by_label("Files for this message")).to_have_count(0)
    await page.keyboard.press("Escape")
    await page.get_by_role("button", name="Send").click()
    assert await wait_for_reply(page) == "Look at this"


async def test_a_file_that_is_too_large_is_rejected_before_the_upload(page: Page) -> None:
    uploads: list[str] = []
    page.on("request", lambda each: uploads.append(each.url) if "/api/attachments" in each.url else None)
    await open_page(page)
    # The file is made in the page: sending so much to the browser takes long.
    await page.locator("input[type=file]").evaluate(
        """(input) => {
            const data = new DataTransfer();
            const bytes = new Uint8Array(21 * 1024 * 1024);
            data.items.add(new File([bytes], "a-very-long-name-of-a-file.png", { type: "image/png" }));
            input.files = data.files;
            input.dispatchEvent(new Event("change", { bubbles: true }));
        }"""
    )
    await expect(page.locator(".attachment .error")).to_have_text(
        "This file is too large: 21 MiB. The limit is 20 MiB. Make it smaller and add it again."
    )
    name = await page.locator(".attachment .name").bounding_box()
    assert name is not None
    assert name["width"] == 160
    assert uploads == []


async def test_a_picture_can_be_dropped_anywhere_on_the_page(page: Page) -> None:
    await open_page(page)
    prevented = await page.locator(".sidebar").evaluate(
        """(element, bytes) => {
            const data = new DataTransfer();
            data.items.add(new File([Uint8Array.from(atob(bytes), c => c.charCodeAt(0))], "dropped.png", { type: "image/png" }));
            const dispatch = name => !element.dispatchEvent(new DragEvent(name, { dataTransfer: data, bubbles: true, cancelable: true }));
            return [dispatch("dragover"), dispatch("drop")];
        }""",
        base64.b64encode(PICTURE).decode(),
    )
    assert prevented == [True, True]
    await expect(page.get_by_label("Files for this message")).to_contain_text("dropped.png")


PASTE = """(field, text) => {
    const data = new DataTransfer();
    data.setData("text/plain", text);
    field.dispatchEvent(new ClipboardEvent("paste", { clipboardData: data, bubbles: true, cancelable: true }));
}"""


async def test_a_paste_beyond_the_limit_becomes_a_text_file(page: Page, node_modules: Path) -> None:
    await open_page(page)
    field = page.get_by_label("Message", exact=True)
    await field.evaluate(PASTE, "<b>bold</b> & more words\n" * 4000)
    await expect(page.get_by_label("Files for this message")).to_contain_text("pasted.txt")
    await expect(page.get_by_label("Files for this message")).to_contain_text("97.7 KiB")
    await expect(page.locator(".notice")).to_contain_text("too long for a message, so it was added as a file")
    await expect(field).to_have_value("")
    await page.reload()
    await expect(page.get_by_label("Files for this message")).to_contain_text("pasted.txt")
    await page.wait_for_selector("[data-phase=live]")
    await send_message(page, "Read this")
    file = page.get_by_role("button", name="pasted.txt")
    await expect(file).to_be_visible()
    await wait_for_reply(page)
    await page.reload()
    await file.click()
    dialog = page.get_by_role("dialog", name="pasted.txt")
    await expect(dialog.locator("pre")).to_contain_text("<b>bold</b> & more words")
    for width in (320, 1440):
        await page.set_viewport_size({"width": width, "height": 740})
        await assert_fits(page)
        await take_screenshot(page, f"file-{width}")
    await assert_accessible(page, node_modules)
    await page.keyboard.press("Escape")
    await expect(dialog).to_have_count(0)
    await expect(file).to_be_focused()


async def test_a_shorter_paste_stays_text(page: Page) -> None:
    await open_page(page)
    field = page.get_by_label("Message", exact=True)
    prevented = await field.evaluate(PASTE.replace("field.dispatch", "return !field.dispatch"), "a few words")
    assert prevented is False
    await expect(page.get_by_label("Files for this message")).to_have_count(0)


async def test_text_files_are_dropped_and_others_rejected(page: Page) -> None:
    await open_page(page)
    files = [
        {"name": "table.csv", "mimeType": "text/csv", "buffer": b"a,b\n1,2\n"},
        {"name": "main.rs", "mimeType": "", "buffer": b"fn main() {}\n"},
        {"name": "app.exe", "mimeType": "application/octet-stream", "buffer": b"MZ" + bytes(100)},
    ]
    await page.locator("input[type=file]").set_input_files(files)  # type: ignore[arg-type]
    await expect(page.locator(".attachment .error")).to_contain_text("not text in UTF-8")
    await page.get_by_role("button", name="Remove app.exe").click()
    await expect(page.get_by_label("uploading")).to_have_count(0)
    await send_message(page, "Look")
    await expect(page.locator(".user-text .attachment.file")).to_have_count(2)
    assert "fn main() {}" in await wait_for_reply(page)
