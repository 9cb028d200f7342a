"""The commands of one socket."""

import asyncio
from functools import partial

from legato.dialects.command_queue import CommandQueue


async def test_a_queue_whose_command_raised_runs_the_next_one() -> None:
    queue = CommandQueue()
    taken: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: None)

    async def answer(item: str) -> None:
        taken.append(item)
        if item == "bad":
            raise ValueError(item)

    for item in ("bad", "good"):
        queue.put(partial(answer, item), len(item))
        async with asyncio.timeout(5):
            while not queue.idle:
                await asyncio.sleep(0)
    assert taken == ["bad", "good"]
