"""Several users in one conversation: invitations, presence, typing, roles."""

import time
from collections.abc import AsyncIterator, Awaitable, Callable

import jwt
import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from .conftest import SECRET, Server, open_page, send_message, wait_for_reply

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

OpenAs = Callable[..., Awaitable[Page]]


@pytest_asyncio.fixture(loop_scope="session")
async def open_as(browser: Browser, locked_server: Server) -> AsyncIterator[OpenAs]:
    """A function that opens the page as a user, in a browser context of their own."""
    contexts = []

    async def open_as(user: str, fragment: str = "", *, joins: bool = True) -> Page:
        context = await browser.new_context(base_url=locked_server.address, reduced_motion="reduce")
        contexts.append(context)
        page = await context.new_page()
        claims = {"sub": user, "name": user.title(), "exp": time.time() + 600}
        token = jwt.encode(claims, SECRET, algorithm="HS256")
        await open_page(page, f"/#token={token}")
        if fragment:
            await page.goto(f"/{fragment}")
            await page.reload()
            await page.wait_for_selector("[data-phase=live]")
            if joins:
                await page.get_by_role("button", name="Join").click()
                await expect(page.get_by_role("dialog")).to_have_count(0)
        return page

    yield open_as
    for context in contexts:
        await context.close()


async def create_invitation(page: Page, button: str) -> str:
    """Create an invitation link in the dialog. Returns its fragment."""
    await page.get_by_role("button", name="People").click()
    await page.get_by_role("button", name=button).click()
    link = await page.get_by_label("Invitation").input_value()
    await page.keyboard.press("Escape")
    await expect(page.get_by_role("dialog")).to_have_count(0)
    return link[link.index("#") :]


async def test_a_user_with_the_link_joins_and_both_see_everything(open_as: OpenAs) -> None:
    ada = await open_as("ada")
    await send_message(ada, "Hello from Ada")
    await wait_for_reply(ada)
    ben = await open_as("ben", await create_invitation(ada, "Invite people to write"))
    await expect(ben.locator(".user-text")).to_have_text("Hello from Ada")
    await expect(ben.locator(".author")).to_have_text("Ada")
    assert "join" not in ben.url
    await expect(ada.locator(".participants-button")).to_contain_text("Ben is here")

    await ben.get_by_label("Message", exact=True).press_sequentially("Hello from Ben")
    await expect(ada.locator(".notice")).to_have_text("Ben is writing")
    await ben.keyboard.press("Enter")
    assert await wait_for_reply(ada, 2) == await wait_for_reply(ben, 2) == "Hello from Ben"
    await expect(ada.locator(".notice")).to_have_text("")

    await ben.close()
    await expect(ada.locator(".participants-button")).not_to_contain_text("is here")


async def test_a_viewer_cannot_write_and_can_be_removed(open_as: OpenAs) -> None:
    ada = await open_as("ada")
    await send_message(ada, "Read this")
    await wait_for_reply(ada)
    eve = await open_as("eve", await create_invitation(ada, "Invite people to read"))
    await expect(eve.locator(".user-text")).to_have_text("Read this")
    await expect(eve.get_by_label("Message", exact=True)).to_be_disabled()
    await expect(eve.get_by_placeholder("You can only read here")).to_be_visible()

    await expect(ada.locator(".participants-button")).to_contain_text("Eve is here")
    await ada.locator(".participants-button").click()
    await ada.get_by_role("button", name="Remove").click()
    await expect(eve.get_by_role("heading", name="you are no longer in it")).to_be_visible()
    await expect(eve.locator(".user-text")).to_have_count(0)
    await expect(ada.get_by_role("dialog").get_by_text("Eve")).to_have_count(0)


async def test_an_invalid_invitation_shows_a_message(open_as: OpenAs) -> None:
    page = await open_as("ada", "#/join/nothing", joins=False)
    await expect(page.locator(".notice")).not_to_be_empty()
    assert page.url.endswith("/")


async def test_what_two_people_send_at_once_both_see(open_as: OpenAs) -> None:
    ada = await open_as("ada")
    await send_message(ada, "One")
    await wait_for_reply(ada)
    ben = await open_as("ben", await create_invitation(ada, "Invite people to write"))
    await expect(ben.locator(".user-text")).to_have_text("One")
    await ben.context.set_offline(True)
    await expect(ben.locator("[data-phase=offline]")).to_be_visible()
    await send_message(ben, "From Ben")
    await send_message(ada, "From Ada")
    await wait_for_reply(ada, 2)
    await ben.context.set_offline(False)
    for page in (ben, ada):
        await wait_for_reply(page, 3)
        await expect(page.locator(".user-text")).to_have_text(["One", "From Ada", "From Ben"])


async def test_a_link_asks_before_one_joins(open_as: OpenAs) -> None:
    ada = await open_as("ada")
    await send_message(ada, "Our plans")
    await wait_for_reply(ada)
    link = await create_invitation(ada, "Invite people to read")
    zoe = await open_as("zoe", link, joins=False)
    dialog = zoe.get_by_role("dialog")
    await expect(dialog).to_contain_text("Our plans")
    await expect(dialog).to_contain_text("Ada")
    await expect(dialog).to_contain_text("cannot write")
    await zoe.set_viewport_size({"width": 320, "height": 600})
    assert await zoe.evaluate("document.documentElement.scrollWidth") <= 320
    await zoe.get_by_role("button", name="Not now").click()
    await expect(dialog).to_have_count(0)
    assert "join" not in zoe.url
    await expect(zoe.locator(".user-text")).to_have_count(0)
    await ada.get_by_role("button", name="People").click()
    await expect(ada.get_by_role("dialog")).not_to_contain_text("Zoe")
    await ada.keyboard.press("Escape")
    # Another time: the same link, and yes. Who is in already is not asked.
    await zoe.goto(f"/{link}")
    await zoe.reload()
    await zoe.get_by_role("button", name="Join").click()
    await expect(zoe.locator(".user-text")).to_have_text("Our plans")
    await zoe.goto(f"/{link}")
    await zoe.reload()
    await expect(zoe.locator(".user-text")).to_have_text("Our plans")
    await expect(dialog).to_have_count(0)
