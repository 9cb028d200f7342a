"""Virtual time passes at once, and in order."""

import asyncio
import time

import pytest

from legato.testing.clock import virtual_time


@virtual_time
async def test_a_day_takes_no_time() -> None:
    loop, began = asyncio.get_running_loop(), time.monotonic()
    await asyncio.sleep(86_400)
    assert loop.time() == pytest.approx(86_400)
    assert time.monotonic() - began < 3600


@virtual_time
async def test_timers_come_in_their_order() -> None:
    loop, heard = asyncio.get_running_loop(), list[tuple[str, float]]()

    async def after(name: str, seconds: float) -> None:
        await asyncio.sleep(seconds)
        heard.append((name, round(loop.time(), 3)))

    await asyncio.gather(after("b", 2), after("a", 1), after("c", 2.5))
    assert heard == [("a", 1), ("b", 2), ("c", 2.5)]


@virtual_time
async def test_waiting_for_nothing_is_reported() -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(5):
            await asyncio.Event().wait()


def test_a_test_that_can_never_end_fails() -> None:
    async def stuck() -> None:
        await asyncio.Event().wait()

    with pytest.raises(RuntimeError, match="everything waits"):
        virtual_time(stuck)()
