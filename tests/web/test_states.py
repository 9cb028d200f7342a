"""Honest states, and no state that is wider than a small screen."""

from collections.abc import Callable
from typing import Any

import pytest
from playwright.async_api import Page, Route, expect

from .checks import assert_fits, take_screenshot
from .conftest import Server, open_page, send_message, wait_for_reply
from .scripted import QUESTION, REPLY, VIEW, ScriptedServer
from .test_attachments import PICTURE

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

LONG_WORD = "Donaudampfschifffahrtsgesellschaftskapitänsmützenabzeichen" * 3
SENTENCE = "word " * 60
COMPLETE = REPLY | {"status": "complete", "text": "An answer.", "revision": 2, "model": "model/" + "x" * 60}

AnyState = Callable[[ScriptedServer], Any]


async def cut(scripted: ScriptedServer) -> None:
    await scripted.open()
    scripted.send_event(type="text", text=f"{SENTENCE} {LONG_WORD}")
    await expect(scripted.page.locator(".prose")).to_contain_text("word")
    assert scripted.socket is not None
    await scripted.socket.close(code=1012)
    await expect(scripted.page.get_by_role("button", name="Reconnect")).to_be_visible()
    await send_message(scripted.page, "a message while off")
    await expect(scripted.page.locator(".notice")).to_contain_text("The connection is cut.")
    await expect(scripted.page.get_by_role("button", name="Stop")).to_be_in_viewport(ratio=1)


async def refused(scripted: ScriptedServer) -> None:
    await scripted.open()
    assert scripted.socket is not None
    await scripted.socket.close(code=4008, reason="too many connections")
    await expect(scripted.page.get_by_text("Not connected")).to_be_in_viewport(ratio=1)


async def notice(scripted: ScriptedServer) -> None:
    await scripted.open()
    scripted.send(type="error", code="busy", message=f"{SENTENCE}{LONG_WORD}")
    await expect(scripted.page.locator(".notice")).to_contain_text("Donau")
    await expect(scripted.page.get_by_role("button", name="Dismiss")).to_be_attached()
    await expect(scripted.page.get_by_role("button", name="Stop")).to_be_in_viewport(ratio=1)


async def failed(scripted: ScriptedServer) -> None:
    scripted.messages = [
        QUESTION | {"text": LONG_WORD},
        REPLY | {"status": "interrupted", "text": LONG_WORD, "detail": SENTENCE + LONG_WORD, "revision": 2},
    ]
    await scripted.open()
    await expect(scripted.page.get_by_role("button", name="Try again")).to_be_visible()


async def waiting(scripted: ScriptedServer) -> None:
    await scripted.open()
    scripted.send_event(type="state", phase="loading", model=LONG_WORD, detail=SENTENCE)
    await expect(scripted.page.locator(".waiting")).to_contain_text("Loading")


async def tools(scripted: ScriptedServer) -> None:
    await scripted.open()
    scripted.send_event(type="reasoning", text=SENTENCE + LONG_WORD)
    scripted.send_event(type="text", text="Let me look.")
    scripted.send_event(type="tool_asked", call="1", name=LONG_WORD, arguments='{"a": "' + LONG_WORD + '"}')
    await scripted.page.get_by_text("Reasoning").click()
    await expect(scripted.page.get_by_role("button", name="Allow")).to_be_visible()


async def command(scripted: ScriptedServer) -> None:
    await scripted.open()
    scripted.send(type="command", name="invite", text=f"# {LONG_WORD}\n\n`{LONG_WORD}`\n\n- {SENTENCE}")
    await expect(scripted.page.get_by_role("button", name="Close")).to_be_visible()


async def exported(scripted: ScriptedServer) -> None:
    await scripted.open()
    data = {"type": "export", "format": "markdown", "content": SENTENCE + LONG_WORD}
    scripted.send(type="command", name="export", text="", data=data)
    box = await scripted.page.locator(".exported").bounding_box()
    assert box is not None
    assert box["width"] > 220


