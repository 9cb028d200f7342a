"""What people attach, as both databases keep it."""

import asyncio

import pytest
from msgspec.structs import replace
from tests.storage.made import NOW, conversed, exchange, later

from legato.domain.attachment import Attachment
from legato.domain.message import AudioPart, ImagePart
from legato.domain.participant import Participant
from legato.errors import NotFoundError, TooLargeError
from legato.storage.sql import SqlStorage

ROOM = 1000


def attachment(
    name: str = "a", owner: str = "ada", size: int = 10, digest: str = "d", **more: object
) -> Attachment:
    return Attachment(name, owner, "image/png", size, digest * 64, NOW, **more)


async def enclosed(
    storage: SqlStorage, of: str = "c", number: int = 1, *names: str, by: str | None = None
) -> None:
    made = await storage.conversation(of)
    assert made is not None
    turn = replace(exchange(number, of=of), user=by or made.owner, enclosed=names or ("a",))
    await storage.begin(turn, NOW)


async def test_only_the_owner_reads_an_attachment(storage):
    kept = await storage.add_attachment(attachment("a"), ROOM)
    assert await storage.attachment("a", "ada") == kept
    assert await storage.attachment("a", "bob") is None
    assert await storage.attachment("b", "ada") is None


async def test_participants_read_the_attachments_of_their_conversation(storage):
    await conversed(storage, owner="bob")
    await storage.add_attachment(attachment(), ROOM)
    assert await storage.attachment("a", "bob") is None
    with pytest.raises(NotFoundError, match="no such attachment"):
        await enclosed(storage)
    await storage.add_participant(Participant("c", "ada", "member", NOW))
    await enclosed(storage, by="ada")
    assert await storage.attachment("a", "bob") is not None
    assert await storage.attachment("a", "eve") is None
    await storage.add_participant(Participant("c", "eve", "viewer", NOW))
    assert await storage.attachment("a", "eve") is not None
    await storage.remove_participant("c", "eve")
    assert await storage.attachment("a", "eve") is None


async def test_a_message_with_a_missing_attachment_is_not_written(storage):
    await conversed(storage)
    with pytest.raises(NotFoundError, match="no such attachment"):
        await enclosed(storage)
    assert await storage.messages("c") == []
    assert (await storage.conversation("c")).revision == 0


async def test_enclosing_an_attachment_twice_changes_nothing(storage):
    await conversed(storage)
    await storage.add_attachment(attachment(), ROOM)
    await enclosed(storage)
    await enclosed(storage, "c", 2)
    assert len(await storage.messages("c")) == 4


async def test_the_quota_is_not_exceeded(storage):
    await storage.add_attachment(attachment("a", size=600, digest="a"), ROOM)
    with pytest.raises(TooLargeError, match="no room"):
        await storage.add_attachment(attachment("b", size=401, digest="b"), ROOM)
    await storage.add_attachment(attachment("b", size=400, digest="b"), ROOM)
    await storage.add_attachment(attachment("c", "bob", size=1000, digest="c"), ROOM)


async def test_the_same_bytes_without_a_name_are_one_attachment_and_count_as_new(storage):
    first = await storage.add_attachment(attachment("a"), ROOM)
    again = await storage.add_attachment(replace(attachment("b"), created_at=later(100)), ROOM)
    assert again == replace(first, created_at=later(100))
    named = await storage.add_attachment(replace(attachment("c"), name="cat"), ROOM)
    assert named.id == "c"
    other = await storage.add_attachment(attachment("d", "bob"), ROOM)
    assert other.id == "d"
    assert await storage.drop_attachments(later(50)) == 2
    assert [each.id for each in await storage.attachments(["a", "b", "c", "d"])] == ["a"]


async def test_only_unused_attachments_are_dropped(storage):
    await conversed(storage)
    await storage.add_attachment(attachment("a", digest="a"), ROOM)
    await storage.add_attachment(attachment("b", digest="b"), ROOM)
    await enclosed(storage)
    assert await storage.drop_attachments(NOW) == 0
    assert await storage.drop_attachments(later(1)) == 1
    assert await storage.known_digests(["a" * 64, "b" * 64]) == {"a" * 64}


async def test_an_attachment_is_deleted_with_its_last_conversation(storage):
    await conversed(storage, "c")
    await conversed(storage, "d")
    await storage.add_attachment(attachment("a"), ROOM)
    await storage.add_attachment(attachment("b", "bob"), ROOM)
    await enclosed(storage, "c", 1)
    await enclosed(storage, "d", 2)
    await storage.delete_conversation("c")
    assert await storage.attachment("a", "ada") is not None
    await storage.delete_conversation("d")
    assert await storage.attachment("a", "ada") is None
    assert await storage.known_digests(["d" * 64]) == {"d" * 64}, "bob has the same bytes"


async def test_a_message_is_found_by_the_transcript_of_its_recording(storage):
    await conversed(storage)
    asked = exchange(1, text="Listen:")
    await storage.begin(asked, NOW)
    parts = (
        *asked.question.parts,
        AudioPart(attachment="a", transcript="a nightingale"),
        ImagePart(attachment="b"),
    )
    written = await storage.rewrite(replace(asked.question, parts=parts), NOW)
    assert written.parts == parts
    assert (written.role, written.author, written.revision) == ("user", "ada", 2)
    assert [hit.message for hit in await storage.search("ada", "nightingale")] == ["q1"]
    assert [hit.message for hit in await storage.search("ada", "listen")] == ["q1"]


async def test_concurrent_uploads_do_not_exceed_the_quota(storage: SqlStorage) -> None:
    uploads = [
        storage.add_attachment(replace(attachment(f"a{i}"), name=f"{i}.png", size=10), 35) for i in range(12)
    ]
    results = await asyncio.gather(*uploads, return_exceptions=True)
    assert sum(isinstance(each, TooLargeError) for each in results) == 9
    assert sum(each.size for each in await storage.attachments([f"a{i}" for i in range(12)])) == 30
