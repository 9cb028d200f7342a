"""What the page looks like where it matters: it fits, it can be read, and it says in words what is going on."""

import json
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, WebSocketRoute, expect

from .conftest import Server, ended, opened, say, with_assistant

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]

LONG = (Path(__file__).parent / "long.md").read_text(encoding="utf-8")

VIEW = {
    "id": "c",
    "title": "A talk",
    "assistant": "default",
    "revision": 2,
    "created_at": "2026-01-01T00:00:00Z",
    "updated_at": "2026-01-01T00:00:00Z",
    "head": "r",
}
QUESTION = {
    "id": "q",
    "conversation": "c",
    "role": "user",
    "status": "complete",
    "created_at": VIEW["created_at"],
}
REPLY = QUESTION | {"id": "r", "role": "assistant", "status": "streaming", "parent": "q"}


class Stage:
    """A server of which a test plays every word."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.socket: WebSocketRoute | None = None
        self.offset = 0
        self.heard: list[dict[str, Any]] = []

    async def set(self, path: str = "/c/c") -> None:
        await self.page.route_web_socket("**/ws", self._open)
        await opened(self.page, path)

    def tell(self, **message: Any) -> None:
        assert self.socket is not None
        self.socket.send(json.dumps(message))

    def happen(self, **event: Any) -> None:
        """The next event of the reply's stream."""
        self.tell(
            type="delta", stream="r", epoch="e", **{"from": self.offset}, to=self.offset + 1, events=[event]
        )
        self.offset += 1

    def _open(self, socket: WebSocketRoute) -> None:
        self.socket = socket
        socket.on_message(self._answer)
        self.tell(type="welcome", user="local", server="0")

    def _answer(self, raw: str | bytes) -> None:
        message = json.loads(raw)
        self.heard.append(message)
        if message["type"] == "follow":
            messages = [QUESTION | {"text": "Hello"}, REPLY]
            self.tell(type="following", re=message["id"], conversation=VIEW, messages=messages)


@pytest_asyncio.fixture(loop_scope="module")
async def stage(page: Page) -> Stage:
    return Stage(page)


@pytest_asyncio.fixture(loop_scope="module")
async def look(browser: Browser, server: Server) -> AsyncIterator[Callable[..., Any]]:
    """A page of some width and scheme."""
    contexts = []

    async def make(width: int, scheme: str = "light") -> Page:
        phone = width < 800
        context = await browser.new_context(
            viewport={"width": width, "height": 740 if phone else 900},
            color_scheme="dark" if scheme == "dark" else "light",
            has_touch=phone,
            is_mobile=phone,
            base_url=server.address,
            reduced_motion="reduce",
        )
        contexts.append(context)
        return await context.new_page()

    yield make
    for context in contexts:
        await context.close()


async def shoot(page: Page, name: str) -> None:
    """A picture for whoever wants to look, where `LEGATO_TEST_PICTURES` names a folder."""
    folder = os.environ.get("LEGATO_TEST_PICTURES")
    if folder:
        await page.screenshot(path=Path(folder) / f"{name}.png")


async def assert_fits(page: Page) -> None:
    too_wide = await page.evaluate(
        """() => {
            const wide = [document.documentElement, ...document.querySelectorAll('.scroll, .column, .sheet, .composer')];
            return wide.filter(e => e.scrollWidth > e.clientWidth + 1).map(e => e.className || e.tagName);
        }"""
    )
    assert too_wide == []
    assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")


async def assert_accessible(page: Page, node_modules: Path) -> None:
    await page.evaluate((node_modules / "axe-core" / "axe.min.js").read_text(encoding="utf-8"))
    found = await page.evaluate("axe.run(document, { resultTypes: ['violations'] })")
    serious = [
        (each["id"], [node["html"][:160] for node in each["nodes"]])
        for each in found["violations"]
        if each["impact"] in {"serious", "critical"}
    ]
    assert serious == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1440])
