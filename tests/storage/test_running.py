"""Who runs a reply, what users want of it, and what a gateway finds that takes over from another one."""

import asyncio

import pytest
from msgspec.structs import replace
from sqlalchemy import Connection, text
from tests.storage.made import NOW, OWNER, adopted, conversation, conversed, ended, exchange, later, opened

from legato.domain.participant import Participant
from legato.errors import ForbiddenError, NotFoundError, StaleError
from legato.storage.base import AdoptedReply, JournalEntry, NewTurn, ReplyOwner
from legato.storage.sql import SqlStorage
from legato.stream import Text


def turn(number: int, user: str = "ada", gateway: str = "local", *, after_head: bool = False) -> NewTurn:
    return replace(exchange(number), user=user, gateway=gateway, after_head=after_head)


def ids(replies: list[AdoptedReply]) -> list[str]:
    return [reply.message.id for reply in replies]


async def count(storage: SqlStorage, table: str) -> int:
    def work(connection: Connection) -> int:
        rows: int = connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one()
        return rows

    return await storage.database.read(work)


async def test_only_writers_begin_a_turn(storage: SqlStorage) -> None:
    made = await conversed(storage)
    with pytest.raises(NotFoundError):
        await storage.begin(turn(1, "bob"), NOW)
    await storage.add_participant(Participant("c", "bob", "viewer", NOW))
    with pytest.raises(ForbiddenError):
        await storage.begin(turn(1, "bob"), NOW)
    assert await storage.conversation("c") == made
    assert await storage.messages("c") == []
    await storage.change_role("c", "bob", "member")
    assert not (await storage.begin(turn(1, "bob"), NOW)).duplicate
    await storage.remove_participant("c", "bob")
    with pytest.raises(NotFoundError):
        await storage.begin(turn(2, "bob"), NOW)


async def test_a_former_conversation_owner_writes_as_a_member(storage: SqlStorage) -> None:
    await conversed(storage)
    await storage.add_participant(Participant("c", "bob", "viewer", NOW))
    await storage.transfer_ownership("c", "bob", NOW)
    await storage.begin(turn(1, "bob"), NOW)
    await storage.begin(turn(2, "ada"), NOW)
    await storage.change_role("c", "ada", "viewer")
    with pytest.raises(ForbiddenError):
        await storage.begin(turn(3, "ada"), NOW)


async def test_concurrent_turns_form_one_branch(storage: SqlStorage) -> None:
    await conversed(storage)
    started = await asyncio.gather(*(storage.begin(turn(i, after_head=True), NOW) for i in range(20)))
    assert sorted(each.ahead for each in started) == list(range(20))
    branch = []
    parents = {message.id: message.parent for message in await storage.messages("c")}
    stored = await storage.conversation("c")
    assert stored is not None
    message = stored.head
    while message is not None:
        branch.append(message)
        message = parents[message]
    assert len(branch) == 40


async def test_a_regenerated_reply_can_be_placed_after_the_head(storage: SqlStorage) -> None:
    await conversed(storage)
    await storage.begin(exchange(1), NOW)
    alone = replace(exchange(2), question=None, after_head=True)
    assert (await storage.begin(alone, NOW)).reply.parent == "r1"


async def test_the_first_turn_of_a_new_conversation_has_no_parent(storage: SqlStorage) -> None:
    started = await storage.begin(replace(turn(1, after_head=True), create=conversation("c")), NOW)
    assert started.question is not None
    assert (started.question.parent, started.ahead) == (None, 0)


async def test_replies_ahead_are_counted_per_conversation(storage: SqlStorage) -> None:
    await conversed(storage)
    await conversed(storage, "d")
    assert (await storage.begin(exchange(1), NOW)).ahead == 0
    assert (await storage.begin(exchange(2, of="d"), NOW)).ahead == 0
    assert (await storage.begin(exchange(3), NOW)).ahead == 1
    await storage.finish(ended("r1", "x"), OWNER, NOW)
    assert (await storage.begin(exchange(4), NOW)).ahead == 1


