"""Several people in one conversation: what each may do, who hears what, and who no longer does."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest

from legato.chat import conversation_presence as of_presence
from legato.chat import participants as of_people
from legato.chat.participants import digest_of
from legato.chat.presence import Present
from legato.chat.service import utc
from legato.domain.conversation import Conversation
from legato.domain.participant import ParticipantRole
from legato.domain.submission import Submission
from legato.domain.user import User
from legato.errors import ConflictError, ForbiddenError, InvalidError, LegatoError, NotFoundError

from .conftest import ADA, BOB, Heard, House

EVE = User("eve", "Eve \ud800")


@pytest.fixture(autouse=True)
def announced_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(of_presence, "ANNOUNCED_SECONDS", 0.0)


@pytest.fixture
async def shared(house: House) -> str:
    """Ada's conversation."""
    return (await house.service.conversations.create(ADA, title="Ours")).id


async def let_in(house: House, conversation: str, person: User, standing: ParticipantRole = "member") -> None:
    _, secret = await house.service.participants.invite(ADA, conversation, standing)
    await house.service.participants.join(person, secret)


async def standings(house: House, conversation: str) -> dict[str, str]:
    return {each.user: each.role for each in await house.service.participants.participants(ADA, conversation)}


class TestAccess:
    async def test_a_member_does_all_but_what_is_the_owners(self, house: House, shared: str) -> None:
        await let_in(house, shared, BOB)
        service = house.service
        begun = await service.replies.send(BOB, Submission(None, shared, "Hello"))
        run = await house.engine.asked()
        assert await service.replies.stop(BOB, shared) == [begun.reply.id]
        assert begun.question is not None
        assert begun.question.author == "bob"
        again = await service.replies.regenerate(BOB, shared, begun.reply.id)
        (await house.engine.asked()).finish()
        await service.conversations.show(BOB, shared, begun.reply.id)
        assert (await service.subscriptions.log(ADA, again.reply.id))[0] == shared
        refused: list[Callable[[], Awaitable[object]]] = [
            lambda: service.conversations.rename(BOB, shared, "Mine"),
            lambda: service.conversations.delete(BOB, shared),
            lambda: service.participants.invite(BOB, shared),
            lambda: service.participants.invitations(BOB, shared),
            lambda: service.participants.revoke_invitation(BOB, shared, "x"),
            lambda: service.participants.remove(BOB, shared, "ada"),
            lambda: service.participants.change(BOB, shared, "bob", "owner"),
        ]
        for attempt in refused:
            with pytest.raises(ForbiddenError):
                await attempt()
        assert run.cancelled
        assert await standings(house, shared) == {"ada": "owner", "bob": "member"}

    async def test_a_viewer_only_reads(self, house: House, shared: str) -> None:
        begun = await house.service.replies.send(ADA, Submission(None, shared, "Hello"))
        await let_in(house, shared, BOB, "viewer")
        service, reply = house.service, begun.reply.id
        assert begun.question is not None
        question = begun.question.id
        writing: list[Callable[[], Awaitable[object]]] = [
            lambda: service.replies.send(BOB, Submission(None, shared, "Hi")),
            lambda: service.replies.regenerate(BOB, shared, reply),
            lambda: service.replies.edit(BOB, shared, question, "Hi"),
            lambda: service.conversations.show(BOB, shared, reply),
            lambda: service.replies.stop(BOB, shared),
            lambda: service.replies.stop(BOB, shared, reply),
            lambda: service.replies.approve(BOB, shared, reply, "c", True),
            lambda: service.conversations.rename(BOB, shared, "Mine"),
            lambda: service.conversations.delete(BOB, shared),
            lambda: service.presence.typing(BOB, shared, True),
            lambda: service.participants.invite(BOB, shared),
            lambda: service.participants.remove(BOB, shared, "ada"),
        ]
        for attempt in writing:
            with pytest.raises(ForbiddenError):
                await attempt()
        heard = Heard()
        told, messages = await service.subscriptions.follow(BOB, shared, heard)
        assert told.id == shared
        assert [each.id for each in messages] == [question, reply]
        assert (await service.subscriptions.log(BOB, reply))[0] == shared
        run = await house.engine.asked()
        run.say("Yes?")
        run.finish()
        assert (await heard.ended(reply)).status == "complete"
        assert len((await service.conversations.get(ADA, shared)).messages) == 2

    async def test_a_standing_counts_from_the_moment_it_changes(self, house: House, shared: str) -> None:
        await let_in(house, shared, BOB, "viewer")
        await house.service.participants.change(ADA, shared, "bob", "member")
        begun = await house.service.replies.send(BOB, Submission(None, shared, "Hi"))
        await house.service.participants.change(ADA, shared, "bob", "viewer")
        with pytest.raises(ForbiddenError):
            await house.service.replies.send(BOB, Submission(None, shared, "Hi again"))
        assert (await house.service.conversations.get(BOB, shared)).messages[begun.reply.id]

    async def test_to_a_stranger_people_look_like_nothing(self, house: House, shared: str) -> None:
        people, presence = house.service.participants, house.service.presence
        invitation, _ = await people.invite(ADA, shared)

        async def words(conversation: str, which: str) -> list[str]:
            said = []
            attempts: list[Callable[[], Awaitable[object]]] = [
                lambda: people.role(BOB, conversation),
                lambda: people.participants(BOB, conversation),
                lambda: presence.everybody(BOB, conversation),
                lambda: presence.typing(BOB, conversation, True),
                lambda: presence.typing(BOB, conversation, False),
                lambda: people.invite(BOB, conversation),
                lambda: people.invitations(BOB, conversation),
                lambda: people.revoke_invitation(BOB, conversation, which),
                lambda: people.join(BOB, which),
                lambda: people.leave(BOB, conversation),
                lambda: people.remove(BOB, conversation, "ada"),
                lambda: people.remove(BOB, conversation, "bob"),
                lambda: people.change(BOB, conversation, "ada", "viewer"),
                lambda: house.service.conversations.get_or_create(BOB, conversation),
            ]
            for attempt in attempts:
                with pytest.raises(LegatoError) as refused:
                    await attempt()
                said.append(f"{type(refused.value).__name__} {refused.value}")
            return said

        assert await words(shared, invitation.id) == await words("nothing", "none")
        assert all(each.startswith("NotFoundError") for each in await words(shared, invitation.id))

    async def test_what_was_sent_before_one_left_opens_no_door(self, house: House) -> None:
        """The conversation that this very send made was handed over since, and left."""
        hello = Submission("k", None, "Hello")
        begun = await house.service.replies.send(ADA, hello)
        conversation = begun.conversation.id
        await let_in(house, conversation, BOB)
        await house.service.participants.change(ADA, conversation, "bob", "owner")
        assert (await house.service.replies.send(ADA, hello)).duplicate
        await house.service.participants.leave(ADA, conversation)
        with pytest.raises(NotFoundError):
            await house.service.replies.send(ADA, hello)