async def rich(scripted: ScriptedServer) -> None:
    text = (
        f"# {LONG_WORD}\n\n| {LONG_WORD} | b |\n|---|---|\n| 1 | {SENTENCE} |\n\n```\n{SENTENCE}\n```\n\n"
        f"- {LONG_WORD}\n  - `{LONG_WORD}`\n\n> {LONG_WORD}\n\n$$ {'x + ' * 60} y $$\n\nSo ${'x' * 80}$ it is."
    )
    scripted.messages = [QUESTION | {"text": LONG_WORD}, COMPLETE | {"text": text}]
    await scripted.open()
    await expect(scripted.page.locator(".katex")).to_have_count(2)


async def people(scripted: ScriptedServer) -> None:
    await scripted.open()
    everybody = [
        {"user": "local", "standing": "owner", "present": True},
        {"user": "eve", "standing": "viewer", "name": LONG_WORD, "present": True, "typing": True},
    ]
    scripted.send(type="people", conversation="c", people=everybody)
    await scripted.page.get_by_role("button", name="People").click()
    await expect(scripted.page.get_by_role("button", name="Remove")).to_be_in_viewport(ratio=1)


async def viewer(scripted: ScriptedServer) -> None:
    scripted.view = VIEW | {"standing": "viewer", "title": LONG_WORD}
    scripted.messages = [QUESTION | {"text": "Hello"}, COMPLETE]
    await scripted.open()
    await expect(scripted.page.get_by_placeholder("You can only read here")).to_be_visible()


async def attachments(scripted: ScriptedServer) -> None:
    scripted.messages = [QUESTION | {"text": "Hello"}, COMPLETE]
    await scripted.open()
    files = [
        {"name": "notes.pdf", "mimeType": "application/pdf", "buffer": b"%PDF-1.4"},
        {"name": f"{LONG_WORD}.png", "mimeType": "image/png", "buffer": PICTURE},
    ]
    await scripted.page.locator("input[type=file]").set_input_files(files)  # type: ignore[arg-type]
    await expect(scripted.page.locator(".attachment .error")).to_be_visible()


async def file(scripted: ScriptedServer) -> None:
    part = {"type": "file", "attachment": "f", "name": f"{LONG_WORD}.txt", "size": 1536}
    scripted.messages = [QUESTION | {"text": "Read this", "parts": [part]}, COMPLETE]
    await scripted.page.route(
        "**/api/attachments/f", lambda route: route.fulfill(body=f"{SENTENCE}\n{LONG_WORD}")
    )
    await scripted.open()
    await scripted.page.get_by_title("Show Donau").click()
    await expect(scripted.page.locator(".file-dialog pre")).to_be_visible()


async def missing(scripted: ScriptedServer) -> None:
    await open_page(scripted.page, "/c/nothing-of-this-name")
    await expect(
        scripted.page.get_by_text("This conversation does not exist or is not yours")
    ).to_be_visible()


STATES: list[AnyState] = [
    cut,
    refused,
    notice,
    failed,
    waiting,
    tools,
    command,
    exported,
    rich,
    people,
    viewer,
    attachments,
    file,
    missing,
]


OUTSIDE = """() => [...document.querySelectorAll('.main-panel button, .main-panel textarea, .top-bar *, dialog[open] *')]
    .filter(e => e.checkVisibility() && !e.closest('.table, pre, .math, .sr-only'))
    .filter(e => { const r = e.getBoundingClientRect(); return r.width > 0 && (r.right > innerWidth + 1 || r.left < -1); })
    .map(e => `${e.tagName} ${e.className} ${e.textContent.slice(0, 40)}`)"""


