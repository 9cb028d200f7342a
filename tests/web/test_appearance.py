"""The appearance of the page: it fits the screen, it is accessible, and it shows its state in words."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Page, expect

from .checks import assert_accessible, assert_fits, take_screenshot
from .conftest import Server, open_page, open_with_assistant, send_message, wait_for_reply
from .scripted import REPLY, ScriptedServer

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

LONG = (Path(__file__).parent / "long.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1440])
async def test_a_long_reply_fits_and_is_accessible(
    new_page: Callable[..., Any], node_modules: Path, width: int, scheme: str
) -> None:
    page = await new_page(width, scheme)
    await open_page(page)
    await assert_fits(page)
    await assert_accessible(page, node_modules)
    await take_screenshot(page, f"empty-{width}-{scheme}")
    await send_message(page, LONG)
    await wait_for_reply(page)
    await assert_fits(page)
    await assert_accessible(page, node_modules)
    await expect(page.get_by_role("button", name="Jump to latest")).to_have_count(0)
    await expect(page.get_by_text("The end.").last).to_be_in_viewport()
    await take_screenshot(page, f"long-{width}-{scheme}")
    top = await page.locator(".scroll").evaluate("e => e.scrollTop")
    await page.get_by_label("Message", exact=True).press_sequentially("/")
    await expect(page.get_by_role("listbox")).to_be_in_viewport()
    await assert_accessible(page, node_modules)
    await take_screenshot(page, f"commands-{width}-{scheme}")
    assert await page.locator(".scroll").evaluate("e => e.scrollTop") == top
    await page.get_by_label("Message", exact=True).fill("")
    if width == 360:
        await page.get_by_role("button", name="Conversations").click()
        await expect(page.get_by_role("searchbox")).to_be_in_viewport()
        await expect(page.get_by_role("link", name="Legato")).to_be_focused()
        assert await page.locator("main").evaluate("e => e.inert")
        await assert_accessible(page, node_modules)
        await take_screenshot(page, f"drawer-{width}-{scheme}")
        await page.keyboard.press("Escape")
        await expect(page.get_by_role("searchbox")).not_to_be_in_viewport()
        await expect(page.get_by_role("button", name="Conversations")).to_be_focused()


async def test_buttons_are_large_enough_for_touch(new_page: Callable[..., Any]) -> None:
    page = await new_page(360)
    await open_page(page)
    await send_message(page, "```js\nlet a = 1\n```")
    await wait_for_reply(page)
    await page.get_by_role("button", name="Another reply").click()
    await expect(page.get_by_text("2 of 2")).to_be_visible()
    small = await page.evaluate(
        """() => [...document.querySelectorAll('.main-panel button')].filter(b => b.offsetParent).map(b => [b.ariaLabel || b.textContent, b.getBoundingClientRect()])
            .filter(([, r]) => r.height < 44 || r.width < 44).map(([name, r]) => `${name} ${r.width}x${r.height}`)"""
    )
    assert small == []


async def test_the_theme_is_switched_and_stored(new_page: Callable[..., Any]) -> None:
    page = await new_page(1440, "dark")
    await open_page(page)
    background = "getComputedStyle(document.body).backgroundColor"
    assert await page.evaluate(background) == "rgb(22, 21, 20)"
    await page.get_by_role("button", name="Theme: system").click()
    assert await page.evaluate(background) == "rgb(251, 250, 247)"
    await page.reload()
    assert await page.evaluate(background) == "rgb(251, 250, 247)"


@pytest.mark.parametrize(
    ("state", "text"),
    [
        ({"phase": "queued", "place": 3}, "Waiting, 3rd in line"),
        ({"phase": "queued", "place": 1}, "Waiting, next in line"),
        ({"phase": "loading", "model": "qwen3"}, "Loading qwen3"),
        ({"phase": "reading", "progress": 0.4}, "Reading your message, 40 %"),
        ({"phase": "answering"}, "Waiting for the first word"),
    ],
)
async def test_the_waiting_line_shows_the_state(
    scripted: ScriptedServer, state: dict[str, Any], text: str
) -> None:
    await scripted.open()
    scripted.send_event(type="state", **state)
    await expect(scripted.page.locator(".waiting")).to_contain_text(text)
    scripted.send_event(type="text", text="There.")
    await expect(scripted.page.locator(".waiting")).to_have_count(0)
    await expect(scripted.page.locator(".prose")).to_have_text("There.")


async def test_reasoning_is_collapsed_and_can_be_opened(scripted: ScriptedServer) -> None:
    await scripted.open()
    scripted.send_event(type="reasoning", text="First I consider ")
    await expect(scripted.page.get_by_text("Thinking")).to_be_visible()
    scripted.send_event(type="reasoning", text="the question.")
    scripted.send_event(type="text", text="Done.")
    await scripted.page.get_by_text("Reasoning").click()
    await expect(scripted.page.get_by_text("First I consider the question.")).to_be_visible()
    await take_screenshot(scripted.page, "reasoning")


async def test_a_failed_reply_shows_the_error_and_keeps_its_text(scripted: ScriptedServer) -> None:
    await scripted.open()
    scripted.send_event(type="text", text="So far so")
    scripted.send_event(
        type="failed", code="engine_broke", message="The engine went away. Ask for another reply."
    )
    broken = REPLY | {
        "status": "interrupted",
        "text": "So far so",
        "detail": "The engine went away. Ask for another reply.",
    }
    scripted.send(type="message", message=broken | {"revision": 3})
    await expect(scripted.page.get_by_text("The engine went away. Ask for another reply.")).to_be_visible()
    await expect(scripted.page.locator(".prose")).to_have_text("So far so")
    await take_screenshot(scripted.page, "failed")
    await scripted.page.get_by_role("button", name="Try again").click()
    await expect(scripted.page.get_by_text("Sending")).to_be_visible()
    assert scripted.received[-1]["type"] == "regenerate"


async def test_a_rejected_message_is_not_lost(scripted: ScriptedServer) -> None:
    await scripted.open("/")
    await send_message(scripted.page, "Take this.")
    await scripted.page.wait_for_selector(".pending")
    send = scripted.received[-1]
    scripted.send(
        type="error",
        re=send["id"],
        code="busy",
        message="There is no room just now. Send it again in a moment.",
    )
    await expect(scripted.page.get_by_text("There is no room just now.")).to_be_visible()
    await take_screenshot(scripted.page, "refused")
    await scripted.page.get_by_role("button", name="Send again").click()
    await expect(scripted.page.get_by_text("There is no room just now.")).to_have_count(0)
    await expect(scripted.page.get_by_text("Sending")).to_be_visible()
    assert scripted.received[-1]["client_message_id"] == send["client_message_id"]
    scripted.send(type="error", re=send["id"], code="busy", message="There is no room just now.")
    await scripted.page.get_by_role("button", name="Take it back").click()
    await expect(scripted.page.get_by_label("Message", exact=True)).to_have_value("Take this.")


async def test_the_connection_status_shows_a_disconnect_and_the_reconnect(scripted: ScriptedServer) -> None:
    await scripted.open()
    scripted.send_event(type="text", text="One, ")
    await expect(scripted.page.get_by_text("Live", exact=True)).to_be_visible()
    assert scripted.socket is not None
    await scripted.socket.close(code=1012)
    await expect(scripted.page.get_by_text("Reconnecting")).to_be_visible()
    await expect(scripted.page.locator(".connection-icon.partial")).to_be_visible()
    await expect(scripted.page.get_by_text("The connection was cut here.")).to_be_visible()
    await expect(scripted.page.locator(".prose.live")).to_be_visible()
    dot = "getComputedStyle(document.querySelector('.prose.live p'), '::after').visibility"
    assert await scripted.page.evaluate(dot) == "hidden"
    await send_message(scripted.page, "And then?")
    await expect(scripted.page.locator(".notice")).to_have_text(
        "The connection is cut. Send this when it is back and the reply is done."
    )
    await scripted.page.get_by_role("button", name="Stop").click()
    await expect(scripted.page.get_by_text("The reply is stopped when it is back.")).to_be_visible()
    await take_screenshot(scripted.page, "cut")
    await scripted.page.get_by_role("button", name="Reconnect").click()
    await expect(scripted.page.get_by_text("Back, nothing lost")).to_be_visible()
    await take_screenshot(scripted.page, "back")
    await expect(scripted.page.get_by_text("Live", exact=True)).to_be_visible()
    positions = [each["positions"] for each in scripted.received if each["type"] == "follow"][-1]
    assert positions == [{"stream": "r", "epoch": "e", "offset": 1}]


async def test_the_layout_does_not_shift_while_a_reply_streams_or_when_it_ends(
    page: Page, server: Server
) -> None:
    await open_with_assistant(page, server, "slow")
    await send_message(page, "\n\n".join(f"Paragraph {n} with a few words." for n in range(12)))
    await page.locator(".reply").wait_for()
    await page.evaluate(
        """() => {
            window.shifts = 0;
            const add = entries => { for (const entry of entries) window.shifts += entry.value; };
            const observer = new PerformanceObserver(list => add(list.getEntries()));
            observer.observe({ type: 'layout-shift', buffered: false });
            window.total = () => { add(observer.takeRecords()); return window.shifts; };
        }"""
    )
    await wait_for_reply(page)
    assert await page.evaluate("window.total()") < 0.005


async def test_the_page_follows_the_text_until_the_user_scrolls_up(page: Page, server: Server) -> None:
    await page.set_viewport_size({"width": 1440, "height": 480})
    await open_with_assistant(page, server, "patient")
    await send_message(page, "\n\n".join(f"line {n}" for n in range(60)))
    await page.locator(".reply .prose").get_by_text("line 5", exact=True).wait_for()
    scroll = page.locator(".scroll")
    await scroll.hover()
    await page.mouse.wheel(0, -100)
    to_end = page.get_by_role("button", name="Jump to latest")
    await expect(to_end).to_be_visible()
    top = await scroll.evaluate("e => e.scrollTop")
    await page.locator(".reply .prose").get_by_text("line 9", exact=True).wait_for()
    assert await scroll.evaluate("e => e.scrollTop") == top
    await take_screenshot(page, "away")
    await to_end.click()
    await expect(to_end).to_have_count(0)
    assert await scroll.evaluate("e => e.scrollHeight - e.clientHeight - e.scrollTop") < 30


async def test_the_waiting_line_shows_that_there_is_no_connection(scripted: ScriptedServer) -> None:
    await scripted.open()
    scripted.send_event(type="state", phase="loading", model="qwen3")
    await expect(scripted.page.locator(".waiting")).to_contain_text("Loading qwen3")
    assert scripted.socket is not None
    await scripted.socket.close(code=1012)
    await expect(scripted.page.locator(".waiting")).to_have_text("Waiting for the connection")
    await expect(scripted.page.locator(".waiting .pulse")).to_be_hidden()


async def test_all_keys_in_the_shortcuts_dialog_have_the_same_height(page: Page) -> None:
    await open_page(page)
    await page.get_by_role("button", name="Keyboard shortcuts").click()
    heights = await page.locator("kbd:visible").evaluate_all("all => all.map(e => e.offsetHeight)")
    assert len(set(heights)) == 1