async def test_a_former_owner_cannot_finish_a_reply(storage: SqlStorage) -> None:
    await conversed(storage)
    started = await storage.begin(exchange(1), NOW)
    [reply] = await storage.adopt("b", ["local"])
    assert reply.owner == ReplyOwner("b", 2)
    for owner in (started.owner, ReplyOwner("b", 1), ReplyOwner("local", 2), ReplyOwner("b", 3)):
        with pytest.raises(StaleError):
            await storage.finish(ended("r1", "old"), owner, later(1))
    assert await storage.conversation("c") == started.conversation
    assert await storage.message("r1") == started.reply
    assert await storage.search("ada", "old") == []
    finished = await storage.finish(ended("r1", "new", parent="q1"), reply.owner, later(1))
    assert finished is not None
    with pytest.raises(StaleError):
        await storage.finish(ended("r1", "old"), started.owner, later(2))
    assert await storage.message("r1") == finished
    assert await count(storage, "running") == 0


async def test_concurrent_endings_of_a_reply_write_one(storage: SqlStorage) -> None:
    await conversed(storage)
    await storage.begin(exchange(1), NOW)
    endings = [storage.finish(ended("r1", f"ending{i}"), OWNER, NOW) for i in range(20)]
    results = await asyncio.gather(*endings, return_exceptions=True)
    assert sum(isinstance(each, StaleError) for each in results) == 19
    [written] = [each for each in results if not isinstance(each, BaseException)]
    assert await storage.message("r1") == written


async def test_finish_and_rewrite_check_the_role_of_the_message(storage: SqlStorage) -> None:
    await conversed(storage)
    started = await storage.begin(exchange(1), NOW)
    assert started.question is not None
    assert await storage.finish(started.question, OWNER, NOW) is None
    assert await storage.rewrite(ended("r1", "x"), NOW) is None
    assert await storage.messages("c") == [started.question, started.reply]


async def test_concurrent_adopters_never_adopt_the_same_reply(storage: SqlStorage, url: str) -> None:
    await conversed(storage)
    for i in range(30):
        await storage.begin(exchange(i), NOW)
    async with opened(url) as other:
        one, two = await asyncio.gather(storage.adopt("a", ["local"]), other.adopt("b", ["local"]))
    assert sorted(ids(one) + ids(two)) == sorted(f"r{i}" for i in range(30))
    assert {reply.owner for reply in one} <= {ReplyOwner("a", 2)}
    assert {reply.owner for reply in two} <= {ReplyOwner("b", 2)}


async def test_a_gateway_that_was_declared_dead_cannot_begin_a_turn(storage: SqlStorage) -> None:
    made = await conversed(storage)
    assert await storage.adopt("a", []) == []
    assert await storage.adopt("b", ["a", "never seen"]) == []
    with pytest.raises(StaleError):
        await storage.begin(turn(1, gateway="a"), NOW)
    assert await storage.conversation("c") == made
    assert await storage.messages("c") == []
    await storage.adopt("a", ["a"])
    assert (await storage.begin(turn(1, gateway="a"), NOW)).owner == ReplyOwner("a", 1)


async def test_a_gateway_adopts_only_from_the_named_gateways(storage: SqlStorage) -> None:
    await conversed(storage)
    await storage.adopt("a", [])
    await storage.begin(turn(1, gateway="a"), NOW)
    await storage.begin(turn(2), NOW)
    assert ids(await storage.adopt("b", ["local"])) == ["r2"]
    assert ids(await storage.adopt("b", ["b"])) == ["r2"]
    assert ids(await storage.adopt("b", ["a", "b"])) == ["r1", "r2"]


