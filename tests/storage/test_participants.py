"""Participants and invitations, as both databases keep them."""

import asyncio

import pytest
from tests.storage.made import NOW, OWNER, conversation, conversed, ended, exchange, later

from legato.domain.invitation import Invitation
from legato.domain.participant import Participant, ParticipantRole
from legato.errors import ConflictError, InvalidError, NotFoundError
from legato.storage.sql import SqlStorage


def bob(standing: ParticipantRole = "member", name: str | None = None, of: str = "c") -> Participant:
    return Participant(of, "bob", standing, NOW, name)


def invitation(
    name: str = "i", standing: ParticipantRole = "member", seconds: float = 60, of: str = "c"
) -> Invitation:
    return Invitation(name, f"digest of {name}", of, standing, NOW, later(seconds))


async def stands(storage: SqlStorage, of: str = "c") -> list[tuple[str, str]]:
    return [(each.user, each.role) for each in await storage.participants(of)]


async def test_the_owner_is_the_first_participant(storage: SqlStorage) -> None:
    await conversed(storage)
    await storage.add_participant(Participant("c", "eve", "viewer", later(2)))
    await storage.add_participant(Participant("c", "bob", "member", later(1), "Bob"))
    assert await storage.participants("c") == [
        Participant("c", "ada", "owner", NOW),
        Participant("c", "bob", "member", later(1), "Bob"),
        Participant("c", "eve", "viewer", later(2)),
    ]
    assert await storage.participants("d") == []


async def test_joining_again_never_lowers_the_role(storage: SqlStorage) -> None:
    await conversed(storage)
    assert await storage.add_participant(bob("viewer")) == bob("viewer")
    assert await storage.add_participant(bob("member", "Bob")) == bob("member", "Bob")
    assert await storage.add_participant(bob("viewer")) == bob("member", "Bob")
    assert await stands(storage) == [("ada", "owner"), ("bob", "member")]