async def test_a_long_reply_fits_and_can_be_read_by_all(
    look: Callable[..., Any], node_modules: Path, width: int, scheme: str
) -> None:
    page = await look(width, scheme)
    await opened(page)
    await assert_fits(page)
    await assert_accessible(page, node_modules)
    await shoot(page, f"empty-{width}-{scheme}")
    await say(page, LONG)
    await ended(page)
    await assert_fits(page)
    await assert_accessible(page, node_modules)
    await expect(page.get_by_role("button", name="Jump to latest")).to_have_count(0)
    await expect(page.get_by_text("The end.").last).to_be_in_viewport()
    await shoot(page, f"long-{width}-{scheme}")
    top = await page.locator(".scroll").evaluate("e => e.scrollTop")
    await page.get_by_label("Message", exact=True).press_sequentially("/")
    await expect(page.get_by_role("listbox")).to_be_in_viewport()
    await assert_accessible(page, node_modules)
    await shoot(page, f"commands-{width}-{scheme}")
    assert await page.locator(".scroll").evaluate("e => e.scrollTop") == top
    await page.get_by_label("Message", exact=True).fill("")
    if width == 360:
        await page.get_by_role("button", name="Conversations").click()
        await expect(page.get_by_role("searchbox")).to_be_in_viewport()
        await expect(page.get_by_role("link", name="Legato")).to_be_focused()
        assert await page.locator("main").evaluate("e => e.inert")
        await assert_accessible(page, node_modules)
        await shoot(page, f"drawer-{width}-{scheme}")
        await page.keyboard.press("Escape")
        await expect(page.get_by_role("searchbox")).not_to_be_in_viewport()
        await expect(page.get_by_role("button", name="Conversations")).to_be_focused()


async def test_targets_are_large_enough_for_a_finger(look: Callable[..., Any]) -> None:
    page = await look(360)
    await opened(page)
    await say(page, "```js\nlet a = 1\n```")
    await ended(page)
    await page.get_by_role("button", name="Another reply").click()
    await expect(page.get_by_text("2 of 2")).to_be_visible()
    small = await page.evaluate(
        """() => [...document.querySelectorAll('.sheet button')].filter(b => b.offsetParent).map(b => [b.ariaLabel || b.textContent, b.getBoundingClientRect()])
            .filter(([, r]) => r.height < 44 || r.width < 44).map(([name, r]) => `${name} ${r.width}x${r.height}`)"""
    )
    assert small == []


async def test_the_theme_can_be_chosen_and_is_kept(look: Callable[..., Any]) -> None:
    page = await look(1440, "dark")
    await opened(page)
    paper = "getComputedStyle(document.body).backgroundColor"
    assert await page.evaluate(paper) == "rgb(22, 21, 20)"
    await page.get_by_role("button", name="Theme: system").click()
    assert await page.evaluate(paper) == "rgb(251, 250, 247)"
    await page.reload()
    assert await page.evaluate(paper) == "rgb(251, 250, 247)"


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ({"phase": "queued", "place": 3}, "Waiting, 3rd in line"),
        ({"phase": "queued", "place": 1}, "Waiting, next in line"),
        ({"phase": "loading", "model": "qwen3"}, "Loading qwen3"),
        ({"phase": "reading", "progress": 0.4}, "Reading your message, 40 %"),
        ({"phase": "answering"}, "Waiting for the first word"),
    ],
)
async def test_one_line_says_what_one_waits_for(stage: Stage, state: dict[str, Any], words: str) -> None:
    await stage.set()
    stage.happen(type="state", **state)
    await expect(stage.page.locator(".waiting")).to_contain_text(words)
    stage.happen(type="text", text="There.")
    await expect(stage.page.locator(".waiting")).to_have_count(0)
    await expect(stage.page.locator(".prose")).to_have_text("There.")


async def test_thinking_is_folded_away_and_can_be_opened(stage: Stage) -> None:
    await stage.set()
    stage.happen(type="reasoning", text="First I consider ")
    await expect(stage.page.get_by_text("Thinking")).to_be_visible()
    stage.happen(type="reasoning", text="the question.")
    stage.happen(type="text", text="Done.")
    await stage.page.get_by_text("What it thought").click()
    await expect(stage.page.get_by_text("First I consider the question.")).to_be_visible()
    await shoot(stage.page, "reasoning")


async def test_a_reply_that_broke_says_what_happened_and_keeps_its_text(stage: Stage) -> None:
    await stage.set()
    stage.happen(type="text", text="So far so")
    stage.happen(type="failed", code="engine_broke", message="The engine went away. Ask for another reply.")
    broken = REPLY | {
        "status": "interrupted",
        "text": "So far so",
        "detail": "The engine went away. Ask for another reply.",
    }
    stage.tell(type="message", message=broken | {"revision": 3})
    await expect(stage.page.get_by_text("The engine went away. Ask for another reply.")).to_be_visible()
    await expect(stage.page.locator(".prose")).to_have_text("So far so")
    await shoot(stage.page, "failed")
    await stage.page.get_by_role("button", name="Try again").click()
    await expect(stage.page.get_by_text("Sending")).to_be_visible()
    assert stage.heard[-1]["type"] == "regenerate"


