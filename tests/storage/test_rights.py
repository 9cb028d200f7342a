"""Rights and counts are checked in the transaction that writes: races of two servers on one database."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest
from msgspec.structs import replace
from sqlalchemy import Connection, text
from sqlalchemy.util import await_only
from tests.storage.made import NOW, conversed, exchange, later, opened

from legato.domain.attachment import Attachment
from legato.domain.invitation import Invitation
from legato.domain.participant import OWNER_ONLY, READ_ONLY, Participant
from legato.errors import BusyError, ConflictError, ForbiddenError, LegatoError, NotFoundError, TooLargeError
from legato.storage.sql import SqlStorage, participants

Attempt = Coroutine[Any, Any, object]


@pytest.fixture
async def other(url: str) -> AsyncIterator[SqlStorage]:
    async with opened(url) as storage:
        yield storage


@asynccontextmanager
async def held(storage: SqlStorage, change: Callable[[Connection], object]) -> AsyncIterator[None]:
    """Make a change in a transaction that commits when the block ends."""
    loop = asyncio.get_running_loop()
    changed, released = asyncio.Event(), asyncio.Event()

    def work(connection: Connection) -> None:
        change(connection)
        loop.call_soon_threadsafe(changed.set)
        if connection.dialect.name == "sqlite":
            asyncio.run_coroutine_threadsafe(released.wait(), loop).result()
        else:
            await_only(released.wait())

    writing = asyncio.create_task(storage.database.write(work))
    await changed.wait()
    try:
        yield
    finally:
        released.set()
        await writing


async def raced(
    storage: SqlStorage, other: SqlStorage, change: Callable[[Connection], object], *attempts: Attempt
) -> list[object]:
    """Begin the attempts on the other server while a change is not committed yet. Return their results or errors."""
    async with held(storage, change):
        tasks = [asyncio.create_task(attempt) for attempt in attempts]
        while await waiting(storage) < sum(not task.done() for task in tasks):
            await asyncio.sleep(0)
    return await asyncio.gather(*tasks, return_exceptions=True)


async def waiting(storage: SqlStorage) -> int:
    """Return how many transactions wait for a lock. In SQLite all wait that have begun."""

    def work(connection: Connection) -> int:
        if connection.dialect.name == "sqlite":
            return 100
        here = "SELECT count(*) FROM pg_locks WHERE NOT granted"
        count: int = connection.execute(text(here)).scalar_one()
        return count

    return await storage.database.read(work)


async def met(storage: SqlStorage) -> None:
    """Store a conversation of ada in which bob writes, with a running reply `r1`, a picture and an invitation."""
    await conversed(storage)
    await storage.add_participant(Participant("c", "bob", "member", NOW))
    await storage.add_participant(Participant("c", "eve", "member", NOW))
    await storage.add_attachment(Attachment("a", "ada", "image/png", 1, "d" * 64, NOW), 1000)
    await storage.begin(replace(exchange(1), enclosed=("a",)), NOW)
    await storage.invite(invitation(1), 100)


def invitation(number: int) -> Invitation:
    return Invitation(f"i{number}", f"digest {number}", "c", "member", NOW, later(60))


def writes(storage: SqlStorage, user: str) -> list[Attempt]:
    """Everything that a member may write."""
    message = replace(exchange(2, parent="r1"), user=user)
    again = replace(exchange(3), user=user, question=None, reply=replace(exchange(3).reply, parent="q1"))
    return [
        storage.begin(message, NOW),
        storage.begin(replace(exchange(4), user=user, after_head=True), NOW),
        storage.begin(again, NOW),
        storage.set_head("c", "q1", NOW, by=user),
        storage.request_stop("c", by=user),
        storage.decide("r1", "call", True, by=user),
    ]


def changes(storage: SqlStorage, user: str) -> list[Attempt]:
    """Everything that the owner alone may do."""
    return [
        storage.rename_conversation("c", "mine", NOW, by=user),
        storage.rename_and_set_head("c", "mine", "q1", NOW, by=user),
        storage.set_setting("c", "model", "mine", NOW, by=user),
        storage.invite(invitation(2), 100, by=user, name="Ada"),
        storage.revoke_invitation("c", "i1", by=user),
        storage.change_role("c", "eve", "viewer", by=user),
        storage.transfer_ownership("c", "eve", NOW, by=user),
        storage.remove_participant("c", "eve", by=user),
        storage.delete_conversation("c", by=user),
    ]


async def test_a_removed_member_writes_nothing_more(storage: SqlStorage, other: SqlStorage) -> None:
    await met(storage)
    before = await storage.conversation("c"), await storage.messages("c")
    remove = partial(participants.remove, conversation="c", user="bob", by="ada")
    mine = replace(exchange(5, of="mine"), user="bob", enclosed=("a",))
    await conversed(storage, "mine", "bob")
    attempts = [*writes(other, "bob"), other.remove_participant("c", "bob", by="bob")]
    results = await raced(storage, other, remove, *attempts)
    assert [type(result) for result in results] == [NotFoundError] * len(results)
    assert (await storage.conversation("c"), await storage.messages("c")) == before
    with pytest.raises(NotFoundError, match="no such attachment"):
        await other.begin(mine, NOW)


async def test_a_member_who_became_a_viewer_writes_nothing_more(
    storage: SqlStorage, other: SqlStorage
) -> None:
    await met(storage)
    before = await storage.conversation("c"), await storage.messages("c")
    demote = partial(participants.set_role, conversation="c", user="bob", role="viewer", by="ada")
    results = await raced(storage, other, demote, *writes(other, "bob"))
    assert [(type(each), str(each)) for each in results] == [(ForbiddenError, READ_ONLY)] * len(results)
    assert (await storage.conversation("c"), await storage.messages("c")) == before


async def test_a_former_owner_changes_nothing_more(storage: SqlStorage, other: SqlStorage) -> None:
    await met(storage)
    hand_over = partial(participants.transfer_ownership, conversation="c", user="bob", now=later(1), by="ada")
    results = await raced(storage, other, hand_over, *changes(other, "ada"))
    assert [(type(each), str(each)) for each in results] == [(ForbiddenError, OWNER_ONLY)] * len(results)
    found = await storage.conversation("c")
    assert found is not None
    assert (found.owner, found.title) == ("bob", "")
    assert {each.user: each.role for each in await storage.participants("c")} == {
        "bob": "owner",
        "ada": "member",
        "eve": "member",
    }


async def test_one_who_became_the_owner_does_not_leave(storage: SqlStorage, other: SqlStorage) -> None:
    await met(storage)
    hand_over = partial(participants.transfer_ownership, conversation="c", user="bob", now=later(1), by="ada")
    [left] = await raced(storage, other, hand_over, other.remove_participant("c", "bob", by="bob"))
    assert isinstance(left, ConflictError)


async def test_an_ownership_goes_to_one_of_many(storage: SqlStorage, other: SqlStorage) -> None:
    await met(storage)
    handed = await asyncio.gather(
        *(
            server.transfer_ownership("c", user, NOW, by="ada")
            for server, user in [(storage, "bob"), (other, "eve")] * 4
        ),
        return_exceptions=True,
    )
    assert sum(not isinstance(each, LegatoError) for each in handed) == 1
    assert sum(isinstance(each, ForbiddenError) for each in handed) == 7


async def test_a_revoked_invitation_lets_no_one_in(storage: SqlStorage, other: SqlStorage) -> None:
    await met(storage)
    revoke = partial(participants.revoke, conversation="c", invitation="i1", by="ada")
    assert await raced(storage, other, revoke, other.join("digest 1", "dan", None, NOW)) == [None]
    assert "dan" not in {each.user for each in await storage.participants("c")}


async def test_many_invitations_at_once_do_not_pass_the_limit(storage: SqlStorage, other: SqlStorage) -> None:
    await met(storage)
    made = await asyncio.gather(
        *((storage, other)[each % 2].invite(invitation(each), 10, by="ada") for each in range(2, 32)),
        return_exceptions=True,
    )
    assert sum(isinstance(each, ConflictError) for each in made) == 21
    assert len(await storage.invitations("c", NOW)) == 10


async def test_many_who_join_at_once_do_not_pass_the_limit(
    storage: SqlStorage, other: SqlStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("legato.storage.sql.participants.MAX_PARTICIPANTS", 5)
    await met(storage)
    joined = await asyncio.gather(
        *((storage, other)[each % 2].join("digest 1", f"u{each}", None, NOW) for each in range(20)),
        return_exceptions=True,
    )
    assert sum(isinstance(each, ConflictError) for each in joined) == 17
    assert len(await storage.participants("c")) == 1 + 5


async def test_many_turns_at_once_do_not_pass_the_limit_of_a_queue(
    storage: SqlStorage, other: SqlStorage
) -> None:
    await met(storage)
    turns = [replace(exchange(each, parent="r1"), max_ahead=5) for each in range(2, 22)]
    begun = await asyncio.gather(
        *((storage, other)[number % 2].begin(turn, NOW) for number, turn in enumerate(turns)),
        return_exceptions=True,
    )
    assert sum(isinstance(each, BusyError) for each in begun) == 15
    assert len(await storage.messages("c")) == 2 * 6


async def test_many_uploads_at_once_do_not_pass_the_quota(storage: SqlStorage, other: SqlStorage) -> None:
    files = [Attachment(f"f{each}", "ada", "image/png", 100, f"{each:064}", NOW) for each in range(20)]
    added = await asyncio.gather(
        *((storage, other)[number % 2].add_attachment(file, 500) for number, file in enumerate(files)),
        return_exceptions=True,
    )
    assert sum(isinstance(each, TooLargeError) for each in added) == 15
