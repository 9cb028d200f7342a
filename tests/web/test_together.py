"""People in one conversation, commands, and tools that ask: as somebody with a browser meets them."""

import base64
import json
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import jwt
import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, WebSocketRoute, expect

from .conftest import SECRET, Server, ended, opened, say, with_assistant

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]

Visit = Callable[..., Awaitable[Page]]


@pytest_asyncio.fixture(loop_scope="module")
async def visit(browser: Browser, locked_server: Server) -> AsyncIterator[Visit]:
    """A page of a person of one's own, with a browser of their own."""
    contexts = []

    async def visit(user: str, fragment: str = "") -> Page:
        context = await browser.new_context(base_url=locked_server.address, reduced_motion="reduce")
        contexts.append(context)
        page = await context.new_page()
        claims = {"sub": user, "name": user.title(), "exp": time.time() + 600}
        token = jwt.encode(claims, SECRET, algorithm="HS256")
        await opened(page, f"/#token={token}")
        if fragment:
            await page.goto(f"/{fragment}")
            await page.reload()
            await page.wait_for_selector("[data-phase=live]")
        return page

    yield visit
    for context in contexts:
        await context.close()


async def invitation(page: Page, which: str) -> str:
    """A link made in the dialog, as far as it goes behind the address."""
    await page.get_by_role("button", name="People").click()
    await page.get_by_role("button", name=which).click()
    link = await page.get_by_label("Invitation").input_value()
    await page.keyboard.press("Escape")
    await expect(page.get_by_role("dialog")).to_have_count(0)
    return link[link.index("#") :]


async def test_whoever_has_the_link_takes_part_and_both_see_all(visit: Visit) -> None:
    ada = await visit("ada")
    await say(ada, "Hello from Ada")
    await ended(ada)
    ben = await visit("ben", await invitation(ada, "Link for writing along"))
    await expect(ben.locator(".said")).to_have_text("Hello from Ada")
    await expect(ben.locator(".author")).to_have_text("Ada")
    assert "join" not in ben.url
    await expect(ada.locator(".people-button")).to_contain_text("Ben is here")

    await ben.get_by_label("Message", exact=True).press_sequentially("Hello from Ben")
    await expect(ada.locator(".notice")).to_have_text("Ben is writing")
    await ben.keyboard.press("Enter")
    assert await ended(ada, 2) == await ended(ben, 2) == "Hello from Ben"
    await expect(ada.locator(".notice")).to_have_text("")

    await ben.close()
    await expect(ada.locator(".people-button")).not_to_contain_text("is here")


async def test_whoever_may_only_read_is_told_so_and_can_be_sent_away(visit: Visit) -> None:
    ada = await visit("ada")
    await say(ada, "Read this")
    await ended(ada)
    eve = await visit("eve", await invitation(ada, "Link for reading along"))
    await expect(eve.locator(".said")).to_have_text("Read this")
    await expect(eve.get_by_label("Message", exact=True)).to_be_disabled()
    await expect(eve.get_by_placeholder("You can read along here")).to_be_visible()

    await expect(ada.locator(".people-button")).to_contain_text("Eve is here")
    await ada.locator(".people-button").click()
    await ada.get_by_role("button", name="Remove").click()
    await expect(eve.get_by_role("heading", name="you are no longer in it")).to_be_visible()
    await expect(eve.locator(".said")).to_have_count(0)
    await expect(ada.get_by_role("dialog").get_by_text("Eve")).to_have_count(0)


async def test_an_invitation_that_is_none_says_so(visit: Visit) -> None:
    page = await visit("ada", "#/join/nothing")
    await expect(page.locator(".notice")).not_to_be_empty()
    assert page.url.endswith("/")


async def test_a_slash_opens_the_commands_and_their_answer_is_nobodys_message(page: Page) -> None:
    await opened(page)
    await say(page, "Hello")
    await ended(page)
    field = page.get_by_label("Message", exact=True)
    await field.press_sequentially("/he")
    await expect(page.get_by_role("option")).to_have_count(1)
    await page.keyboard.press("Enter")
    await expect(field).to_have_value("/help ")
    await page.keyboard.press("Enter")
    await expect(page.get_by_label("Answer to /help")).to_contain_text("/stop")
    assert await page.locator(".said").all_inner_texts() == ["Hello"]
    await say(page, "Again")
    await ended(page, 2)
    await expect(page.get_by_label("Answer to /help")).to_have_count(0)


