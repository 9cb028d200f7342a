"""Several people in one conversation: what each may do, who hears what, and who no longer does."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest

from legato.chat import conversation_presence as presence_module
from legato.chat import participants as participants_module
from legato.chat.participants import digest_of
from legato.chat.presence import Present
from legato.chat.service import utc
from legato.domain.conversation import Conversation
from legato.domain.participant import ParticipantRole
from legato.domain.submission import Submission
from legato.domain.user import User
from legato.errors import ConflictError, ForbiddenError, InvalidError, LegatoError, NotFoundError

from .conftest import ADA, BOB, ChatServer, RecordingWatcher

EVE = User("eve", "Eve \ud800")


@pytest.fixture(autouse=True)
def announced_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presence_module, "ANNOUNCED_SECONDS", 0.0)


@pytest.fixture
async def shared(server: ChatServer) -> str:
    """Ada's conversation."""
    return (await server.service.conversations.create(ADA, title="Ours")).id


async def let_in(
    server: ChatServer, conversation: str, person: User, standing: ParticipantRole = "member"
) -> None:
    _, secret = await server.service.participants.invite(ADA, conversation, standing)
    await server.service.participants.join(person, secret)


async def standings(server: ChatServer, conversation: str) -> dict[str, str]:
    return {
        each.user: each.role for each in await server.service.participants.participants(ADA, conversation)
    }


class TestAccess:
    async def test_a_member_does_all_but_what_is_the_owners(self, server: ChatServer, shared: str) -> None:
        await let_in(server, shared, BOB)
        service = server.service
        started = await service.replies.send(BOB, Submission(None, shared, "Hello"))
        run = await server.engine.asked()
        assert await service.replies.stop(BOB, shared) == [started.reply.id]
        assert started.question is not None
        assert started.question.author == "bob"
        again = await service.replies.regenerate(BOB, shared, started.reply.id)
        (await server.engine.asked()).finish()
        await service.conversations.show(BOB, shared, started.reply.id)
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
        assert await standings(server, shared) == {"ada": "owner", "bob": "member"}

    async def test_a_viewer_only_reads(self, server: ChatServer, shared: str) -> None:
        started = await server.service.replies.send(ADA, Submission(None, shared, "Hello"))
        await let_in(server, shared, BOB, "viewer")
        service, reply = server.service, started.reply.id
        assert started.question is not None
        question = started.question.id
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
        heard = RecordingWatcher()
        told, messages = await service.subscriptions.follow(BOB, shared, heard)
        assert told.id == shared
        assert [each.id for each in messages] == [question, reply]
        assert (await service.subscriptions.log(BOB, reply))[0] == shared
        run = await server.engine.asked()
        run.say("Yes?")
        run.finish()
        assert (await heard.ended(reply)).status == "complete"
        assert len((await service.conversations.get(ADA, shared)).messages) == 2

    async def test_a_standing_counts_from_the_moment_it_changes(
        self, server: ChatServer, shared: str
    ) -> None:
        await let_in(server, shared, BOB, "viewer")
        await server.service.participants.change(ADA, shared, "bob", "member")
        started = await server.service.replies.send(BOB, Submission(None, shared, "Hi"))
        await server.service.participants.change(ADA, shared, "bob", "viewer")
        with pytest.raises(ForbiddenError):
            await server.service.replies.send(BOB, Submission(None, shared, "Hi again"))
        assert (await server.service.conversations.get(BOB, shared)).messages[started.reply.id]

    async def test_to_a_stranger_people_look_like_nothing(self, server: ChatServer, shared: str) -> None:
        people, presence = server.service.participants, server.service.presence
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
                lambda: server.service.conversations.get_or_create(BOB, conversation),
            ]
            for attempt in attempts:
                with pytest.raises(LegatoError) as refused:
                    await attempt()
                said.append(f"{type(refused.value).__name__} {refused.value}")
            return said

        assert await words(shared, invitation.id) == await words("nothing", "none")
        assert all(each.startswith("NotFoundError") for each in await words(shared, invitation.id))

    async def test_what_was_sent_before_one_left_opens_no_door(self, server: ChatServer) -> None:
        """The conversation that this very send made was handed over since, and left."""
        hello = Submission("k", None, "Hello")
        started = await server.service.replies.send(ADA, hello)
        conversation = started.conversation.id
        await let_in(server, conversation, BOB)
        await server.service.participants.change(ADA, conversation, "bob", "owner")
        assert (await server.service.replies.send(ADA, hello)).duplicate
        await server.service.participants.leave(ADA, conversation)
        with pytest.raises(NotFoundError):
            await server.service.replies.send(ADA, hello)