class TestEnter:
    async def test_what_nobody_has_is_made_where_that_is_allowed(self, house: House) -> None:
        with pytest.raises(NotFoundError):
            await house.service.conversations.get_or_create(ADA, "room")
        with pytest.raises(NotFoundError):
            await house.service.conversations.get_or_create(ADA, "room", join=True)
        with pytest.raises(InvalidError):
            await house.service.conversations.get_or_create(ADA, "a\nb", create=True)
        with pytest.raises(InvalidError):
            await house.service.conversations.get_or_create(ADA, "..", create=True)
        with pytest.raises(InvalidError, match="assistant"):
            await house.service.conversations.get_or_create(ADA, "room", create=True, assistant="nobody")
        made = await house.service.conversations.get_or_create(ADA, "room", create=True)
        assert (made.id, made.owner) == ("room", "ada")
        assert (await house.service.conversations.get_or_create(ADA, "room", create=True)).id == "room"

    async def test_somebody_elses_is_joined_where_that_is_allowed(self, house: House, shared: str) -> None:
        for create in (False, True):
            with pytest.raises(NotFoundError):
                await house.service.conversations.get_or_create(BOB, shared, create=create)
        assert (await house.service.conversations.get_or_create(BOB, shared, join=True)).owner == "ada"
        assert await standings(house, shared) == {"ada": "owner", "bob": "member"}

    async def test_a_viewer_who_enters_stays_one(self, house: House, shared: str) -> None:
        await let_in(house, shared, BOB, "viewer")
        await house.service.conversations.get_or_create(BOB, shared, join=True, create=True)
        assert await house.service.participants.role(BOB, shared) == "viewer"

    async def test_of_many_who_enter_at_once_one_has_made_it(self, house: House) -> None:
        people = [User(f"u{n}") for n in range(20)]
        entered = await asyncio.gather(
            *(
                house.service.conversations.get_or_create(each, "room", create=True, join=True)
                for each in people
            )
        )
        assert len({each.owner for each in entered}) == 1
        owner = next(each for each in people if each.id == entered[0].owner)
        here = await house.service.participants.participants(owner, "room")
        assert sorted(each.user for each in here) == sorted(each.id for each in people)
        assert [each.role for each in here].count("owner") == 1

    async def test_one_that_was_deleted_is_made_anew(self, house: House) -> None:
        await house.service.conversations.get_or_create(ADA, "room", create=True)
        await house.service.replies.send(ADA, Submission(None, "room", "Hello"))
        (await house.engine.asked()).finish()
        await house.service.participants.add_participant(EVE, "room")
        await house.service.conversations.delete(ADA, "room")
        with pytest.raises(NotFoundError):
            await house.service.conversations.get_or_create(EVE, "room", join=True)
        made = await house.service.conversations.get_or_create(BOB, "room", create=True)
        assert (made.owner, made.revision) == ("bob", 0)
        tree = await house.service.conversations.get(BOB, "room")
        assert (tree.messages, [each.user for each in tree.people()]) == ({}, ["bob"])
        for stranger in (ADA, EVE):
            with pytest.raises(NotFoundError):
                await house.service.conversations.get(stranger, "room")
        begun = await house.service.replies.send(BOB, Submission(None, "room", "Mine"))
        assert begun.conversation.revision == 1
        assert len((await house.service.conversations.get(BOB, "room")).messages) == 2