async def test_adoption_carries_the_journal_over(storage: SqlStorage) -> None:
    await conversed(storage)
    await storage.begin(exchange(1), NOW)
    await storage.begin(exchange(2), NOW)
    await storage.append_journal("local", [JournalEntry("r1", [Text("a")]), JournalEntry("r2", [Text("x")])])
    await storage.append_journal("local", [JournalEntry("r1", [Text("b")])])
    [first, second] = await storage.adopt("b", ["local"])
    assert (first.events, second.events) == ([Text("a"), Text("b")], [Text("x")])
    await storage.append_journal("b", [JournalEntry("r1", [Text("c")])])
    [first, second] = await storage.adopt("c", ["b"])
    assert (first.events, second.events) == ([Text("a"), Text("b"), Text("c")], [Text("x")])
    assert first.owner == ReplyOwner("c", 3)
    assert await count(storage, "journal") == 1


async def test_a_gateway_trims_only_its_own_journal(storage: SqlStorage) -> None:
    await conversed(storage)
    await storage.adopt("a", [])
    await storage.begin(exchange(1), NOW)
    await storage.begin(turn(2, gateway="a"), NOW)
    await storage.append_journal("local", [JournalEntry("r1", [Text("b")])])
    mine = await storage.append_journal("a", [JournalEntry("r2", [Text("a")])])
    await storage.trim_journal("a", mine + 1)
    assert [reply.events for reply in await adopted(storage)] == [[Text("b")]]
    assert [reply.events for reply in await storage.adopt("a", ["a"])] == [[]]


async def test_stop_requests_are_listed_by_owner(storage: SqlStorage) -> None:
    await conversed(storage)
    await conversed(storage, "d")
    for i in (1, 2, 3):
        await storage.begin(exchange(i), NOW)
    await storage.begin(exchange(4, of="d"), NOW)
    assert await storage.stop_requests("local") == []
    assert await storage.request_stop("c", "r4") == []
    assert await storage.request_stop("c", "r2") == ["r2"]
    assert await storage.stop_requests("local") == ["r2"]
    assert await storage.request_stop("c") == ["r1", "r2", "r3"]
    assert await storage.stop_requests("a") == []
    await storage.finish(ended("r2", "x"), OWNER, NOW)
    assert await storage.stop_requests("local") == ["r1", "r3"]
    stopped = {reply.message.id: reply.stop_requested for reply in await storage.adopt("a", ["local"])}
    assert stopped == {"r1": True, "r3": True, "r4": False}
    assert await storage.stop_requests("a") == ["r1", "r3"]


async def test_the_first_decision_on_a_tool_call_counts(storage: SqlStorage) -> None:
    await conversed(storage)
    await storage.begin(exchange(1), NOW)
    answers = await asyncio.gather(*(storage.decide("r1", "call", i % 2 == 0) for i in range(20)))
    assert len(set(answers)) == 1
    assert await storage.decide("r1", "other", False) is False
    assert await storage.decide("r1", "other", True) is False
    expected = {"call": answers[0], "other": False}
    assert await storage.decisions("r1") == expected
    assert [reply.decisions for reply in await adopted(storage)] == [expected]


async def test_no_decision_is_stored_for_a_reply_that_does_not_run(storage: SqlStorage) -> None:
    await conversed(storage)
    await storage.begin(exchange(1), NOW)
    await storage.decide("r1", "call", True)
    await storage.finish(ended("r1", "x"), OWNER, NOW)
    for reply in ("r1", "q1", "nothing"):
        with pytest.raises(NotFoundError):
            await storage.decide(reply, "call", True)
        assert await storage.decisions(reply) == {}
    assert await count(storage, "approvals") == 0


async def test_deleting_a_conversation_removes_its_running_replies(storage: SqlStorage) -> None:
    await conversed(storage)
    await storage.begin(exchange(1), NOW)
    await storage.decide("r1", "call", True)
    await storage.delete_conversation("c")
    assert await count(storage, "running") == await count(storage, "approvals") == 0
    assert await storage.finish(ended("r1", "x"), OWNER, NOW) is None
    assert await adopted(storage) == []
