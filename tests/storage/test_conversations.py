import asyncio
from datetime import timedelta

import pytest
from tests.storage.made import NOW, OWNER, adopted, conversation, conversed, ended, exchange, later

from legato.domain.conversation import ConversationSettings
from legato.errors import ConflictError, InvalidError
from legato.storage.sql import SqlStorage


async def test_a_created_conversation_can_be_read(storage: SqlStorage) -> None:
    made = await conversed(storage, title="Tides & moons 🌒")
    assert await storage.conversation("c") == made


async def test_a_conversation_id_is_unique(storage: SqlStorage) -> None:
    made = await conversed(storage, title="first")
    with pytest.raises(ConflictError):
        await storage.create_conversation(conversation("c", title="second"))
    assert await storage.conversation("c") == made


async def test_a_missing_conversation_is_none(storage: SqlStorage) -> None:
    assert await storage.conversation("nothing") is None
    assert await storage.rename_conversation("nothing", "x", NOW) is None
    assert await storage.set_head("nothing", "x", NOW) is None
    assert await storage.delete_conversation("nothing") is False
    assert await storage.messages("nothing") == []
    assert await storage.message("nothing") is None


async def test_pages_list_each_conversation_of_an_owner_once_and_in_order(storage: SqlStorage) -> None:
    mine = [conversation(f"c{i}", at=later(i // 3)) for i in range(10)]
    for each in mine:
        await storage.create_conversation(each)
    await storage.create_conversation(conversation("other", owner="bob", at=later(99)))
    seen = page = await storage.conversations("ada", limit=4)
    while page:
        page = await storage.conversations("ada", limit=4, before=(page[-1].updated_at, page[-1].id))
        seen = seen + page
    assert seen == sorted(mine, key=lambda each: (each.updated_at, each.id), reverse=True)


@pytest.mark.parametrize("limit", [0, -1, 201, 10**30])
async def test_a_limit_out_of_bounds_is_refused(storage: SqlStorage, limit: int) -> None:
    with pytest.raises(InvalidError):
        await storage.conversations("ada", limit=limit)


async def test_renaming_adds_a_revision_and_moves_the_conversation_to_the_top(storage: SqlStorage) -> None:
    await conversed(storage, "a")
    await conversed(storage, "b")
    renamed = await storage.rename_conversation("a", "New", later(5))
    assert renamed is not None
    assert (renamed.title, renamed.revision, renamed.updated_at) == ("New", 1, later(5))
    assert await storage.conversation("a") == renamed
    assert [each.id for each in await storage.conversations("ada")] == ["a", "b"]


async def test_each_setting_is_set_and_reset_independently(storage: SqlStorage) -> None:
    await conversed(storage)
    await storage.set_setting("c", "model", "small", later(1))
    chosen = await storage.set_setting("c", "system", 'Be "brief".\n', later(2))
    assert chosen is not None
    assert chosen.settings == ConversationSettings(model="small", system='Be "brief".\n')
    assert (chosen.revision, chosen.updated_at) == (2, later(2))
    assert await storage.conversation("c") == chosen
    assert [each.settings for each in await storage.conversations("ada")] == [chosen.settings]
    await storage.set_setting("c", "model", None, later(3))
    left = await storage.set_setting("c", "system", None, later(4))
    assert left is not None
    assert left.settings == ConversationSettings()


async def test_no_setting_is_set_for_a_missing_conversation(storage: SqlStorage) -> None:
    assert await storage.set_setting("c", "model", "small", later(1)) is None


async def test_concurrent_changes_of_different_settings_are_all_kept(storage: SqlStorage) -> None:
    await conversed(storage)
    await asyncio.gather(
        storage.set_setting("c", "model", "small", later(1)),
        storage.set_setting("c", "system", "Be brief.", later(1)),
        storage.set_setting("c", "cleared", "m", later(1)),
    )
    found = await storage.conversation("c")
    assert found is not None
    assert found.settings == ConversationSettings("small", "Be brief.", "m")


async def test_another_branch_is_shown(storage: SqlStorage) -> None:
    await conversed(storage)
    await storage.begin(exchange(1), NOW)
    await storage.begin(exchange(2), NOW)
    shown = await storage.set_head("c", "r1", later(1))
    assert shown is not None
    assert (shown.head, shown.revision) == ("r1", 3)
    assert await storage.conversation("c") == shown


async def test_a_message_of_another_conversation_cannot_be_the_head(storage: SqlStorage) -> None:
    await conversed(storage, "c")
    await conversed(storage, "d")
    await storage.begin(exchange(1, of="d"), NOW)
    assert await storage.set_head("c", "r1", later(1)) is None
    unchanged = await storage.conversation("c")
    assert unchanged is not None
    assert (unchanged.head, unchanged.revision) == (None, 0)


async def test_deleting_a_conversation_deletes_everything_in_it(storage: SqlStorage) -> None:
    await conversed(storage, "c", title="Whales")
    await conversed(storage, "d", title="Whales too")
    await storage.begin(exchange(1, "whales?", key="k"), NOW)
    await storage.begin(exchange(2, "whales!", of="d"), NOW)
    assert await storage.delete_conversation("c") is True
    assert await storage.conversation("c") is None
    assert await storage.messages("c") == []
    assert {hit.conversation.id for hit in await storage.search("ada", "whales")} == {"d"}
    assert [each.message.id for each in await adopted(storage)] == ["r2"]
    assert await storage.finish(ended("r1", "gone"), OWNER, NOW) is None
    await conversed(storage, "c")
    again = await storage.begin(exchange(1, "whales?", key="k"), NOW)
    assert not again.duplicate


async def test_times_keep_microseconds_and_may_lie_before_1970(storage: SqlStorage) -> None:
    early = conversation("old", at=NOW - timedelta(days=36525, microseconds=1))
    await storage.create_conversation(early)
    assert await storage.conversation("old") == early