@pytest.mark.parametrize("state", STATES, ids=lambda state: state.__name__)
async def test_no_state_is_wider_than_its_screen(scripted: ScriptedServer, state: AnyState) -> None:
    page = scripted.page
    await page.set_viewport_size({"width": 320, "height": 640})
    await state(scripted)
    for width, height in ((320, 640), (390, 844), (768, 1024), (1440, 900)):
        await page.set_viewport_size({"width": width, "height": height})
        await assert_fits(page)
        assert await page.evaluate(OUTSIDE) == []
        await take_screenshot(page, f"state-{state.__name__}-{width}-light")
        await page.emulate_media(color_scheme="dark")
        await take_screenshot(page, f"state-{state.__name__}-{width}-dark")
        await page.emulate_media(color_scheme="light")


async def set_engines(page: Page, **engines: bool) -> None:
    """Let the server say whether its engines can answer."""

    async def answer(route: Route) -> None:
        await route.fulfill(
            json={"ready": True, "engines": {name: {"ok": ok} for name, ok in engines.items()}}
        )

    await page.route("**/ready", answer)


async def test_an_engine_that_is_down_is_not_shown_as_ready(page: Page) -> None:
    await set_engines(page, demo=False)
    await open_page(page)
    await expect(page.get_by_role("heading", name="demo:echo cannot answer now")).to_be_visible()
    await expect(page.locator(".assistant-label")).to_contain_text("cannot answer now")
    await set_engines(page, demo=True)
    await expect(page.get_by_role("heading", name="Chat with demo:echo")).to_be_visible(timeout=15_000)
    await expect(page.locator(".assistant-label")).not_to_contain_text("cannot answer now")


async def test_the_header_names_the_model_that_answers_next(page: Page) -> None:
    await open_page(page)
    await send_message(page, "/model demo:canned")
    await expect(page.get_by_label("Result of /model")).to_contain_text("demo:canned")
    await expect(page.locator(".assistant-label")).to_contain_text("demo:canned")
    await page.reload()
    await expect(page.get_by_role("heading", name="Chat with demo:canned")).to_be_visible()
    await send_message(page, "Hello")
    await wait_for_reply(page)
    await expect(page.locator(".assistant-label")).to_contain_text("demo:canned")
    await expect(page.locator(".reply-stats")).to_contain_text("demo:canned")


async def test_a_reply_at_its_limit_says_so_and_can_continue(scripted: ScriptedServer) -> None:
    scripted.messages = [
        QUESTION | {"text": "Hello"},
        COMPLETE | {"usage": {"completion_tokens": 3, "at_limit": True}},
    ]
    await scripted.open()
    await expect(scripted.page.get_by_text("The reply reached its length limit here.")).to_be_visible()
    await scripted.page.get_by_role("button", name="Continue").click()
    await expect(scripted.page.locator(".pending")).to_have_count(1)
    assert scripted.received[-1]["text"] == "Continue."
    # The button is gone. The focus is not lost.
    await expect(scripted.page.get_by_label("Message", exact=True)).to_be_focused()


async def test_a_lost_agent_is_shown_below_the_text_until_it_goes_on(scripted: ScriptedServer) -> None:
    await scripted.open()
    scripted.send_event(type="text", text="One, ")
    scripted.send_event(type="state", phase="loading", agent="attic", detail="attic was disconnected.")
    await expect(scripted.page.locator(".waiting")).to_have_text("attic was disconnected.", timeout=2_000)
    await expect(scripted.page.locator(".prose")).to_have_text("One,")
    scripted.send_event(type="state", phase="answering", agent="attic")
    scripted.send_event(type="text", text="two.")
    await expect(scripted.page.locator(".waiting")).to_have_count(0)
    await expect(scripted.page.locator(".prose")).to_have_text("One, two.")