class TestInvitations:
    async def test_of_a_secret_only_the_digest_is_kept(self, house: House, shared: str) -> None:
        invitation, secret = await house.service.participants.invite(ADA, shared)
        assert len(secret) * 6 >= 128
        assert invitation.digest == digest_of(secret)
        (kept,) = await house.storage.invitations(shared, utc())
        assert kept == invitation
        assert secret not in repr(kept)
        for wrong in ("", "nothing", invitation.digest, invitation.id, secret[:-1], secret + "x", "\ud800"):
            with pytest.raises(NotFoundError):
                await house.service.participants.join(BOB, wrong)

    async def test_joining_twice_is_joining_once(self, house: House, shared: str) -> None:
        _, as_member = await house.service.participants.invite(ADA, shared, "member")
        _, as_viewer = await house.service.participants.invite(ADA, shared, "viewer")
        people = house.service.participants
        for secret, stands in ((as_viewer, "viewer"), (as_member, "member"), (as_viewer, "member")):
            await people.join(BOB, secret)
            assert await people.role(BOB, shared) == stands
        await people.join(ADA, as_viewer)
        assert await standings(house, shared) == {"ada": "owner", "bob": "member"}

    async def test_it_is_over_in_time_and_when_it_is_taken_back(
        self, house: House, shared: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        people = house.service.participants
        _, brief = await people.invite(ADA, shared, ttl=1)
        kept, withdrawn = await people.invite(ADA, shared)
        await people.revoke_invitation(ADA, shared, kept.id)
        with pytest.raises(NotFoundError):
            await people.revoke_invitation(ADA, shared, kept.id)
        monkeypatch.setattr(people, "_now", lambda: utc() + timedelta(seconds=2))
        for secret in (brief, withdrawn):
            with pytest.raises(NotFoundError, match="not valid"):
                await people.join(BOB, secret)
        assert await people.invitations(ADA, shared) == []

    @pytest.mark.parametrize(
        ("standing", "ttl"), [("owner", 60), ("member", 0.5), ("member", 1e9), ("member", float("nan"))]
    )
    async def test_one_that_cannot_be_is_refused(
        self, house: House, shared: str, standing: Any, ttl: float
    ) -> None:
        with pytest.raises(InvalidError):
            await house.service.participants.invite(ADA, shared, standing, ttl)

    async def test_there_are_not_without_end(
        self, house: House, shared: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(of_people, "INVITATIONS", 2)
        await house.service.participants.invite(ADA, shared)
        await house.service.participants.invite(ADA, shared)
        with pytest.raises(ConflictError):
            await house.service.participants.invite(ADA, shared)


class TestGoing:
    async def test_one_who_is_removed_hears_nothing_more(self, house: House, shared: str) -> None:
        await let_in(house, shared, BOB)
        first, second, owner = Heard(), Heard(), Heard()
        for person, heard in ((BOB, first), (BOB, second), (ADA, owner)):
            await house.service.subscriptions.follow(person, shared, heard)
        begun = await house.service.replies.send(ADA, Submission(None, shared, "Hello"))
        run = await house.engine.asked()
        told = len(first.messages)
        await house.service.participants.remove(ADA, shared, "bob")
        assert first.deleted == second.deleted == [shared]
        assert owner.deleted == []
        run.say("Secret")
        run.finish()
        await owner.ended(begun.reply.id)
        assert len(first.messages) == told
        with pytest.raises(NotFoundError):
            await house.service.subscriptions.follow(BOB, shared, first)
        assert await house.service.conversations.page(BOB) == []
        assert await house.service.conversations.search(BOB, "secret") == []
        with pytest.raises(NotFoundError):
            await house.service.participants.remove(ADA, shared, "bob")

    async def test_one_who_is_removed_while_they_begin_to_follow_does_not(
        self, house: House, shared: str
    ) -> None:
        for _ in range(20):
            await let_in(house, shared, BOB)
            house.service.subscriptions.evict(shared)
            heard = Heard()
            results = await asyncio.gather(
                house.service.subscriptions.follow(BOB, shared, heard),
                house.service.participants.remove(ADA, shared, "bob"),
                return_exceptions=True,
            )
            assert results[1] is None
            assert isinstance(results[0], NotFoundError) or heard.deleted == [shared]
            assert house.service.presence.present(shared) == []

    async def test_one_who_is_removed_while_their_message_is_stored_does_not_follow_it(
        self, house: House, shared: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await let_in(house, shared, BOB)
        begin = house.storage.begin

        async def slow(*arguments: Any) -> Any:
            begun = await begin(*arguments)
            await house.service.participants.remove(ADA, shared, "bob")
            return begun

        monkeypatch.setattr(house.storage, "begin", slow)
        heard = Heard()
        await house.service.replies.send(BOB, Submission(None, shared, "Hi"))
        house.service.subscriptions.subscribe(BOB, shared, heard)
        assert heard.deleted == [shared]
        assert heard.messages == []

    async def test_one_who_leaves_may_come_back_by_a_link(self, house: House, shared: str) -> None:
        await let_in(house, shared, BOB)
        await house.service.participants.leave(BOB, shared)
        with pytest.raises(NotFoundError):
            await house.service.participants.leave(BOB, shared)
        await let_in(house, shared, BOB, "viewer")
        assert await house.service.participants.role(BOB, shared) == "viewer"

    async def test_the_owner_hands_over_before_leaving(self, house: House, shared: str) -> None:
        people = house.service.participants
        await let_in(house, shared, BOB, "viewer")
        heard = Heard()
        await house.service.subscriptions.follow(BOB, shared, heard)
        for attempt in (
            lambda: people.leave(ADA, shared),
            lambda: people.remove(ADA, shared, "ada"),
            lambda: people.change(ADA, shared, "ada", "member"),
        ):
            with pytest.raises(ConflictError):
                await attempt()  # type: ignore[no-untyped-call]
        with pytest.raises(NotFoundError):
            await people.change(ADA, shared, "nobody", "owner")
        assert [each.user for each in await people.change(ADA, shared, "ada", "owner")] == ["ada", "bob"]
        handed = await people.change(ADA, shared, "bob", "owner")
        assert [(each.user, each.role) for each in handed] == [("bob", "owner"), ("ada", "member")]
        assert heard.conversations[-1].owner == "bob"
        await people.leave(ADA, shared)
        await house.service.conversations.rename(BOB, shared, "Mine now")
        assert [each.user for each in await people.participants(BOB, shared)] == ["bob"]

    async def test_what_memory_says_is_what_the_database_says(self, house: House, shared: str) -> None:
        """Coming and going at once, many times, whatever order it takes."""
        _, secret = await house.service.participants.invite(ADA, shared)
        people = house.service.participants
        for turn in range(20):
            await asyncio.gather(
                people.join(BOB, secret),
                people.remove(ADA, shared, "bob"),
                people.change(ADA, shared, "bob", "viewer"),
                house.service.conversations.get(BOB, shared),
                return_exceptions=True,
            )
            if turn % 2:
                house.service.subscriptions.evict(shared)
            known = (await house.service.conversations.get(ADA, shared)).people()
            assert known == await house.storage.participants(shared)


class TestPresence:
    async def test_everybody_hears_who_comes_and_who_goes(self, house: House, shared: str) -> None:
        await let_in(house, shared, EVE)
        presence = house.service.presence
        ada, eve, another = Heard(), Heard(), Heard()
        await house.service.subscriptions.follow(ADA, shared, ada)
        assert presence.present(shared) == [Present("ada", None, 1, False)]
        await house.service.subscriptions.follow(EVE, shared, eve)
        await house.service.subscriptions.follow(EVE, shared, another)
        await ada.until(lambda heard: heard.people >= 1)
        assert presence.present(shared) == [
            Present("ada", None, 1, False),
            Present("eve", "Eve \ufffd", 2, False),
        ]
        seen = await presence.everybody(EVE, shared)
        assert [(each.user, each.role, each.connections) for each in seen] == [
            ("ada", "owner", 1),
            ("eve", "member", 2),
        ]
        before = ada.people
        house.service.subscriptions.unfollow(shared, eve)
        house.service.subscriptions.unfollow(shared, eve)
        house.service.subscriptions.unfollow(shared, another)
        await ada.until(lambda heard: heard.people > before)
        assert presence.present(shared) == [Present("ada", None, 1, False)]
        house.service.subscriptions.unfollow(shared, ada)
        assert presence.present(shared) == []

    async def test_the_name_of_one_who_is_away_is_known(self, house: House, shared: str) -> None:
        owner = User("ada", "Ada")
        _, secret = await house.service.participants.invite(owner, shared)
        await house.service.participants.join(EVE, secret)
        house.service.subscriptions.evict(shared)
        seen = await house.service.presence.everybody(ADA, shared)
        assert [(each.name, each.connections) for each in seen] == [("Ada", 0), ("Eve \ufffd", 0)]

    async def test_many_who_come_at_once_are_told_as_one(
        self, house: House, shared: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(of_presence, "ANNOUNCED_SECONDS", 0.05)
        heard = [Heard() for _ in range(50)]
        await asyncio.gather(*(house.service.subscriptions.follow(ADA, shared, each) for each in heard))
        for each in heard:
            await each.until(lambda heard: heard.people > 0)
        assert [each.people for each in heard] == [1] * 50

    async def test_typing_is_told_to_the_others_and_ends_when_it_is_sent(
        self, house: House, shared: str
    ) -> None:
        await let_in(house, shared, BOB)
        ada, also, bob = Heard(), Heard(), Heard()
        for person, heard in ((ADA, ada), (ADA, also), (BOB, bob)):
            await house.service.subscriptions.follow(person, shared, heard)
        presence = house.service.presence
        await presence.typing(ADA, shared, True)
        await presence.typing(ADA, shared, True)
        assert bob.typing == [("ada", True)]
        assert presence.present(shared)[0].typing
        await house.service.replies.send(ADA, Submission(None, shared, "Hello"))
        assert bob.typing == [("ada", True), ("ada", False)]
        await presence.typing(BOB, shared, True)
        house.service.subscriptions.unfollow(shared, bob)
        assert ada.typing == also.typing == [("bob", True), ("bob", False)]
        (await house.engine.asked()).finish()

    async def test_typing_lapses(self, house: House, shared: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("legato.chat.presence.TYPING_SECONDS", 0.01)
        await let_in(house, shared, BOB)
        bob = Heard()
        await house.service.subscriptions.follow(BOB, shared, bob)
        await house.service.presence.typing(ADA, shared, True)
        await bob.until(lambda heard: len(heard.typing) == 2)
        assert bob.typing == [("ada", True), ("ada", False)]

    async def test_a_member_who_becomes_a_viewer_types_no_more(self, house: House, shared: str) -> None:
        await let_in(house, shared, BOB)
        ada = Heard()
        await house.service.subscriptions.follow(ADA, shared, ada)
        await house.service.presence.typing(BOB, shared, True)
        await house.service.participants.change(ADA, shared, "bob", "viewer")
        assert ada.typing == [("bob", True), ("bob", False)]


async def test_lists_say_how_one_stands(house: House, shared: str) -> None:
    mine = await house.service.conversations.create(BOB, title="Bob's")
    await let_in(house, shared, BOB, "viewer")
    listed: list[Conversation] = await house.service.conversations.page(BOB)
    assert {each.id for each in listed} == {mine.id, shared}
    assert await house.service.participants.roles(BOB, listed) == {mine.id: "owner", shared: "viewer"}
