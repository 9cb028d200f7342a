import asyncio
from datetime import timedelta

import pytest
from msgspec.structs import replace
from tests.storage.made import (
    NOW,
    OWNER,
    adopted,
    conversation,
    conversed,
    ended,
    exchange,
    later,
    question,
    reply,
)

from legato.domain.message import ImagePart, TextPart, ToolCallPart, ToolResultPart
from legato.domain.participant import Participant
from legato.errors import ConflictError, InvalidError, NotFoundError
from legato.storage.base import NewTurn, TurnStarted
from legato.storage.sql import SqlStorage
from legato.stream import Timings, Usage


async def test_a_turn_is_stored_as_it_was_written(storage: SqlStorage) -> None:
    await conversed(storage)
    begun = await storage.begin(exchange(1, title="Why"), later(1))
    assert begun == TurnStarted(
        replace(conversation("c"), title="Why", updated_at=later(1), revision=1, head="r1"),
        replace(question("q1", "Why?"), revision=1),
        replace(reply("r1", parent="q1"), revision=1),
    )
    assert await storage.conversation("c") == begun.conversation
    assert await storage.messages("c") == [begun.question, begun.reply]
    assert await storage.message("r1") == begun.reply


async def test_an_existing_title_is_kept(storage: SqlStorage) -> None:
    await conversed(storage, title="Mine")
    begun = await storage.begin(exchange(1, title="Other"), NOW)
    assert begun.conversation.title == "Mine"
    assert await storage.search("ada", "other") == []


async def test_a_reply_without_a_question_is_another_branch(storage: SqlStorage) -> None:
    await conversed(storage)
    await storage.begin(exchange(1), NOW)
    begun = await storage.begin(NewTurn("c", "ada", None, reply("r2", parent="q1")), NOW)
    assert (begun.question, begun.conversation.head) == (None, "r2")
    assert [each.id for each in await storage.messages("c")] == ["q1", "r1", "r2"]


async def test_the_first_turn_can_create_its_conversation(storage: SqlStorage) -> None:
    first = exchange(1, "whales", key="k", title="About whales", create=conversation("c"))
    begun = await storage.begin(first, later(1))
    assert begun.conversation == await storage.conversation("c")
    assert (begun.conversation.title, begun.conversation.revision, begun.conversation.head) == (
        "About whales",
        1,
        "r1",
    )
    assert [hit.message for hit in await storage.search("ada", "about")] == [None]
    other = exchange(2, "whales", of="d", key="k", create=conversation("d"))
    again = await storage.begin(other, later(2))
    assert again == replace(begun, duplicate=True)
    assert await storage.conversation("d") is None


async def test_an_existing_conversation_is_not_created_again(storage: SqlStorage) -> None:
    made = await conversed(storage, title="Mine")
    with pytest.raises(ConflictError):
        await storage.begin(exchange(1, key="k", create=conversation("c")), NOW)
    assert await storage.conversation("c") == made
    assert not (await storage.begin(exchange(1, key="k"), NOW)).duplicate


async def test_no_turn_begins_in_a_missing_conversation_or_after_a_missing_parent(
    storage: SqlStorage,
) -> None:
    await conversed(storage, "d")
    await storage.begin(exchange(9, of="d"), NOW)
    with pytest.raises(NotFoundError):
        await storage.begin(exchange(1, key="k"), NOW)
    made = await conversed(storage, "c")
    for parent in ("nothing", "r9"):
        with pytest.raises(NotFoundError):
            await storage.begin(exchange(1, parent=parent, key="k"), NOW)
        with pytest.raises(NotFoundError):
            await storage.begin(NewTurn("c", "ada", None, reply("r1", parent=parent)), NOW)
    with pytest.raises(NotFoundError):
        await storage.begin(exchange(1, of="e", parent="r9", create=conversation("e")), NOW)
    assert await storage.conversation("c") == made
    assert await storage.conversation("e") is None
    assert await storage.messages("c") == []
    assert not (await storage.begin(exchange(1, key="k"), NOW)).duplicate