async def test_a_conversation_has_a_maximum_of_participants(
    storage: SqlStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("legato.storage.sql.participants.MAX_PARTICIPANTS", 2)
    await conversed(storage)
    await storage.invite(invitation(), 100)
    await storage.add_participant(bob("viewer"))
    assert await storage.join("digest of i", "eve", None, NOW) is not None
    with pytest.raises(ConflictError, match="2 people"):
        await storage.join("digest of i", "dan", None, NOW)
    await storage.add_participant(bob("member"))
    await storage.add_participant(Participant("c", "ada", "owner", NOW, "Ada"))
    await storage.transfer_ownership("c", "bob", NOW)
    assert sorted(await stands(storage)) == [("ada", "member"), ("bob", "owner"), ("eve", "member")]


async def test_the_row_of_the_owner_holds_only_the_name(storage: SqlStorage) -> None:
    await conversed(storage)
    for standing in ("viewer", "member", "owner"):
        made = await storage.add_participant(Participant("c", "ada", standing, later(9), "Ada"))
        assert made == Participant("c", "ada", "owner", NOW, "Ada")
    assert await storage.participants("c") == [Participant("c", "ada", "owner", NOW, "Ada")]
    assert [each.id for each in await storage.conversations("ada")] == ["c"]


async def test_a_missing_conversation_has_no_participants(storage: SqlStorage) -> None:
    with pytest.raises(NotFoundError):
        await storage.add_participant(bob())
    with pytest.raises(NotFoundError):
        await storage.invite(invitation(), 100)
    with pytest.raises(InvalidError):
        await storage.add_participant(Participant("c", "bob\0", "member", NOW))
    assert await storage.change_role("c", "bob", "viewer") is None
    assert await storage.remove_participant("c", "bob") is False
    assert await storage.transfer_ownership("c", "bob", NOW) is None


async def test_joined_conversations_are_listed_and_found_beside_owned_ones(storage: SqlStorage) -> None:
    for number, owner in enumerate(["ada", "bob", "ada", "bob", "ada", "eve"]):
        await storage.create_conversation(conversation(f"c{number}", owner, f"Tea {number}", later(number)))
    for of in ("c0", "c2"):
        await storage.add_participant(bob(of=of))
    assert [each.id for each in await storage.conversations("bob")] == ["c3", "c2", "c1", "c0"]
    listed: list[str] = []
    before = None
    while page := await storage.conversations("bob", 1, before):
        listed.append(page[0].id)
        before = (page[0].updated_at, page[0].id)
    assert listed == ["c3", "c2", "c1", "c0"]
    assert {hit.conversation.id for hit in await storage.search("bob", "tea")} == {"c0", "c1", "c2", "c3"}
    assert await storage.roles("bob", ["c0", "c1", "c4", "nothing"]) == {"c0": "member"}
    assert await storage.roles("bob", []) == {}
    await storage.remove_participant("c2", "bob")
    assert [each.id for each in await storage.conversations("bob")] == ["c3", "c1", "c0"]
    assert [hit.conversation.id for hit in await storage.search("bob", "2")] == []


async def test_ownership_is_transferred_to_a_participant(storage: SqlStorage) -> None:
    made = await conversed(storage)
    await storage.add_participant(Participant("c", "ada", "owner", NOW, "Ada"))
    await storage.add_participant(bob("viewer", "Bob"))
    assert await storage.transfer_ownership("c", "eve", later(1)) is None
    changed = await storage.transfer_ownership("c", "bob", later(1))
    assert changed is not None
    assert (changed.owner, changed.revision) == ("bob", made.revision + 1)
    assert await storage.participants("c") == [
        Participant("c", "bob", "owner", NOW, "Bob"),
        Participant("c", "ada", "member", NOW, "Ada"),
    ]
    assert [each.id for each in await storage.conversations("ada")] == ["c"]
    assert [each.id for each in await storage.conversations("bob")] == ["c"]
    assert await storage.transfer_ownership("c", "bob", later(2)) is None
    await storage.transfer_ownership("c", "ada", later(3))
    assert await stands(storage) == [("ada", "owner"), ("bob", "member")]


async def test_an_invitation_works_until_it_expires_or_is_revoked(storage: SqlStorage) -> None:
    await conversed(storage)
    await storage.invite(invitation("short", "viewer", seconds=10), 100)
    await storage.invite(invitation("long", seconds=100), 100)
    assert [each.id for each in await storage.invitations("c", later(1))] == ["long", "short"]
    assert await storage.join("digest of nothing", "bob", None, later(1)) is None
    assert await storage.join("digest of short", "bob", "Bob", later(9)) == Participant(
        "c", "bob", "viewer", later(9), "Bob"
    )
    assert await storage.join("digest of short", "eve", None, later(10)) is None
    assert [each.id for each in await storage.invitations("c", later(10))] == ["long"]
    assert await storage.revoke_invitation("d", "long") is False
    assert await storage.revoke_invitation("c", "long") is True
    assert await storage.revoke_invitation("c", "long") is False
    assert await storage.join("digest of long", "eve", None, later(11)) is None
    assert await stands(storage) == [("ada", "owner"), ("bob", "viewer")]


async def test_the_id_and_digest_of_an_invitation_are_unique(storage: SqlStorage) -> None:
    await conversed(storage)
    await storage.invite(invitation(), 100)
    with pytest.raises(ConflictError):
        await storage.invite(invitation(), 100)


async def test_participants_and_invitations_are_deleted_with_their_conversation(storage: SqlStorage) -> None:
    await conversed(storage)
    await storage.add_participant(bob())
    await storage.invite(invitation(), 100)
    await storage.delete_conversation("c")
    await conversed(storage)
    assert await stands(storage) == [("ada", "owner")]
    assert await storage.join("digest of i", "bob", None, NOW) is None


async def test_concurrent_joins_of_one_user_are_one(storage: SqlStorage) -> None:
    await conversed(storage)
    await storage.invite(invitation("a", "viewer"), 100)
    await storage.invite(invitation("b", "member"), 100)
    joins = [storage.join(f"digest of {name}", "bob", None, NOW) for name in "abab" * 5]
    assert None not in await asyncio.gather(*joins)
    assert await stands(storage) == [("ada", "owner"), ("bob", "member")]


async def test_a_reply_ends_after_the_conversation_changed_its_owner(storage: SqlStorage) -> None:
    await conversed(storage)
    await storage.begin(exchange(1), NOW)
    await storage.add_participant(bob())
    await storage.transfer_ownership("c", "bob", later(1))
    await storage.remove_participant("c", "ada")
    assert await storage.finish(ended("r1", "Because.", parent="q1"), OWNER, later(2)) is not None
    assert [hit.message for hit in await storage.search("bob", "because")] == ["r1"]
    assert await storage.search("ada", "because") == []


async def test_concurrent_joins_do_not_exceed_the_maximum_of_participants(
    storage: SqlStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("legato.storage.sql.participants.MAX_PARTICIPANTS", 3)
    await conversed(storage)
    joins = [storage.add_participant(Participant("c", f"user{i}", "member", NOW)) for i in range(12)]
    results = await asyncio.gather(*joins, return_exceptions=True)
    assert sum(isinstance(each, ConflictError) for each in results) == 9
    assert len(await storage.participants("c")) == 1 + 3


async def test_concurrent_invitations_do_not_exceed_the_limit(storage: SqlStorage) -> None:
    await conversed(storage)
    results = await asyncio.gather(
        *(storage.invite(invitation(f"i{i}"), 3) for i in range(12)), return_exceptions=True
    )
    assert sum(isinstance(each, ConflictError) for each in results) == 9
    assert len(await storage.invitations("c", NOW)) == 3