class TestEnter:
    async def test_what_nobody_has_is_made_where_that_is_allowed(self, server: ChatServer) -> None:
        with pytest.raises(NotFoundError):
            await server.service.conversations.get_or_create(ADA, "room")
        with pytest.raises(NotFoundError):
            await server.service.conversations.get_or_create(ADA, "room", join=True)
        with pytest.raises(InvalidError):
            await server.service.conversations.get_or_create(ADA, "a\nb", create=True)
        with pytest.raises(InvalidError):
            await server.service.conversations.get_or_create(ADA, "..", create=True)
        with pytest.raises(InvalidError, match="assistant"):
            await server.service.conversations.get_or_create(ADA, "room", create=True, assistant="nobody")
        made = await server.service.conversations.get_or_create(ADA, "room", create=True)
        assert (made.id, made.owner) == ("room", "ada")
        assert (await server.service.conversations.get_or_create(ADA, "room", create=True)).id == "room"

    async def test_somebody_elses_is_joined_where_that_is_allowed(
        self, server: ChatServer, shared: str
    ) -> None:
        for create in (False, True):
            with pytest.raises(NotFoundError):
                await server.service.conversations.get_or_create(BOB, shared, create=create)
        assert (await server.service.conversations.get_or_create(BOB, shared, join=True)).owner == "ada"
        assert await standings(server, shared) == {"ada": "owner", "bob": "member"}

    async def test_a_viewer_who_enters_stays_one(self, server: ChatServer, shared: str) -> None:
        await let_in(server, shared, BOB, "viewer")
        await server.service.conversations.get_or_create(BOB, shared, join=True, create=True)
        assert await server.service.participants.role(BOB, shared) == "viewer"

    async def test_of_many_who_enter_at_once_one_has_made_it(self, server: ChatServer) -> None:
        people = [User(f"u{n}") for n in range(20)]
        entered = await asyncio.gather(
            *(
                server.service.conversations.get_or_create(each, "room", create=True, join=True)
                for each in people
            )
        )
        assert len({each.owner for each in entered}) == 1
        owner = next(each for each in people if each.id == entered[0].owner)
        here = await server.service.participants.participants(owner, "room")
        assert sorted(each.user for each in here) == sorted(each.id for each in people)
        assert [each.role for each in here].count("owner") == 1

    async def test_one_that_was_deleted_is_made_anew(self, server: ChatServer) -> None:
        await server.service.conversations.get_or_create(ADA, "room", create=True)
        await server.service.replies.send(ADA, Submission(None, "room", "Hello"))
        (await server.engine.asked()).finish()
        await server.service.participants.add_participant(EVE, "room")
        await server.service.conversations.delete(ADA, "room")
        with pytest.raises(NotFoundError):
            await server.service.conversations.get_or_create(EVE, "room", join=True)
        made = await server.service.conversations.get_or_create(BOB, "room", create=True)
        assert (made.owner, made.revision) == ("bob", 0)
        tree = await server.service.conversations.get(BOB, "room")
        assert (tree.messages, [each.user for each in tree.people()]) == ({}, ["bob"])
        for stranger in (ADA, EVE):
            with pytest.raises(NotFoundError):
                await server.service.conversations.get(stranger, "room")
        started = await server.service.replies.send(BOB, Submission(None, "room", "Mine"))
        assert started.conversation.revision == 1
        assert len((await server.service.conversations.get(BOB, "room")).messages) == 2