async def test_a_refused_tool_is_refused_and_a_waiting_one_is_announced(scripted: ScriptedServer) -> None:
    await scripted.open()
    scripted.send_event(type="tool_asked", call="1", name="book", arguments="{}")
    await expect(scripted.page.locator("[aria-live]")).to_contain_text("The tool book asks to run.")
    scripted.send_event(type="tool_finished", call="1", output="A user refused this tool.", failed=True)
    await expect(scripted.page.locator(".tool-card .muted").first).to_have_text("refused")
    parts = [
        {"type": "tool_call", "call": "1", "name": "book", "arguments": "{}"},
        {"type": "tool_result", "call": "1", "name": "book", "output": "no", "failed": True, "refused": True},
        {"type": "text", "text": "It was refused."},
    ]
    stored = REPLY | {"status": "complete", "text": "It was refused.", "parts": parts, "revision": 3}
    scripted.send(type="message", message=stored)
    await expect(scripted.page.locator(".reply-stats")).to_be_attached()
    await expect(scripted.page.locator(".tool-card .muted").first).to_have_text("refused")


async def test_a_viewer_is_not_shown_what_a_viewer_may_not_do(scripted: ScriptedServer) -> None:
    scripted.view = VIEW | {"standing": "viewer"}
    scripted.messages = [
        QUESTION | {"text": "Hello"},
        REPLY | {"status": "interrupted", "text": "An", "detail": "It broke off.", "revision": 2},
    ]
    await scripted.open()
    await expect(scripted.page.get_by_text("It broke off.")).to_be_visible()
    for name in ("Edit", "Another reply", "Try again", "Send", "Add a file"):
        await expect(scripted.page.get_by_role("button", name=name)).to_have_count(0)


async def test_clear_leaves_a_divider(page: Page) -> None:
    await open_page(page)
    await send_message(page, "Hello")
    await wait_for_reply(page)
    await send_message(page, "/clear ")
    divider = page.get_by_role("separator")
    await expect(divider).to_have_text("The model reads nothing above this line")
    await page.reload()
    await expect(divider).to_be_visible()


async def test_a_command_typed_offline_waits(page: Page) -> None:
    await open_page(page)
    await send_message(page, "Hello")
    await wait_for_reply(page)
    await page.context.set_offline(True)
    await expect(page.locator("[data-phase=offline]")).to_be_visible()
    await send_message(page, "/title A calmer name")
    await expect(page.get_by_text("is sent when the connection is back")).to_be_visible()
    await page.context.set_offline(False)
    await expect(page.locator("h1")).to_have_text("A calmer name")
    await expect(page.locator(".user-text")).to_have_count(1)


async def test_attachments_stay_with_their_conversation_and_survive_a_reload(page: Page) -> None:
    await open_page(page)
    await send_message(page, "Hello")
    await wait_for_reply(page)
    file = {"name": "dot.png", "mimeType": "image/png", "buffer": PICTURE}
    await page.locator("input[type=file]").set_input_files([file])  # type: ignore[list-item]
    files = page.get_by_label("Files for this message")
    await expect(files).to_contain_text("dot.png")
    await expect(page.get_by_label("uploading")).to_have_count(0)
    await page.get_by_role("button", name="New conversation").click()
    await expect(files).to_have_count(0)
    await page.go_back()
    await expect(files).to_contain_text("dot.png")
    await page.reload()
    await expect(files).to_contain_text("dot.png")
    await send_message(page, "What is this?")
    await expect(page.get_by_alt_text("A picture that was sent")).to_be_visible()
    await expect(files).to_have_count(0)


async def test_a_search_opens_the_message_and_highlights_it(page: Page) -> None:
    await open_page(page)
    await send_message(page, "The quokka smiles.")
    await wait_for_reply(page)
    await send_message(page, "\n\n".join(f"line {n}" for n in range(80)))
    await wait_for_reply(page, 2)
    await page.get_by_role("button", name="New conversation").click()
    await page.get_by_role("searchbox").fill("quokka")
    await expect(page.locator(".item .snippet").first).to_contain_text("quokka")
    await page.locator(".item a").first.click()
    await expect(page.get_by_text("The quokka smiles.").first).to_be_in_viewport()
    await page.wait_for_function("CSS.highlights.get('search')?.size >= 1")


