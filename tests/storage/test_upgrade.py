"""A database that an earlier version wrote opens, and all of it can be read.

`data/schema_0003.db` was written by the last version with that schema: a conversation with two branches, participants,
an invitation, an attachment and settings, and two replies that were running when the server was killed.
"""

import shutil
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from msgspec.structs import replace
from sqlalchemy import Connection, text
from tests.storage.made import NOW, adopted, ended, exchange, later, opened

from legato import storage as package
from legato.domain.message import ImagePart, TextPart, ToolCallPart, ToolResultPart
from legato.storage.base import LOCAL_GATEWAY, JournalEntry, ReplyOwner
from legato.storage.sql import SqlStorage
from legato.storage.sql.codec import to_blob
from legato.stream import Reasoning, Text

OLD = Path(__file__).parent / "data" / "schema_0003.db"


@pytest.fixture
def old(tmp_path: Path) -> str:
    """The URL of a copy of the old database."""
    path = tmp_path / "legato.db"
    shutil.copyfile(OLD, path)
    return f"sqlite:///{path}"


async def test_everything_in_an_old_database_is_readable(old: str) -> None:
    async with opened(old) as storage:
        conversation = await storage.conversation("c")
        assert conversation is not None
        assert (conversation.title, conversation.head, conversation.revision) == ("Whales", "r3", 6)
        assert conversation.settings.system == "Be brief."
        messages = {message.id: message for message in await storage.messages("c")}
        assert {message.id: message.parent for message in messages.values()} == {
            "q1": None,
            "r1": "q1",
            "r2": "q1",
            "q2": "r1",
            "r3": "q2",
        }
        assert messages["q1"].parts == (TextPart("Do whales sing?"), ImagePart(attachment="picture"))
        assert messages["r1"].parts == (
            ToolCallPart("t1", "find", "{}"),
            ToolResultPart("t1", "find", "humpback"),
            TextPart("Humpbacks do. 🐋"),
        )
        assert (messages["r2"].status, messages["r3"].status) == ("stopped", "streaming")
        assert [(each.user, each.role, each.name) for each in await storage.participants("c")] == [
            ("ada", "owner", None),
            ("bob", "member", "Bob"),
            ("eve", "viewer", None),
        ]
        assert [each.id for each in await storage.invitations("c", NOW)] == ["i1"]
        picture = await storage.attachment("picture", "eve")
        assert picture is not None
        assert (picture.name, picture.size) == ("whale.png", 68)
        assert [hit.message for hit in await storage.search("bob", "bark")] == ["r4"]
        assert {each.id for each in await storage.conversations("bob")} == {"c", "d"}


async def test_running_replies_of_an_old_database_are_adopted(old: str) -> None:
    async with opened(old) as storage:
        first, second = await adopted(storage)
        assert (first.message.id, first.owner, first.user) == ("r3", ReplyOwner(LOCAL_GATEWAY, 2), "bob")
        assert first.events == [Reasoning("Hm."), Text("To be "), Text("heard"), Text(" far away")]
        # This reply was regenerated: no column of the old schema says for whom.
        assert (second.message.id, second.user, second.events) == ("r5", "", [])
        whole = replace(ended("r3", "To be heard far away.", parent="q2"), model=None)
        assert await storage.finish(whole, first.owner, later(20)) is not None
    async with opened(old) as storage:
        assert [each.message.id for each in await adopted(storage)] == ["r5"]


async def test_new_turns_can_be_added_to_an_old_database(old: str) -> None:
    async with opened(old) as storage:
        repeated = await storage.begin(replace(exchange(1, key="k1", fingerprint="f1"), user="ada"), NOW)
        assert repeated.duplicate
        assert repeated.reply.id == "r1"
        started = await storage.begin(exchange(9, parent="r2"), later(30))
        assert started.ahead == 1
        assert started.conversation.revision == 7
        assert await storage.delete_conversation("c")
        assert [each.message.id for each in await adopted(storage)] == ["r5"]


async def test_replies_that_ran_before_the_upgrade_are_adopted(url: str) -> None:
    """The same on both databases, from rows as the schema before had them."""
    storage = SqlStorage(url)
    try:
        await storage.database.write(_old_schema)
    finally:
        await storage.close()
    async with opened(url) as storage:
        [left] = await adopted(storage)
        assert (left.message.id, left.user, left.events) == ("r1", "ada", [Text("To be heard")])
        assert (await storage.begin(exchange(2, parent="r1"), NOW)).ahead == 1


def _old_schema(connection: Connection) -> None:
    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", f"{package.__path__[0]}/migrations")
    command.upgrade(config, "0003")
    connection.execute(
        text(
            "INSERT INTO conversations (id, owner, title, assistant, created_at, updated_at, revision, head)"
            " VALUES ('c', 'ada', '', 'default', 0, 0, 1, 'r1')"
        )
    )
    message = text(
        "INSERT INTO messages"
        " (id, conversation, parent, role, status, parts, created_at, revision, author, reasoning)"
        " VALUES (:id, 'c', :parent, :role, :status, '[]', 0, 1, :author, '')"
    )
    question = {"id": "q1", "parent": None, "role": "user", "status": "complete", "author": "ada"}
    reply = {"id": "r1", "parent": "q1", "role": "assistant", "status": "streaming", "author": None}
    connection.execute(message, [question, reply])
    rows = to_blob([JournalEntry("r1", [Text("To be heard")], whole=True)])
    connection.execute(text("INSERT INTO journal (entries) VALUES (:rows)"), {"rows": rows})