class TestInvitations:
    async def test_of_a_secret_only_the_digest_is_kept(self, server: ChatServer, shared: str) -> None:
        invitation, secret = await server.service.participants.invite(ADA, shared)
        assert len(secret) * 6 >= 128
        assert invitation.digest == digest_of(secret)
        (kept,) = await server.storage.invitations(shared, utc())
        assert kept == invitation
        assert secret not in repr(kept)
        for wrong in ("", "nothing", invitation.digest, invitation.id, secret[:-1], secret + "x", "\ud800"):
            with pytest.raises(NotFoundError):
                await server.service.participants.join(BOB, wrong)

    async def test_joining_twice_is_joining_once(self, server: ChatServer, shared: str) -> None:
        _, as_member = await server.service.participants.invite(ADA, shared, "member")
        _, as_viewer = await server.service.participants.invite(ADA, shared, "viewer")
        people = server.service.participants
        for secret, stands in ((as_viewer, "viewer"), (as_member, "member"), (as_viewer, "member")):
            await people.join(BOB, secret)
            assert await people.role(BOB, shared) == stands
        await people.join(ADA, as_viewer)
        assert await standings(server, shared) == {"ada": "owner", "bob": "member"}

    async def test_it_is_over_in_time_and_when_it_is_taken_back(
        self, server: ChatServer, shared: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        people = server.service.participants
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
        self, server: ChatServer, shared: str, standing: Any, ttl: float
    ) -> None:
        with pytest.raises(InvalidError):
            await server.service.participants.invite(ADA, shared, standing, ttl)

    async def test_there_are_not_without_end(
        self, server: ChatServer, shared: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(participants_module, "INVITATIONS", 2)
        await server.service.participants.invite(ADA, shared)
        await server.service.participants.invite(ADA, shared)
        with pytest.raises(ConflictError):
            await server.service.participants.invite(ADA, shared)


class TestGoing:
    async def test_one_who_is_removed_hears_nothing_more(self, server: ChatServer, shared: str) -> None:
        await let_in(server, shared, BOB)
        first, second, owner = RecordingWatcher(), RecordingWatcher(), RecordingWatcher()
        for person, heard in ((BOB, first), (BOB, second), (ADA, owner)):
            await server.service.subscriptions.follow(person, shared, heard)
        started = await server.service.replies.send(ADA, Submission(None, shared, "Hello"))
        run = await server.engine.asked()
        told = len(first.messages)
        await server.service.participants.remove(ADA, shared, "bob")
        assert first.deleted == second.deleted == [shared]
        assert owner.deleted == []
        run.say("Secret")
        run.finish()
        await owner.ended(started.reply.id)
        assert len(first.messages) == told
        with pytest.raises(NotFoundError):
            await server.service.subscriptions.follow(BOB, shared, first)
        assert await server.service.conversations.page(BOB) == []
        assert await server.service.conversations.search(BOB, "secret") == []
        with pytest.raises(NotFoundError):
            await server.service.participants.remove(ADA, shared, "bob")

    async def test_one_who_is_removed_while_they_begin_to_follow_does_not(
        self, server: ChatServer, shared: str
    ) -> None:
        for _ in range(20):
            await let_in(server, shared, BOB)
            server.service.subscriptions.evict(shared)
            heard = RecordingWatcher()
            results = await asyncio.gather(
                server.service.subscriptions.follow(BOB, shared, heard),
                server.service.participants.remove(ADA, shared, "bob"),
                return_exceptions=True,
            )
            assert results[1] is None
            assert isinstance(results[0], NotFoundError) or heard.deleted == [shared]
            assert server.service.presence.present(shared) == []

    async def test_one_who_is_removed_while_their_message_is_stored_does_not_follow_it(
        self, server: ChatServer, shared: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await let_in(server, shared, BOB)
        begin = server.storage.begin

        async def slow(*arguments: Any) -> Any:
            started = await begin(*arguments)
            await server.service.participants.remove(ADA, shared, "bob")
            return started

        monkeypatch.setattr(server.storage, "begin", slow)
        heard = RecordingWatcher()
        await server.service.replies.send(BOB, Submission(None, shared, "Hi"))
        server.service.subscriptions.subscribe(BOB, shared, heard)
        assert heard.deleted == [shared]
        assert heard.messages == []

    async def test_one_who_leaves_may_come_back_by_a_link(self, server: ChatServer, shared: str) -> None:
        await let_in(server, shared, BOB)
        await server.service.participants.leave(BOB, shared)
        with pytest.raises(NotFoundError):
            await server.service.participants.leave(BOB, shared)
        await let_in(server, shared, BOB, "viewer")
        assert await server.service.participants.role(BOB, shared) == "viewer"

    async def test_the_owner_hands_over_before_leaving(self, server: ChatServer, shared: str) -> None:
        people = server.service.participants
        await let_in(server, shared, BOB, "viewer")
        heard = RecordingWatcher()
        await server.service.subscriptions.follow(BOB, shared, heard)
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
        await server.service.conversations.rename(BOB, shared, "Mine now")
        assert [each.user for each in await people.participants(BOB, shared)] == ["bob"]

    async def test_what_memory_says_is_what_the_database_says(self, server: ChatServer, shared: str) -> None:
        """Coming and going at once, many times, whatever order it takes."""
        _, secret = await server.service.participants.invite(ADA, shared)
        people = server.service.participants
        for turn in range(20):
            await asyncio.gather(
                people.join(BOB, secret),
                people.remove(ADA, shared, "bob"),
                people.change(ADA, shared, "bob", "viewer"),
                server.service.conversations.get(BOB, shared),
                return_exceptions=True,
            )
            if turn % 2:
                server.service.subscriptions.evict(shared)
            known = (await server.service.conversations.get(ADA, shared)).people()
            assert known == await server.storage.participants(shared)


class TestPresence:
    async def test_everybody_hears_who_comes_and_who_goes(self, server: ChatServer, shared: str) -> None:
        await let_in(server, shared, EVE)
        presence = server.service.presence
        ada, eve, another = RecordingWatcher(), RecordingWatcher(), RecordingWatcher()
        await server.service.subscriptions.follow(ADA, shared, ada)
        assert presence.present(shared) == [Present("ada", None, 1, False)]
        await server.service.subscriptions.follow(EVE, shared, eve)
        await server.service.subscriptions.follow(EVE, shared, another)
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
        server.service.subscriptions.unfollow(shared, eve)
        server.service.subscriptions.unfollow(shared, eve)
        server.service.subscriptions.unfollow(shared, another)
        await ada.until(lambda heard: heard.people > before)
        assert presence.present(shared) == [Present("ada", None, 1, False)]
        server.service.subscriptions.unfollow(shared, ada)
        assert presence.present(shared) == []

    async def test_the_name_of_one_who_is_away_is_known(self, server: ChatServer, shared: str) -> None:
        owner = User("ada", "Ada")
        _, secret = await server.service.participants.invite(owner, shared)
        await server.service.participants.join(EVE, secret)
        server.service.subscriptions.evict(shared)
        seen = await server.service.presence.everybody(ADA, shared)
        assert [(each.name, each.connections) for each in seen] == [("Ada", 0), ("Eve \ufffd", 0)]

    async def test_many_who_come_at_once_are_told_as_one(
        self, server: ChatServer, shared: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(presence_module, "ANNOUNCED_SECONDS", 0.05)
        heard = [RecordingWatcher() for _ in range(50)]
        await asyncio.gather(*(server.service.subscriptions.follow(ADA, shared, each) for each in heard))
        for each in heard:
            await each.until(lambda heard: heard.people > 0)
        assert [each.people for each in heard] == [1] * 50

    async def test_typing_is_told_to_the_others_and_ends_when_it_is_sent(
        self, server: ChatServer, shared: str
    ) -> None:
        await let_in(server, shared, BOB)
        ada, also, bob = RecordingWatcher(), RecordingWatcher(), RecordingWatcher()
        for person, heard in ((ADA, ada), (ADA, also), (BOB, bob)):
            await server.service.subscriptions.follow(person, shared, heard)
        presence = server.service.presence
        await presence.typing(ADA, shared, True)
        await presence.typing(ADA, shared, True)
        assert bob.typing == [("ada", True)]
        assert presence.present(shared)[0].typing
        await server.service.replies.send(ADA, Submission(None, shared, "Hello"))
        assert bob.typing == [("ada", True), ("ada", False)]
        await presence.typing(BOB, shared, True)
        server.service.subscriptions.unfollow(shared, bob)
        assert ada.typing == also.typing == [("bob", True), ("bob", False)]
        (await server.engine.asked()).finish()

    async def test_typing_lapses(
        self, server: ChatServer, shared: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("legato.chat.presence.TYPING_SECONDS", 0.01)
        await let_in(server, shared, BOB)
        bob = RecordingWatcher()
        await server.service.subscriptions.follow(BOB, shared, bob)
        await server.service.presence.typing(ADA, shared, True)
        await bob.until(lambda heard: len(heard.typing) == 2)
        assert bob.typing == [("ada", True), ("ada", False)]

    async def test_a_member_who_becomes_a_viewer_types_no_more(self, server: ChatServer, shared: str) -> None:
        await let_in(server, shared, BOB)
        ada = RecordingWatcher()
        await server.service.subscriptions.follow(ADA, shared, ada)
        await server.service.presence.typing(BOB, shared, True)
        await server.service.participants.change(ADA, shared, "bob", "viewer")
        assert ada.typing == [("bob", True), ("bob", False)]


async def test_lists_say_how_one_stands(server: ChatServer, shared: str) -> None:
    mine = await server.service.conversations.create(BOB, title="Bob's")
    await let_in(server, shared, BOB, "viewer")
    listed: list[Conversation] = await server.service.conversations.page(BOB)
    assert {each.id for each in listed} == {mine.id, shared}
    assert await server.service.participants.roles(BOB, listed) == {mine.id: "owner", shared: "viewer"}
