"""How the page renders long answers and formulas."""

import asyncio
from typing import Any

import pytest
from playwright.async_api import Page, expect

from .checks import assert_fits, take_screenshot
from .conftest import Server, open_page, open_with_assistant, send_message, wait_for_reply
from .scripted import QUESTION, REPLY, ScriptedServer
from .test_hostile import record_violations

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

SECTION = (
    """## Section {n}

Text with **bold**, `code` and a [link](https://example.org/{n}). """
    + "It goes on for a while. " * 30
    + """

| Name | Value |
|---|--:|
| a | {n} |

```python
def f(x: int) -> int:
    return x + {n}
```

- one
- two
"""
)


def answer(length: int) -> str:
    sections = [SECTION.format(n=n) for n in range(length // len(SECTION) + 1)]
    return "\n".join([*sections, "The end."])


# On a slow machine more time passes between two looks at the clock.
SLOW_CLOCK = """
const now = performance.now.bind(performance);
performance.now = () => now() * 20;
window.timers = 0;
setInterval(() => { if (document.querySelector(".prose[aria-busy]")) window.timers += 1; }, 0);
"""


@pytest.mark.parametrize("length", [20_000, 80_000])
async def test_a_long_stored_reply_is_rendered_as_markdown_in_slices(
    scripted: ScriptedServer, length: int
) -> None:
    text = answer(length)
    scripted.messages = [
        QUESTION | {"text": "Hello"},
        REPLY | {"status": "complete", "text": text, "revision": 2},
    ]
    page = scripted.page
    await page.add_init_script(SLOW_CLOCK)
    await scripted.open()
    await expect(page.locator(".prose h4")).to_have_count(text.count("## Section"), timeout=60_000)
    await expect(page.locator(".prose[aria-busy]")).to_have_count(0, timeout=60_000)
    assert await page.locator(".prose table").count() == text.count("## Section")
    assert await page.locator(".prose .plain").count() == 0
    assert await page.locator(".scroll").evaluate("e => e.scrollHeight - e.clientHeight - e.scrollTop") < 30
    # The page did other things in between.
    assert await page.evaluate("window.timers") >= 5


async def test_a_long_running_reply_stays_markdown(scripted: ScriptedServer) -> None:
    text = answer(40_000)
    page = scripted.page
    await page.add_init_script(SLOW_CLOCK)
    await scripted.open()
    for start in range(0, len(text), 8_000):
        scripted.send_event(type="text", text=text[start : start + 8_000])
    await expect(page.locator(".prose h4")).to_have_count(text.count("## Section"), timeout=60_000)
    scripted.send_event(type="finished", reason="stop")
    # To the page's fast clock a busy machine looks like a dead connection: it may have connected again meanwhile.
    async with asyncio.timeout(60):
        while not await page.locator(".reply-stats").count():
            scripted.send(type="message", message=REPLY | {"status": "complete", "text": text, "revision": 3})
            await page.wait_for_timeout(200)
    await expect(page.locator(".prose[aria-busy]")).to_have_count(0, timeout=60_000)
    await expect(page.locator(".prose table")).to_have_count(text.count("## Section"), timeout=60_000)
    await expect(page.locator(".prose .plain")).to_have_count(0)


FORMULAS = r"""Inline $a*b*c$ and \(x_1^2 * y\), then

$$
\begin{aligned}
a &= b \\
  &= \sqrt{c}
\end{aligned}
$$

\[ \sum_{i=1}^{n} \left( w_i - \hat{w}_i \right)^2 \]

It costs $5 or $10. This is $\broken{$ and H<sub>2</sub>O[^1].

[^1]: A note.
"""


async def test_formulas_are_shown(page: Page) -> None:
    requests: list[str] = []
    await open_page(page)
    await send_message(page, "no formula")
    await wait_for_reply(page)
    page.on("request", lambda request: requests.append(request.url))
    assert (
        await page.evaluate("performance.getEntriesByType('resource').filter(e => /math/.test(e.name))") == []
    )
    await send_message(page, FORMULAS)
    await wait_for_reply(page, 2)
    formulas = page.locator(".prose .katex")
    await expect(formulas).to_have_count(4)
    assert await page.locator(".prose .katex-display").count() == 2
    prose = page.locator(".prose").last
    await expect(prose).to_contain_text("It costs $5 or $10.")
    await expect(prose).to_contain_text(r"$\broken{$")
    await expect(prose.locator("sub")).to_have_text("2")
    await expect(prose.locator(".footnote")).to_have_text("1 A note.")
    assert await page.evaluate(
        "document.fonts.ready.then(f => [...f].some(e => e.family === 'KaTeX_Math' && e.status === 'loaded'))"
    )
    assert all(url.startswith(page.url[:20]) for url in requests)
    await take_screenshot(page, "formulas")
    await page.set_viewport_size({"width": 320, "height": 700})
    await assert_fits(page)
    await take_screenshot(page, "formulas-320")


async def test_a_formula_is_never_shown_as_source_while_it_streams(scripted: ScriptedServer) -> None:
    page = scripted.page
    await scripted.open()
    await page.evaluate(
        """() => {
            window.seen = [];
            const look = () => {
                const prose = document.querySelector('.prose');
                if (prose) window.seen.push(prose.innerText);
            };
            new MutationObserver(look)
                .observe(document.querySelector('.column'), { subtree: true, childList: true, characterData: true });
        }"""
    )
    scripted.send_event(type="text", text="Before $a_1$ it.\n\n")
    await expect(page.locator(".katex")).to_have_count(1)
    for part in ("The $x", "_1", " + y$ and\n", "$$", "\n\\sqrt", "{a", "}\n$", "$\nend", " of it."):
        before = len(await page.evaluate("window.seen"))
        scripted.send_event(type="text", text=part)
        if part.isalpha():
            await page.wait_for_function("n => window.seen.length > n", arg=before)
    await expect(page.locator(".prose")).to_contain_text("end of it.")
    await expect(page.locator(".katex")).to_have_count(3)
    assert [
        each for each in await page.evaluate("window.seen.slice(1)") if "$x" in each or "$$" in each
    ] == []


HOSTILE = [
    r"$\href{javascript:window.pwned=1}{click}$",
    r"$\url{http://evil.example/u}$",
    r"$\includegraphics{http://evil.example/i.png}$",
    r"$\htmlStyle{background:url(http://evil.example/s)}{x}$",
    r"$\htmlData{onclick=window.pwned=1}{x} \htmlId{message}{y}$",
    r"$\def\a{\a\a}\a$",
    r"$\rule{1000000em}{1000000em}$",
    r"$<img src=x onerror=window.pwned=1>$",
    "$" + "{" * 900 + "}" * 900 + "$",
]


async def test_hostile_formulas_do_nothing(page: Page) -> None:
    violations = await record_violations(page)
    await open_page(page)
    await send_message(page, "\n\n".join([*HOSTILE, "$done$"]))
    await wait_for_reply(page)
    await expect(page.locator(".prose .katex").last).to_contain_text("done")
    assert await page.evaluate("window.pwned") is None
    assert await page.locator(".prose").locator("a, img, script, iframe, [onclick], #message").count() == 0
    assert violations == []
    await assert_fits(page)


async def test_the_headings_of_a_table_align_with_its_cells(page: Page) -> None:
    await open_page(page)
    await send_message(
        page,
        "| Format | Bits | Good for |\n|---|--:|:-:|\n| Q5_K_M_L | 16 | reference |\n| a | 1000000 | phones, in a pinch |",
    )
    await wait_for_reply(page)
    lefts: Any = await page.locator(".prose").evaluate(
        """prose => ['th:first-child', 'tr:last-child td:first-child'].map(selector => {
            const range = document.createRange();
            range.selectNodeContents(prose.querySelector(selector));
            return range.getBoundingClientRect().left;
        })"""
    )
    assert lefts[0] == lefts[1]


async def test_a_table_never_flashes_as_text(page: Page, server: Server) -> None:
    await open_with_assistant(page, server, "slow")
    await page.evaluate(
        """() => {
            window.flashes = [];
            new MutationObserver(() => {
                for (const p of document.querySelectorAll('.prose p')) if (p.innerText.includes('|')) window.flashes.push(p.innerText);
            }).observe(document.body, { subtree: true, childList: true, characterData: true });
        }"""
    )
    await send_message(
        page,
        "Here:\n| Name | Value |\n|------|------:|\n| a | 1 |\n\nand\n\na | b\n--- | ---\n1 | 2\n\n- x\n\n  | c | d |\n  |---|---|\n  | 3 | 4 |\n\nend",
    )
    await wait_for_reply(page)
    await expect(page.locator(".prose table")).to_have_count(3)
    assert await page.evaluate("window.flashes") == []