async def test_a_message_that_was_refused_is_not_lost(stage: Stage) -> None:
    await stage.set("/")
    await say(stage.page, "Take this.")
    await stage.page.wait_for_selector(".pending")
    send = stage.heard[-1]
    stage.tell(
        type="error",
        re=send["id"],
        code="busy",
        message="There is no room just now. Send it again in a moment.",
    )
    await expect(stage.page.get_by_text("There is no room just now.")).to_be_visible()
    await shoot(stage.page, "refused")
    await stage.page.get_by_role("button", name="Send again").click()
    await expect(stage.page.get_by_text("There is no room just now.")).to_have_count(0)
    await expect(stage.page.get_by_text("Sending")).to_be_visible()
    assert stage.heard[-1]["client_message_id"] == send["client_message_id"]
    stage.tell(type="error", re=send["id"], code="busy", message="There is no room just now.")
    await stage.page.get_by_role("button", name="Take it back").click()
    await expect(stage.page.get_by_label("Message", exact=True)).to_have_value("Take this.")


async def test_a_cut_shows_in_the_mark_and_in_a_word_and_so_does_the_return(stage: Stage) -> None:
    await stage.set()
    stage.happen(type="text", text="One, ")
    await expect(stage.page.get_by_text("Live", exact=True)).to_be_visible()
    assert stage.socket is not None
    await stage.socket.close(code=1012)
    await expect(stage.page.get_by_text("Reconnecting")).to_be_visible()
    await expect(stage.page.locator(".slur.open")).to_be_visible()
    await expect(stage.page.get_by_text("The connection was cut here.")).to_be_visible()
    await expect(stage.page.locator(".prose.live")).to_be_visible()
    breath = "getComputedStyle(document.querySelector('.prose.live p'), '::after').visibility"
    assert await stage.page.evaluate(breath) == "hidden"
    await say(stage.page, "And then?")
    await expect(stage.page.locator(".notice")).to_have_text(
        "The connection is cut. Send this when it is back and the reply is done."
    )
    await stage.page.get_by_role("button", name="Stop").click()
    await expect(stage.page.get_by_text("The reply is stopped when it is back.")).to_be_visible()
    await shoot(stage.page, "cut")
    await stage.page.get_by_role("button", name="Reconnect").click()
    await expect(stage.page.get_by_text("Back, nothing lost")).to_be_visible()
    await shoot(stage.page, "back")
    await expect(stage.page.get_by_text("Live", exact=True)).to_be_visible()
    positions = [each["positions"] for each in stage.heard if each["type"] == "follow"][-1]
    assert positions == [{"stream": "r", "epoch": "e", "offset": 1}]


async def test_nothing_jumps_while_text_comes_nor_when_it_is_done(page: Page, server: Server) -> None:
    await with_assistant(page, server, "slow")
    await say(page, "\n\n".join(f"Paragraph {n} with a few words." for n in range(12)))
    await page.locator(".reply").wait_for()
    await page.evaluate(
        """() => {
            window.shifts = 0;
            const add = entries => { for (const entry of entries) window.shifts += entry.value; };
            const watch = new PerformanceObserver(list => add(list.getEntries()));
            watch.observe({ type: 'layout-shift', buffered: false });
            window.total = () => { add(watch.takeRecords()); return window.shifts; };
        }"""
    )
    await ended(page)
    assert await page.evaluate("window.total()") < 0.005


async def test_the_page_follows_the_text_until_a_hand_scrolls_up(page: Page, server: Server) -> None:
    await page.set_viewport_size({"width": 1440, "height": 480})
    await with_assistant(page, server, "patient")
    await say(page, "\n\n".join(f"line {n}" for n in range(60)))
    await page.locator(".reply .prose").get_by_text("line 5", exact=True).wait_for()
    scroll = page.locator(".scroll")
    await scroll.hover()
    await page.mouse.wheel(0, -100)
    to_end = page.get_by_role("button", name="Jump to latest")
    await expect(to_end).to_be_visible()
    top = await scroll.evaluate("e => e.scrollTop")
    await page.locator(".reply .prose").get_by_text("line 9", exact=True).wait_for()
    assert await scroll.evaluate("e => e.scrollTop") == top
    await shoot(page, "away")
    await to_end.click()
    await expect(to_end).to_have_count(0)
    assert await scroll.evaluate("e => e.scrollHeight - e.clientHeight - e.scrollTop") < 30


async def test_what_one_waits_for_is_the_connection_while_there_is_none(stage: Stage) -> None:
    await stage.set()
    stage.happen(type="state", phase="loading", model="qwen3")
    await expect(stage.page.locator(".waiting")).to_contain_text("Loading qwen3")
    assert stage.socket is not None
    await stage.socket.close(code=1012)
    await expect(stage.page.locator(".waiting")).to_have_text("Waiting for the connection")
    await expect(stage.page.locator(".waiting .breath")).to_be_hidden()


async def test_the_keys_are_as_high_as_their_signs(page: Page) -> None:
    await opened(page)
    await page.get_by_role("button", name="Keys").click()
    heights = await page.locator("kbd:visible").evaluate_all("all => all.map(e => e.offsetHeight)")
    assert len(set(heights)) == 1