async def test_a_command_is_taken_while_a_reply_is_written(page: Page, server: Server) -> None:
    await with_assistant(page, server, "patient")
    await say(page, " ".join(["word"] * 400))
    await page.wait_for_selector(".prose.live")
    await say(page, "/stop")
    await expect(page.get_by_text("You stopped it here.")).to_be_visible()


async def test_the_commands_can_be_left_with_escape(page: Page) -> None:
    await opened(page)
    field = page.get_by_label("Message", exact=True)
    await field.press_sequentially("/")
    await expect(page.get_by_role("option").nth(1)).to_be_visible()
    help_of_model = page.get_by_role("option").filter(has_text="/model [")
    await expect(help_of_model.locator(".quiet code")).to_have_text("/model default")
    await expect(page.get_by_role("listbox")).not_to_contain_text("`")
    await page.keyboard.press("ArrowDown")
    await expect(page.get_by_role("option").nth(1)).to_have_attribute("aria-selected", "true")
    await page.keyboard.press("Escape")
    await expect(page.get_by_role("listbox")).to_have_count(0)
    await expect(field).to_have_value("/")


async def test_a_tool_stands_where_it_was_used_unfolds_and_asks(page: Page) -> None:
    """The server's part is played here, in the words of the protocol: what matters is what the page makes of it."""
    said: list[dict[str, object]] = []
    at = "2026-01-01T00:00:00.000Z"
    view = {"id": "c", "title": "Rooms", "assistant": "default", "revision": 2, "created_at": at, "updated_at": at, "head": "r"}  # fmt: skip
    common = {"conversation": "c", "created_at": at}
    messages = [
        {"id": "q", "role": "user", "status": "complete", "text": "Which rooms?", "revision": 1, **common},
        {"id": "r", "role": "assistant", "status": "streaming", "parent": "q", "revision": 2, **common},
    ]
    offset = 0

    def play(socket: WebSocketRoute) -> None:
        def tell(*events: dict[str, object]) -> None:
            nonlocal offset
            frame = {"type": "delta", "stream": "r", "epoch": "e", "from": offset, "to": offset + len(events)}
            offset += len(events)
            socket.send(json.dumps({**frame, "events": events}))

        def hear(message: str | bytes) -> None:
            command = json.loads(message)
            said.append(command)
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
                tell(
                    {"type": "text", "text": "Let me look."},
                    {"type": "tool_started", "call": "1", "name": "find_documents", "arguments": '{"n":3}'},
                    {"type": "tool_finished", "call": "1", "output": "three rooms"},
                    {"type": "text", "text": "There are three. I shall book one."},
                    {"type": "tool_asked", "call": "2", "name": "book", "arguments": "{}"},
                )
            if command["type"] == "approve":
                tell(
                    {"type": "tool_started", "call": "2", "name": "book", "arguments": "{}"},
                    {"type": "tool_finished", "call": "2", "output": "no room is free", "failed": True},
                    {"type": "text", "text": "It did not work."},
                    {"type": "finished", "reason": "stop"},
                )

        socket.on_message(hear)
        socket.send(json.dumps({"type": "welcome", "user": "local", "server": "0"}))

    await page.route_web_socket("**/ws", play)
    await opened(page, "/c/c")
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
    assert [each for each in said if each["type"] == "approve"] == [
        {
            "type": "approve",
            "id": said[-1]["id"],
            "conversation": "c",
            "message": "r",
            "call": "2",
            "allow": True,
        }
    ]


async def test_a_new_conversation_can_be_with_another_assistant(page: Page) -> None:
    await opened(page)
    await page.locator(".assistants").get_by_text("slow").click()
    await say(page, "Hello there")
    await ended(page)
    await expect(page.locator(".who")).to_contain_text("slow")


PICTURE = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
)


