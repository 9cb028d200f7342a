"""What the journal keeps is the text so far, whatever happens to a write."""

import asyncio
from collections.abc import Callable
from random import Random

import pytest

from legato.chat import journal as journal_module
from legato.chat.journal import TAKEN_AT_ONCE, WHOLE_AFTER, Journal
from legato.errors import StorageError
from legato.storage.base import JournalEntry
from legato.stream import Flusher, Log, Position, ReplySnapshot, Reset, Text, resume
from legato.testing.sink import ManualLoop, StallingSink


class Rows:
    """A database that keeps rows. `fate` says of each write whether it is taken, and what its caller is told."""

    def __init__(self) -> None:
        self.rows: dict[int, list[JournalEntry]] = {}
        self.fate: Callable[[], str] = lambda: "good"
        self._number = 0

    async def append_journal(self, gateway: str, entries: list[JournalEntry]) -> int:
        fate = self.fate()
        if fate != "lost":
            self._number += 1
            self.rows[self._number] = entries
        await asyncio.sleep(0)
        if fate == "good":
            return self._number
        if fate == "bug":
            raise ZeroDivisionError
        raise StorageError("The connection broke.")

    async def trim_journal(self, gateway: str, before: int) -> None:
        self.rows = {number: row for number, row in self.rows.items() if number >= before}

    def text(self, stream: str) -> str:
        """What a server that starts now would find, by the rules of `Storage.adopt`."""
        events: list[object] = []
        for row in self.rows.values():
            for entry in row:
                if entry.message == stream:
                    if entry.whole:
                        events.clear()
                    events.extend(entry.events)
        return ReplySnapshot(events).text  # type: ignore[arg-type]


@pytest.fixture
def rows() -> Rows:
    return Rows()


@pytest.mark.parametrize("seed", range(30))
async def test_writes_that_fail_or_whose_answer_is_lost_double_nothing(rows: Rows, seed: int) -> None:
    random = Random(seed)
    journal = Journal(rows)  # type: ignore[arg-type]
    logs = [Log(name, "e") for name in "abc"]
    for log in logs:
        journal.open(log)
    rows.fate = lambda: random.choice(["good", "good", "lost", "answer lost"])
    for n in range(60):
        for log in logs:
            if random.random() < 0.7:
                log.append(Text(f"{n} "))
        before = [rows.text(log.stream) for log in logs]
        await journal.tick()
        for log, was in zip(logs, before, strict=True):
            assert rows.text(log.stream) in (was, log.snapshot().text)
    rows.fate = lambda: "good"
    await journal.tick()
    for log in logs:
        assert rows.text(log.stream) == log.snapshot().text


async def test_a_write_whose_caller_was_cancelled_is_not_written_behind_itself(rows: Rows) -> None:
    """A server that ends cancels its ticker, and the database may have taken the row."""
    journal, log = Journal(rows), Log("a", "e")  # type: ignore[arg-type]
    journal.open(log)
    log.append(Text("One "))
    await journal.tick()
    log.append(Text("two."))
    ticking = asyncio.create_task(journal.tick())
    while len(rows.rows) < 2:
        await asyncio.sleep(0)
    ticking.cancel()
    await asyncio.gather(ticking, return_exceptions=True)
    assert not journal.idle
    await journal.tick()
    assert rows.text("a") == "One two."


async def test_the_rows_of_a_long_reply_are_trimmed(rows: Rows) -> None:
    journal, log, other = Journal(rows), Log("a", "e"), Log("b", "e")  # type: ignore[arg-type]
    journal.open(log)
    journal.open(other)
    other.append(Text("A word, and then nothing."))
    for n in range(3 * WHOLE_AFTER):
        log.append(Text(f"{n} "))
        await journal.tick()
        assert rows.text("b") == other.snapshot().text
    assert len(rows.rows) <= WHOLE_AFTER + 1
    assert rows.text("a") == log.snapshot().text


async def test_when_nothing_runs_nothing_is_kept(rows: Rows) -> None:
    journal, log = Journal(rows), Log("a", "e")  # type: ignore[arg-type]
    journal.open(log)
    log.append(Text("One"))
    await journal.tick()
    journal.close("a")
    assert not journal.idle
    await journal.tick()
    assert rows.rows == {}
    assert journal.idle


async def test_a_log_without_an_end_gives_up_its_oldest_events(
    rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the journal does not have yet is kept, and so is what a viewer has not seen."""
    monkeypatch.setattr(journal_module, "LONG", 100)
    monkeypatch.setattr(journal_module, "RECENT", 20)
    journal, log = Journal(rows), Log("a", "e")  # type: ignore[arg-type]
    journal.open(log)
    slow, turns = StallingSink(), ManualLoop()
    slow.watch(log, 0, Flusher(turns))
    for n in range(500):
        log.append(Text(f"{n} "))
        if n == 250:
            turns.settle()
            slow.stall()
        if n == 300:
            rows.fate = lambda: "lost"
        if n % 10 == 9:
            await journal.tick()
    assert log.base == 251
    rows.fate = lambda: "good"
    await journal.tick()
    slow.resume()
    turns.settle()
    log.append(Text("end"))
    await journal.tick()
    turns.settle()
    assert log.base > 400
    assert (
        rows.text("a")
        == log.snapshot().text
        == ReplySnapshot(event for d in slow.deltas() for event in d.events).text
    )
    assert resume(log, Position("a", "e", 300)) == Reset("trimmed")


async def test_between_the_logs_of_a_tick_others_go_on(rows: Rows) -> None:
    journal = Journal(rows)  # type: ignore[arg-type]
    logs = [Log(f"stream {number}", "epoch") for number in range(100)]
    for log in logs:
        journal.open(log)
        log.append(Text("a"))
    # What is said of a log while the tick is at another one belongs to this tick or to the next, and to one of them.
    ticking = asyncio.create_task(journal.tick())
    turns = 0
    while not ticking.done():
        for log in logs:
            log.append(Text("b"))
        turns += 1
        await asyncio.sleep(0)
    await journal.tick()
    assert turns > len(logs) / TAKEN_AT_ONCE
    assert all(rows.text(log.stream) == log.snapshot().text for log in logs)


async def test_a_database_that_is_gone_for_long_is_said_once(
    rows: Rows, caplog: pytest.LogCaptureFixture
) -> None:
    journal, log = Journal(rows), Log("stream", "epoch")  # type: ignore[arg-type]
    journal.open(log)
    rows.fate = lambda: "lost"
    for _ in range(100):
        log.append(Text("a"))
        await journal.tick()
    rows.fate = lambda: "good"
    await journal.tick()
    await journal.tick()
    assert [record.message for record in caplog.records] == [
        "The journal cannot be written: The connection broke. It is tried again until it can.",
        "The journal is written again.",
    ]
