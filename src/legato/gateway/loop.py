"""The event loop of a process."""

import asyncio


def new_loop() -> asyncio.AbstractEventLoop:
    """One of uvloop, where that is installed."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()