async def test_a_picture_is_picked_sent_and_shown_again(page: Page) -> None:
    await opened(page)
    file = {"name": "dot.png", "mimeType": "image/png", "buffer": PICTURE}
    await page.locator("input[type=file]").set_input_files([file])  # type: ignore[list-item]
    await expect(page.get_by_label("Files for this message")).to_contain_text("dot.png")
    await expect(page.get_by_label("is being sent")).to_have_count(0)
    await say(page, "What is this?")
    await expect(page.get_by_label("Files for this message")).to_have_count(0)
    picture = page.get_by_alt_text("A picture that was sent")
    await expect(picture).to_be_visible()
    await page.reload()
    await expect(picture).to_be_visible()
    assert await picture.evaluate("each => each.naturalWidth") == 1


async def test_a_picture_is_pasted(page: Page) -> None:
    await opened(page)
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


async def test_a_file_that_is_no_picture_is_refused_with_a_reason_and_can_be_left_out(page: Page) -> None:
    await opened(page)
    file = {"name": "virus.png", "mimeType": "image/png", "buffer": b"MZ this is no picture"}
    await page.locator("input[type=file]").set_input_files([file])  # type: ignore[list-item]
    await expect(page.locator(".enclosure .trouble")).not_to_be_empty()
    await expect(page.get_by_role("button", name="Send")).to_be_disabled()
    await say(page, "Look at this")
    await expect(page.locator(".notice")).to_have_text("A file was not taken. Leave it out, then send.")
    await expect(page.locator(".said")).to_have_count(0)
    await page.get_by_role("button", name="Leave virus.png out").click()
    await expect(page.get_by_label("Files for this message")).to_have_count(0)
    await page.keyboard.press("Escape")
    await page.get_by_role("button", name="Send").click()
    assert await ended(page) == "Look at this"


async def test_a_file_that_is_too_large_is_told_so_before_it_is_sent(page: Page) -> None:
    uploads: list[str] = []
    page.on("request", lambda each: uploads.append(each.url) if "/api/attachments" in each.url else None)
    await opened(page)
    file = {
        "name": "a-very-long-name-of-a-file.png",
        "mimeType": "image/png",
        "buffer": bytes(21 * 1024 * 1024),
    }
    await page.locator("input[type=file]").set_input_files([file])  # type: ignore[list-item]
    await expect(page.locator(".enclosure .trouble")).to_have_text(
        "This file is too large: 21 MiB, and 20 MiB is the most. Make it smaller and add it again."
    )
    name = await page.locator(".enclosure .name").bounding_box()
    assert name is not None
    assert name["width"] == 160
    assert uploads == []


async def test_a_picture_is_taken_wherever_on_the_page_it_is_dropped(page: Page) -> None:
    await opened(page)
    prevented = await page.locator(".rail").evaluate(
        """(place, bytes) => {
            const data = new DataTransfer();
            data.items.add(new File([Uint8Array.from(atob(bytes), c => c.charCodeAt(0))], "dropped.png", { type: "image/png" }));
            const happen = name => !place.dispatchEvent(new DragEvent(name, { dataTransfer: data, bubbles: true, cancelable: true }));
            return [happen("dragover"), happen("drop")];
        }""",
        base64.b64encode(PICTURE).decode(),
    )
    assert prevented == [True, True]
    await expect(page.get_by_label("Files for this message")).to_contain_text("dropped.png")


async def test_an_invitation_by_command_is_a_whole_link(page: Page, server: Server) -> None:
    await opened(page)
    await say(page, "Hello")
    await ended(page)
    await say(page, "/invite ")
    answer = page.get_by_label("Answer to /invite")
    await expect(answer.locator("code")).to_have_text(re.compile(rf"^{server.address}/#/join/[\w-]+$"))
    await expect(answer).not_to_contain_text("Put it")


async def test_an_export_is_text_to_copy_and_to_save(page: Page) -> None:
    await page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    await opened(page)
    await say(page, "\n\n".join(["**Hello**"] * 60))
    await ended(page)
    await say(page, "/export ")
    answer = page.get_by_label("Answer to /export")
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


async def test_an_export_too_long_to_be_shown_is_saved_as_a_file(page: Page) -> None:
    await opened(page)
    await say(page, "x" * 60_000)
    await ended(page)
    await say(page, "/export ")
    answer = page.get_by_label("Answer to /export")
    await expect(answer).to_contain_text("Save it as a file.")
    async with page.expect_download() as saving:
        await answer.get_by_role("button", name="Save as a file").click()
    assert len((await (await saving.value).path()).read_text()) > 60_000
