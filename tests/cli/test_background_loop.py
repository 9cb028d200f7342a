import asyncio
import threading

import pytest

from legato.cli.background_loop import BackgroundLoop


def test_work_is_done_on_another_thread() -> None:
    async def where() -> str:
        return threading.current_thread().name

    with BackgroundLoop() as loop:
        assert loop.call(where()) == "legato background"


def test_errors_come_back() -> None:
    async def fail() -> None:
        raise ValueError("no")

    with BackgroundLoop() as loop, pytest.raises(ValueError, match="no"):
        loop.call(fail())


def test_what_still_runs_at_the_end_is_cancelled() -> None:
    ended = threading.Event()

    async def forever() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async def nothing() -> None:
        await asyncio.sleep(0)

    with BackgroundLoop() as loop:
        loop.start(forever())
        loop.call(nothing())
    assert ended.is_set()
