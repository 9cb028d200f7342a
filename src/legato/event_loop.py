"""The event loop of a process."""

import asyncio
import signal
from collections.abc import Callable
from contextlib import suppress


def new_loop() -> asyncio.AbstractEventLoop:
    """Return a new event loop: of uvloop if it is installed, else of asyncio."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


def call_when_told_to_stop(stop: Callable[[], None]) -> None:
    """Call `stop` at each SIGTERM and SIGINT. Does nothing on Windows and outside the main thread, where loops have no signals."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        with suppress(NotImplementedError, RuntimeError, ValueError):
            loop.add_signal_handler(number, stop)
