"""Checks of the whole page, whatever it shows."""

import os
from pathlib import Path

from playwright.async_api import Page


async def take_screenshot(page: Page, name: str) -> None:
    """Save a screenshot if `LEGATO_TEST_PICTURES` names a directory."""
    folder = os.environ.get("LEGATO_TEST_PICTURES")
    if folder:
        await page.screenshot(path=Path(folder) / f"{name}.png")


async def assert_fits(page: Page) -> None:
    too_wide = await page.evaluate(
        """() => {
            const wide = [document.documentElement, ...document.querySelectorAll('.scroll, .column, .main-panel, .composer')];
            return wide.filter(e => e.scrollWidth > e.clientWidth + 1).map(e => e.className || e.tagName);
        }"""
    )
    assert too_wide == [], too_wide
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