async def test_a_message_id_is_unique(storage: SqlStorage) -> None:
    await conversed(storage)
    before = await storage.begin(exchange(1), NOW)
    with pytest.raises(ConflictError):
        await storage.begin(exchange(1, "again"), NOW)
    assert await storage.conversation("c") == before.conversation


async def test_a_hundred_concurrent_sends_of_one_message_are_one_turn(storage: SqlStorage) -> None:
    await conversed(storage)
    begun = await asyncio.gather(*(storage.begin(exchange(i, key="k"), NOW) for i in range(100)))
    assert [each.duplicate for each in begun].count(False) == 1
    assert len({(each.question and each.question.id, each.reply.id) for each in begun}) == 1
    assert len(await storage.messages("c")) == 2
    stored = await storage.conversation("c")
    assert stored is not None
    assert stored.revision == 1


async def test_a_hundred_concurrent_first_sends_create_one_conversation(storage: SqlStorage) -> None:
    firsts = [exchange(i, of=f"c{i}", key="k", create=conversation(f"c{i}")) for i in range(100)]
    begun = await asyncio.gather(*(storage.begin(each, NOW) for each in firsts))
    assert [each.duplicate for each in begun].count(False) == 1
    assert {each.conversation.id for each in begun} == {
        each.id for each in await storage.conversations("ada")
    }


async def test_another_message_with_the_same_client_message_id_is_refused(storage: SqlStorage) -> None:
    await conversed(storage)
    first = await storage.begin(exchange(1, key="k"), NOW)
    with pytest.raises(ConflictError, match="client_message_id"):
        await storage.begin(exchange(2, key="k", fingerprint="other"), NOW)
    assert await storage.messages("c") == [first.question, first.reply]


async def test_two_users_can_use_the_same_client_message_id(storage: SqlStorage) -> None:
    await conversed(storage)
    await storage.add_participant(Participant("c", "bob", "member", NOW))
    await storage.begin(exchange(1, key="k"), NOW)
    begun = await storage.begin(replace(exchange(2, key="k", fingerprint="other"), user="bob"), NOW)
    assert not begun.duplicate


async def test_a_repeated_send_returns_the_present_state_of_its_turn(storage: SqlStorage) -> None:
    await conversed(storage)
    await storage.begin(exchange(1, key="k"), NOW)
    finished = await storage.finish(ended("r1", "Because.", parent="q1"), OWNER, NOW)
    again = await storage.begin(exchange(2, key="k"), NOW)
    assert again.duplicate
    assert again.reply == finished


async def test_concurrent_turns_have_different_revisions(storage: SqlStorage) -> None:
    await conversed(storage)
    begun = await asyncio.gather(*(storage.begin(exchange(i), NOW) for i in range(30)))
    assert sorted(each.conversation.revision for each in begun) == list(range(1, 31))
    told = await storage.messages("c")
    assert [each.revision for each in told] == sorted(each.revision for each in told)
    assert [each.role for each in told] == ["user", "assistant"] * 30


async def test_the_order_of_messages_does_not_depend_on_the_clock(storage: SqlStorage) -> None:
    await conversed(storage)
    for i, days in enumerate((0, 400, -400, 0, -399)):
        moment = NOW + timedelta(days=days)
        asked = replace(question(f"q{i}", "?", parent=f"r{i - 1}" if i else None), created_at=moment)
        answer = replace(reply(f"r{i}", parent=f"q{i}"), created_at=moment)
        await storage.begin(NewTurn("c", "ada", asked, answer), moment)
    assert [each.id for each in await storage.messages("c")] == [
        f"{kind}{i}" for i in range(5) for kind in "qr"
    ]


