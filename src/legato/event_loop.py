"""The event loop of a process."""

import asyncio
import signal
from collections.abc import Callable
from contextlib import suppress


def new_loop() -> asyncio.AbstractEventLoop:
    """One of uvloop, where that is installed."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


def call_when_told_to_stop(stop: Callable[[], None]) -> None:
    """Have the running loop call `stop` at each SIGTERM and SIGINT, where it can: not in another thread, nor on Windows."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        with suppress(NotImplementedError, RuntimeError, ValueError):
            loop.add_signal_handler(number, stop)
