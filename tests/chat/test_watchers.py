"""What is told of one conversation comes in its order, to everyone who is there."""

import asyncio
from collections.abc import Callable

import pytest

from legato.chat.watchers import Watcher, Watchers

from .conftest import ADA, RecordingWatcher


def said(what: str) -> Callable[[Watcher], None]:
    return lambda watcher: watcher.on_deleted(what)


async def test_what_is_put_off_comes_at_the_end_of_the_turn_in_its_order() -> None:
    audience, heard, turn = Watchers(), RecordingWatcher(), []
    audience.add("c", heard, ADA)
    asyncio.get_running_loop().call_soon(lambda: turn.append(list(heard.deleted)))
    audience.tell_soon("c", said("one"))
    audience.tell_soon("c", said("two"))
    assert heard.deleted == []
    await heard.until(lambda heard: len(heard.deleted) == 2)
    assert turn == [[]]
    assert heard.deleted == ["one", "two"]


async def test_what_comes_later_does_not_overtake_what_was_put_off() -> None:
    """A client that has seen a later revision would never ask for the earlier one again."""
    audience, heard, other = Watchers(), RecordingWatcher(), RecordingWatcher()
    audience.add("c", heard, ADA)
    audience.add("other", other, ADA)
    audience.tell_soon("c", said("one"))
    audience.tell_soon("other", said("three"))
    audience.tell("c", said("two"))
    assert heard.deleted == ["one", "two"]
    assert other.deleted == []
    await other.until(lambda other: bool(other.deleted))
    assert heard.deleted == ["one", "two"]


async def test_one_that_fails_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    class Raising(RecordingWatcher):
        def on_deleted(self, conversation: str) -> None:
            raise ZeroDivisionError

    audience, heard = Watchers(), RecordingWatcher()
    audience.add("c", Raising(), ADA)
    audience.add("c", heard, ADA)
    audience.tell_soon("c", said("one"))
    audience.tell("c", said("two"))
    assert heard.deleted == ["one", "two"]
    assert "A watcher of conversation c failed" in caplog.text
