"""A page with `useChat` of Vercel's `ai` package, in a real browser: it is loaded again in the middle of a reply, and resumes."""

from pathlib import Path

import pytest
from playwright.async_api import Page, Route, expect
from tests.doubles.engines import replace_demo
from tests.doubles.rule_engine import RuleEngine
from tests.gateway.server import serving, settings_for
from tests.node import CLIENTS, installed, run_script

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]


@pytest.fixture(scope="module")
def script(node_modules: Path) -> str:
    """The page and the library as one script."""
    installed(CLIENTS)
    done = run_script(CLIENTS, "bundle.mjs", node_modules / "vite")
    assert done.returncode == 0, done.stderr
    return done.stdout


async def test_a_page_that_is_loaded_again_resumes(
    page: Page, script: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def serve(route: Route) -> None:
        code = script.replace("</script", "<\\/script")
        html = f'<!doctype html><div id="root"></div><script>{code}</script>'
        await route.fulfill(body=html, content_type="text/html; charset=utf-8")

    engine = RuleEngine()
    replace_demo(monkeypatch, engine)
    async with serving(settings_for(tmp_path)) as server:
        await page.route("**/use-chat.html", serve)
        await page.goto(f"{server.address}/use-chat.html")
        await page.get_by_role("button", name="Send").click()
        await expect(page.locator(".assistant")).to_have_text("wait ")
        async with page.expect_response("**/ai/chat/a%20chat/stream") as resumed:
            await page.reload()
        assert (await resumed.value).status == 200
        await expect(page.locator(".assistant")).to_have_text("wait ")
        await expect(page.locator("main")).to_have_attribute("data-status", "streaming")
        engine.go()
        await expect(page.locator("p")).to_have_text(["wait for me", "wait for me"])
        await expect(page.locator("main")).to_have_attribute("data-status", "ready")
        async with page.expect_response("**/stream") as nothing:
            await page.reload()
        assert (await nothing.value).status == 204
        await expect(page.locator("p")).to_have_text(["wait for me", "wait for me"])