async def test_a_search_opens_the_branch_of_its_message(page: Page) -> None:
    await open_page(page)
    await send_message(page, "The axolotl waves.")
    await wait_for_reply(page)
    await page.get_by_label("Message", exact=True).press("ArrowUp")
    editor = page.get_by_label("Edit your message")
    await editor.fill("The newt waves.")
    await editor.press("Enter")
    await expect(page.locator(".user-text")).to_have_text("The newt waves.")
    await wait_for_reply(page)
    await page.get_by_role("button", name="New conversation").click()
    await page.get_by_role("searchbox").fill("axolotl")
    await expect(page.locator(".item .snippet").first).to_contain_text("axolotl")
    await page.locator(".item a").first.click()
    await expect(page.locator(".user-text")).to_have_text("The axolotl waves.")
    await expect(page.locator(".user-text")).to_be_in_viewport()
    await page.wait_for_function("CSS.highlights.get('search')?.size >= 1")


async def test_sending_does_not_collapse_the_list(page: Page, server: Server) -> None:
    for _ in range(55):
        await page.request.post(f"{server.address}/api/conversations", data={})
    await open_page(page)
    await expect(page.locator(".item")).to_have_count(50)
    await page.get_by_role("button", name="Show earlier conversations").click()
    await expect(page.locator(".item").nth(54)).to_be_attached()
    await send_message(page, "One more")
    await wait_for_reply(page)
    await expect(page.locator(".item.current")).to_contain_text("One more")
    assert await page.locator(".item").count() > 55


@pytest.mark.parametrize("path", ["/nothing/here", "/chat", "/c/a/b"])
async def test_an_unknown_address_shows_the_page_and_says_so(page: Page, path: str) -> None:
    await open_page(page, path)
    await expect(page.locator(".notice")).to_contain_text("There is no page at this address.")
    assert await page.evaluate("location.pathname") == "/"
    await send_message(page, "Hello")
    assert await wait_for_reply(page) == "Hello"


async def test_the_list_shows_where_a_reply_is_running_and_what_is_unread(page: Page) -> None:
    await open_page(page)
    await page.locator(".assistants").get_by_text("patient").click()
    await send_message(page, " ".join(f"word{n}" for n in range(30)))
    await page.wait_for_selector(".prose.live")
    await page.get_by_role("button", name="New conversation").click()
    item = page.locator(".item").filter(has_text="word0")
    await expect(item.get_by_label("A reply is running")).to_be_visible()
    await expect(item.get_by_label("Unread")).to_be_visible(timeout=15_000)
    await item.locator("a").click()
    await wait_for_reply(page)
    await expect(page.get_by_label("Unread")).to_have_count(0)


async def test_escape_gives_back_a_message_that_was_not_sent(page: Page) -> None:
    await open_page(page)
    await page.context.set_offline(True)
    await expect(page.locator("[data-phase=offline]")).to_be_visible()
    await send_message(page, "not yet")
    await expect(page.locator(".pending")).to_have_count(1)
    await page.keyboard.press("Escape")
    await expect(page.get_by_label("Message", exact=True)).to_have_value("not yet")
    await page.context.set_offline(False)


async def test_the_focus_never_falls_to_the_body(page: Page) -> None:
    await open_page(page)
    await send_message(page, "to be deleted")
    await wait_for_reply(page)
    await send_message(page, "/help ")
    await page.get_by_role("button", name="Close").focus()
    await page.keyboard.press("Enter")
    await expect(page.get_by_label("Message", exact=True)).to_be_focused()
    await page.locator(".item.current").get_by_role("button", name="Delete to be").click()
    await page.keyboard.press("Escape")
    await expect(page.locator(".item.current a")).to_be_focused()
