"""Users take turns at searching, whatever one of them does."""

import asyncio

import pytest

from legato.errors import BusyError
from legato.storage.sql.search_queue import USER_WAITING, SearchQueue


class Searches:
    """Searches that end when they are told to. `running` are those that have a place, in the order in which they got it."""

    def __init__(self, at_once: int) -> None:
        self.queue = SearchQueue(at_once)
        self.running: list[str] = []
        self.over: dict[str, asyncio.Event] = {}

    def start(self, name: str) -> asyncio.Task[None]:
        return asyncio.create_task(self._search(name))

    async def _search(self, name: str) -> None:
        async with self.queue.place(name[0]):
            self.running.append(name)
            over = self.over[name] = asyncio.Event()
            await over.wait()


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_one_search_of_a_user_runs_and_the_others_take_turns() -> None:
    searches = Searches(at_once=2)
    tasks = [searches.start(name) for name in ("a1", "a2", "a3", "b1", "b2", "c1")]
    await settled()
    assert searches.running == ["a1", "b1"]
    for ended, begins in [("a1", "c1"), ("b1", "a2"), ("c1", "b2"), ("a2", "a3")]:
        searches.over[ended].set()
        await settled()
        assert searches.running[-1] == begins
    for each in searches.over.values():
        each.set()
    await asyncio.gather(*tasks)


async def test_a_user_without_searches_waits_for_no_line_of_another() -> None:
    searches = Searches(at_once=2)
    hog = [searches.start(f"a{n}") for n in range(1 + USER_WAITING)]
    await settled()
    other = searches.start("b1")
    await settled()
    assert searches.running == ["a0", "b1"]
    with pytest.raises(BusyError, match="too often"):
        await searches.start("a9")
    for task in [*hog, other]:
        task.cancel()
    await asyncio.gather(*hog, other, return_exceptions=True)


async def test_who_is_cancelled_gives_the_place_back() -> None:
    searches = Searches(at_once=1)
    first, second, third = (searches.start(name) for name in ("a1", "b1", "c1"))
    await settled()
    second.cancel()
    await settled()
    first.cancel()
    await settled()
    assert searches.running == ["a1", "c1"]
    fourth = searches.start("a2")
    await settled()
    # Ended and cancelled in the same step: the place goes on.
    searches.over["c1"].set()
    await third
    fourth.cancel()
    await asyncio.gather(fourth, return_exceptions=True)
    fifth = searches.start("d1")
    await settled()
    assert searches.running[-1] == "d1"
    fifth.cancel()
    await asyncio.gather(first, second, fifth, return_exceptions=True)
    assert searches.queue._running == set()
    assert searches.queue._waiting == {}
