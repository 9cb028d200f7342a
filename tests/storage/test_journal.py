import logging

import pytest
from sqlalchemy import Connection, text
from tests.storage.made import NOW, OWNER, adopted, conversed, ended, exchange

from legato.storage.base import LOCAL_GATEWAY, JournalEntry
from legato.storage.sql import SqlStorage
from legato.stream import Event, Finished, Reasoning, Rewound, State, Text, ToolFinished, ToolStarted, Usage

EVERY: list[Event] = [
    State("loading", model="m", progress=0.5),
    Reasoning("Hm."),
    Text("naïve 🐋 \\u0000 "),
    Rewound(1, "", "Hm."),
    ToolStarted("1", "find", "{}"),
    ToolFinished("1", "[]", failed=True),
    Finished("stop", Usage(1, 2)),
]


async def begun(storage: SqlStorage, count: int = 1) -> None:
    await conversed(storage)
    for i in range(1, count + 1):
        await storage.begin(exchange(i), NOW)


async def kept(storage: SqlStorage) -> dict[str, list[Event]]:
    return {each.message.id: each.events for each in await adopted(storage)}


async def break_row(storage: SqlStorage, number: int, blob: bytes) -> None:
    def work(connection: Connection) -> None:
        connection.execute(
            text("UPDATE journal SET entries = :blob WHERE number = :number"),
            {"blob": blob, "number": number},
        )

    await storage.database.write(work)


async def test_events_are_returned_in_order(storage: SqlStorage) -> None:
    await begun(storage)
    for event in EVERY:
        await storage.append_journal(LOCAL_GATEWAY, [JournalEntry("r1", [event])])
    assert await kept(storage) == {"r1": EVERY}


async def test_a_row_holds_all_running_replies(storage: SqlStorage) -> None:
    await begun(storage, 3)
    await storage.append_journal(
        LOCAL_GATEWAY, [JournalEntry("r1", [Text("a")]), JournalEntry("r2", [Text("b"), Text("c")])]
    )
    await storage.append_journal(
        LOCAL_GATEWAY, [JournalEntry("r2", [Text("d")]), JournalEntry("gone", [Text("x")])]
    )
    assert await kept(storage) == {"r1": [Text("a")], "r2": [Text("b"), Text("c"), Text("d")], "r3": []}


async def test_a_whole_entry_replaces_earlier_entries(storage: SqlStorage) -> None:
    await begun(storage, 2)
    await storage.append_journal(
        LOCAL_GATEWAY, [JournalEntry("r1", [Text("a")]), JournalEntry("r2", [Text("b")])]
    )
    await storage.append_journal(LOCAL_GATEWAY, [JournalEntry("r1", [Text("A")], whole=True)])
    await storage.append_journal(LOCAL_GATEWAY, [JournalEntry("r1", [Text("c")])])
    assert await kept(storage) == {"r1": [Text("A"), Text("c")], "r2": [Text("b")]}


async def test_a_finished_reply_is_not_adopted(storage: SqlStorage) -> None:
    await begun(storage, 2)
    await storage.append_journal(LOCAL_GATEWAY, [JournalEntry("r1", [Text("a")])])
    await storage.finish(ended("r1", "a"), OWNER, NOW)
    assert await kept(storage) == {"r2": []}


async def test_row_numbers_grow_after_all_rows_were_dropped(storage: SqlStorage) -> None:
    first = await storage.append_journal(LOCAL_GATEWAY, [])
    second = await storage.append_journal(LOCAL_GATEWAY, [])
    await storage.trim_journal(LOCAL_GATEWAY, second + 1)
    third = await storage.append_journal(LOCAL_GATEWAY, [])
    assert first < second < third


async def test_trimming_drops_only_rows_before_the_number(storage: SqlStorage) -> None:
    await begun(storage)
    numbers = [
        await storage.append_journal(LOCAL_GATEWAY, [JournalEntry("r1", [Text(str(i))])]) for i in range(5)
    ]
    await storage.trim_journal(LOCAL_GATEWAY, numbers[3])
    assert await kept(storage) == {"r1": [Text("3"), Text("4")]}


async def test_many_rows_are_read(storage: SqlStorage) -> None:
    await begun(storage)
    for i in range(203):
        await storage.append_journal(LOCAL_GATEWAY, [JournalEntry("r1", [Text(f"{i} ")])])
    assert await kept(storage) == {"r1": [Text(f"{i} ") for i in range(203)]}


@pytest.mark.parametrize(
    "blob", [b"", b"[[", b"\xff\xfe", b'[["r1",[{"type":"later"}],false]]', b"{}", b"\0" * 99]
)
async def test_no_event_follows_an_unreadable_row_without_a_whole_entry(
    storage: SqlStorage, blob: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    await begun(storage, 2)
    await storage.append_journal(
        LOCAL_GATEWAY, [JournalEntry("r1", [Text("a")]), JournalEntry("r2", [Text("x")])]
    )
    broken = await storage.append_journal(
        LOCAL_GATEWAY, [JournalEntry("r1", [Text("b")]), JournalEntry("r2", [Text("y")])]
    )
    await storage.append_journal(LOCAL_GATEWAY, [JournalEntry("r1", [Text("c")])])
    await storage.append_journal(LOCAL_GATEWAY, [JournalEntry("r2", [Text("xyz")], whole=True)])
    await storage.append_journal(
        LOCAL_GATEWAY, [JournalEntry("r1", [Text("d")]), JournalEntry("r2", [Text("!")])]
    )
    await break_row(storage, broken, blob)
    with caplog.at_level(logging.ERROR):
        assert await kept(storage) == {"r1": [Text("a")], "r2": [Text("xyz"), Text("!")]}
    assert f"Row {broken}" in caplog.text


@pytest.mark.parametrize("bad", ["\0", "\ud83d"])
async def test_unstorable_text_of_one_reply_does_not_affect_the_others(storage: SqlStorage, bad: str) -> None:
    await begun(storage, 2)
    await storage.append_journal(
        LOCAL_GATEWAY,
        [JournalEntry("r1", [Text(f"a{bad}b")]), JournalEntry("r2", [Text("c"), Finished("stop")])],
    )
    assert await kept(storage) == {"r1": [Text("a\ufffdb")], "r2": [Text("c"), Finished("stop")]}


async def test_a_ping_leaves_no_row(storage: SqlStorage) -> None:
    await begun(storage)
    await storage.ping()
    count = await storage.database.read(
        lambda connection: connection.scalar(text("SELECT count(*) FROM journal"))
    )
    assert count == 0