async def test_all_fields_of_a_finished_reply_are_stored(storage: SqlStorage) -> None:
    await conversed(storage)
    await storage.begin(exchange(1), NOW)
    parts = (
        ToolCallPart("1", "find", '{"name": "Ada"}'),
        ToolResultPart("1", "find", '{"\\u0000": "\\\\u0000"}', failed=True),
        TextPart("naïve 🐋 \\u0000 \u2028"),
        ImagePart("data:image/png;base64,AAAA"),
    )
    end = replace(
        ended("r1", "", parent="q1"),
        parts=parts,
        status="stopped",
        reasoning="Hm.",
        usage=Usage(3, 4),
        timings=Timings(first_token_ms=1.5),
    )
    finished = await storage.finish(end, OWNER, later(7))
    assert finished == replace(end, revision=2)
    assert await storage.message("r1") == finished
    assert await adopted(storage) == []
    after = await storage.conversation("c")
    assert after is not None
    assert (after.revision, after.updated_at) == (2, later(7))


async def test_finish_keeps_the_parent_and_the_time_of_a_reply(storage: SqlStorage) -> None:
    await conversed(storage)
    await storage.begin(exchange(1), NOW)
    finished = await storage.finish(replace(ended("r1", "x"), created_at=later(9)), OWNER, NOW)
    assert finished is not None
    assert (finished.parent, finished.created_at) == ("q1", NOW)
    assert await storage.message("r1") == finished


async def test_finish_twice_changes_only_the_revision(storage: SqlStorage) -> None:
    await conversed(storage)
    await storage.begin(exchange(1), NOW)
    first = await storage.finish(ended("r1", "whales", parent="q1"), OWNER, NOW)
    second = await storage.finish(ended("r1", "whales", parent="q1"), OWNER, NOW)
    assert first is not None
    assert second == replace(first, revision=3)
    assert [hit.message for hit in await storage.search("ada", "whales")] == ["r1"]


async def test_messages_after_a_revision_are_returned(storage: SqlStorage) -> None:
    await conversed(storage)
    await storage.begin(exchange(1), NOW)
    await storage.begin(exchange(2, parent="r1"), NOW)
    await storage.finish(ended("r1", "x"), OWNER, NOW)
    assert [each.id for each in await storage.messages("c", after_revision=1)] == ["r1", "q2", "r2"]
    assert [each.id for each in await storage.messages("c", after_revision=2)] == ["r1"]
    assert await storage.messages("c", after_revision=3) == []
    assert await storage.messages("c", after_revision=10**40) == []
    assert len(await storage.messages("c", after_revision=-(10**40))) == 4


async def test_finish_returns_none_for_a_missing_reply(storage: SqlStorage) -> None:
    made = await conversed(storage)
    assert await storage.finish(ended("r1", "x"), OWNER, NOW) is None
    assert await storage.finish(ended("r1", "x", of="nothing"), OWNER, NOW) is None
    assert await storage.conversation("c") == made
    assert await storage.search("ada", "x") == []


@pytest.mark.parametrize("bad", ["a\0b", "a\ud800b", "\udfff"])
async def test_unstorable_text_is_refused(storage: SqlStorage, bad: str) -> None:
    made = await conversed(storage)
    with pytest.raises(InvalidError):
        await storage.create_conversation(conversation("d", title=bad))
    with pytest.raises(InvalidError):
        await storage.begin(exchange(1, bad, key="k"), NOW)
    with pytest.raises(InvalidError):
        await storage.begin(exchange(1, key=bad), NOW)
    with pytest.raises(InvalidError):
        await storage.begin(exchange(1, title=bad), NOW)
    with pytest.raises(InvalidError):
        await storage.begin(exchange(1, parent=bad), NOW)
    with pytest.raises(InvalidError):
        await storage.rename_conversation("c", bad, NOW)
    with pytest.raises(InvalidError):
        await storage.conversation(bad)
    assert await storage.conversation("c") == made
    await storage.begin(exchange(1, key="k"), NOW)
    with pytest.raises(InvalidError):
        await storage.finish(ended("r1", bad), OWNER, NOW)
    with pytest.raises(InvalidError):
        await storage.finish(replace(ended("r1", "x"), reasoning=bad), OWNER, NOW)
    assert [each.message.id for each in await adopted(storage)] == ["r1"]
