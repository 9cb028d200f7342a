"""Fixtures for tests of the page in a real browser, against a real server."""

import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, Page, async_playwright, expect
from tests.node import installed, run_script

from .scripted import ScriptedServer

# A passing test does not wait for it; a busy machine needs more than the default of 5 s.
expect.set_options(timeout=30_000)

CHECKOUT = Path(__file__).parents[2]
WEB = CHECKOUT / "web"
CHROMIUM = "/usr/bin/chromium"
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
SECRET = "a secret of this test, long enough for HS256"

CONFIG = """
[assistants.default]
engine = "demo"
model = "demo:echo"
options = { tokens_per_second = 0 }

[assistants.slow]
engine = "demo"
model = "demo:echo"
options = { tokens_per_second = 150 }

[assistants.patient]
engine = "demo"
model = "demo:echo"
options = { tokens_per_second = 8 }

[assistants.late]
engine = "demo"
model = "demo:echo"
options = { tokens_per_second = 50, first_token_ms = 60000 }
"""


class Server:
    """`legato serve` in a child process. `address` is its base URL."""

    def __init__(self, folder: Path, environ: dict[str, str] | None = None) -> None:
        config = folder / "legato.toml"
        config.write_text(CONFIG, encoding="utf-8")
        command = Path(sys.executable).parent / "legato"
        self._log = (folder / "server.log").open("w+", encoding="utf-8")
        self._process = subprocess.Popen(
            [
                str(command),
                "serve",
                "--port",
                "0",
                "--config",
                str(config),
                "--data-dir",
                str(folder / "data"),
            ],
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env={k: v for k, v in os.environ.items() if not k.startswith("LEGATO_")} | (environ or {}),
        )
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if "ready at" in line:
                self.address = line.split()[-1]
                return
        self._log.seek(0)
        raise AssertionError(f"the server did not start:\n{self._log.read()}")

    def stop(self) -> None:
        self._process.terminate()
        self._process.communicate()
        self._log.close()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server without authentication, the default."""
    started = Server(tmp_path_factory.mktemp("open"))
    yield started
    started.stop()


@pytest.fixture(scope="session")
def locked_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that requires tokens."""
    started = Server(tmp_path_factory.mktemp("locked"), {"LEGATO_JWT_SECRET": SECRET})
    yield started
    started.stop()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        await browser.close()


@pytest_asyncio.fixture(loop_scope="session")
async def context(browser: Browser, server: Server) -> AsyncIterator[BrowserContext]:
    context = await browser.new_context(
        viewport={"width": 1440, "height": 900}, base_url=server.address, reduced_motion="reduce"
    )
    yield context
    await context.close()


@pytest_asyncio.fixture(loop_scope="session")
async def page(context: BrowserContext) -> AsyncIterator[Page]:
    """A page. The test fails if the page throws or violates its Content Security Policy."""
    page = await context.new_page()
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on(
        "console",
        lambda line: problems.append(line.text) if "Content Security Policy" in line.text else None,
    )
    yield page
    assert problems == []


@pytest_asyncio.fixture(loop_scope="session")
async def scripted(page: Page) -> ScriptedServer:
    return ScriptedServer(page)


@pytest_asyncio.fixture(loop_scope="session")
async def new_page(browser: Browser, server: Server) -> AsyncIterator[Callable[..., Any]]:
    """A function that opens a page of a given width and colour scheme."""
    contexts = []

    async def create(width: int, scheme: str = "light") -> Page:
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

    yield create
    for context in contexts:
        await context.close()


@pytest.fixture(scope="session")
def node_modules() -> Path:
    """The node_modules of the page, installed from the lock file."""
    return installed(WEB, required=True)


def run_tool(modules: Path, tool: str, *arguments: str) -> None:
    """Run a tool of the page's node_modules. It has to succeed."""
    script = {"tsc": "typescript/bin/tsc", "vitest": "vitest/vitest.mjs"}[tool]
    done = run_script(WEB, modules / script, *arguments)
    assert done.returncode == 0, done.stdout + done.stderr


async def open_page(page: Page, path: str = "/") -> None:
    """Open the page at `path` and wait until it is connected."""
    await page.goto(path)
    await page.wait_for_selector("[data-phase=live]")


async def send_message(page: Page, text: str) -> None:
    await page.get_by_label("Message", exact=True).fill(text)
    await page.keyboard.press("Enter")


async def wait_for_reply(page: Page, replies: int = 1) -> str:
    """Wait until there are `replies` replies and the last one is complete. Returns its text."""
    await page.locator(".reply").nth(replies - 1).locator(".reply-stats").wait_for(state="attached")
    await page.locator(".prose[aria-busy]").first.wait_for(state="detached")
    assert await page.locator(".reply").count() == replies
    return await page.locator(".reply .prose").last.inner_text()


async def open_with_assistant(page: Page, server: Server, assistant: str) -> None:
    """Create a conversation with an assistant and open it."""
    response: Any = await page.request.post(
        f"{server.address}/api/conversations", data={"assistant": assistant}
    )
    await open_page(page, f"/c/{(await response.json())['id']}")
