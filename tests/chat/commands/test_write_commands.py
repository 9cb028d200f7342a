from pathlib import Path

import pytest
from tests.chat.commands.conftest import Open, Room
from tests.chat.conftest import ADA, BOB, RecordingWatcher
from tests.chat.tools import ScriptedTool, ToolServer, asking, call_and_finish

from legato.chat.assistant import Assistant
from legato.chat.commands import CommandRequest
from legato.domain.message import text_of
from legato.engines.base import Request
from legato.stream import ToolAsked


def read(request: Request) -> list[str]:
    """What the model was given to read."""
    return [text_of(turn.parts) for turn in request.turns]


async def stored(room: Room) -> list[str]:
    return [text_of(each.parts) for each in await room.server.storage.messages(room.id)]


class TestNew:
    async def test_it_begins_a_conversation_with_the_same_assistant(self, open_room: Open) -> None:
        room = await open_room(Assistant(name="default"), Assistant(name="nurse"))
        room.id = (await room.service.conversations.create(ADA, "nurse")).id
        answer = await room.type("/new Tides")
        assert answer.conversation is not None
        made = (await room.service.conversations.get(ADA, answer.conversation)).conversation
        assert (made.assistant, made.title) == ("nurse", "Tides")

    async def test_it_needs_no_conversation(self, room: Room) -> None:
        answer = await room.service.commands.run(CommandRequest(ADA, "/new"))
        assert answer.conversation is not None

    async def test_sent_twice_it_makes_one(self, room: Room) -> None:
        assert await room.type("/new", key="k") == await room.type("/new", key="k")
        assert len(await room.service.conversations.page(ADA)) == 2

    async def test_an_assistant_is_chosen_by_name(self, open_room: Open) -> None:
        room = await open_room(Assistant(name="default"), Assistant(name="nurse"))
        assert "`nurse`, with `scripted`" in (await room.type("/assistant")).text
        answer = await room.type("/assistant nurse")
        assert answer.conversation is not None
        made = (await room.service.conversations.get(ADA, answer.conversation)).conversation
        assert made.assistant == "nurse"
        assert (await room.type("/assistant nobody")).failed


class TestClear:
    async def test_the_model_reads_nothing_of_what_was_before_and_all_is_kept(self, room: Room) -> None:
        await room.exchange("My name is Ada.")
        assert not (await room.type("/clear")).failed
        run = await room.ask("Who am I?")
        assert read(run.request) == ["Who am I?"]
        assert "My name is Ada." in await stored(room)
        assert "/clear" not in await stored(room)

    async def test_what_follows_is_read_again(self, room: Room) -> None:
        await room.exchange("one")
        await room.type("/clear")
        await room.exchange("two", "2")
        assert read((await room.ask("three")).request) == ["two", "2", "three"]

    async def test_another_reply_to_an_earlier_message_reads_what_that_one_read(self, room: Room) -> None:
        await room.exchange("one")
        await room.type("/clear")
        answer = await room.type("/retry")
        assert answer.started is not None
        assert read((await room.server.engine.asked()).request) == ["one"]

    async def test_it_outlives_the_server(self, room: Room) -> None:
        await room.exchange("one")
        await room.type("/clear")
        await room.restart()
        assert read((await room.ask("two")).request) == ["two"]

    async def test_where_nothing_was_said_there_is_nothing_to_clear(self, room: Room) -> None:
        before = (await room.service.conversations.get(ADA, room.id)).conversation
        assert not (await room.type("/clear")).failed
        assert (await room.service.conversations.get(ADA, room.id)).conversation == before


class TestStopAndRetry:
    async def test_stop_keeps_the_text_so_far(self, room: Room) -> None:
        run = await room.ask()
        run.say("Good")
        assert (await room.type("/stop")).text == "Stopped."
        assert run.cancelled
        assert await stored(room) == ["Hello", "Good"]

    async def test_nothing_to_stop_is_said(self, room: Room) -> None:
        assert (await room.type("/stop")).text == "Nothing is being written."

    async def test_retry_has_another_reply_written(self, room: Room) -> None:
        await room.exchange()
        answer = await room.type("/again", key="k")
        assert answer.started is not None
        run = await room.server.engine.asked()
        assert read(run.request) == ["Hello"]
        assert await room.type("/again", key="k") == answer

    async def test_there_must_be_a_whole_reply(self, room: Room) -> None:
        assert (await room.type("/retry")).text == "There is no reply yet that could be another."
        await room.ask()
        assert "still being written" in (await room.type("/retry")).text


class TestSystem:
    async def test_the_model_reads_it_behind_the_assistants_own(self, open_room: Open) -> None:
        room = await open_room(Assistant(name="default", system="You are a nurse."))
        await room.type("/system Be brief.\nAnd kind.")
        assert read((await room.ask("Hi")).request) == ["You are a nurse.\n\nBe brief.\nAnd kind.", "Hi"]

    async def test_it_is_shown_and_the_assistants_own_is_not(self, open_room: Open) -> None:
        room = await open_room(Assistant(name="default", system="A secret."))
        assert "secret" not in (await room.type("/system")).text
        await room.type("/system Say ``` often.")
        assert (await room.type("/system")).text == "````\nSay ``` often.\n````"

    async def test_it_is_taken_back(self, room: Room) -> None:
        await room.type("/system Be brief.")
        await room.type("/system none")
        assert read((await room.ask("Hi")).request) == ["Hi"]

    async def test_it_has_a_limit(self, room: Room) -> None:
        assert (await room.type("/system " + "x" * 20_001)).failed


class TestModel:
    async def test_the_others_are_listed(self, room: Room) -> None:
        await room.offer("scripted", "large")
        answer = await room.type("/model")
        assert "`scripted` answers here." in answer.text
        assert "- `large`" in answer.text

    async def test_a_chosen_one_answers_from_the_next_message_on(self, room: Room) -> None:
        await room.offer("scripted", "large:latest")
        assert "`large:latest`" in (await room.type("/model large")).text
        assert (await room.ask()).request.model == "large:latest"

    async def test_it_is_taken_back(self, room: Room) -> None:
        await room.offer("scripted", "large")
        await room.type("/model large")
        assert "`scripted`" in (await room.type("/model default")).text
        assert (await room.ask()).request.model == "scripted"

    async def test_one_that_is_not_there_cannot_be_chosen(self, room: Room) -> None:
        answer = await room.type("/model gpt-9")
        assert answer.failed
        assert "There is no model 'gpt-9'" in answer.text

    async def test_an_assistant_may_allow_some_or_none(self, open_room: Open) -> None:
        room = await open_room(Assistant(name="default", models=()), Assistant(name="b", models=("large",)))
        await room.offer("scripted", "large", "huge")
        assert (await room.type("/model large")).text == "The model of this assistant cannot be chosen."
        assert "There is no other to choose." in (await room.type("/model")).text
        room.id = (await room.service.conversations.create(ADA, "b")).id
        assert not (await room.type("/model large")).failed
        assert (await room.type("/model huge")).failed

    async def test_an_engine_that_is_away_is_said(self, room: Room) -> None:
        room.server.engine.down = True
        assert "not known now" in (await room.type("/model")).text
        assert (await room.type("/model large")).failed


class TestTitle:
    async def test_it_is_shown_and_changed(self, room: Room) -> None:
        assert (await room.type("/title")).text == "It has no title yet."
        assert (await room.type("/title  Tides & *moons* ")).text == "It is called Tides & \\*moons\\*."
        assert (await room.service.conversations.get(ADA, room.id)).conversation.title == "Tides & *moons*"


class TestInvite:
    async def test_whoever_has_the_link_joins(self, room: Room) -> None:
        answer = await room.type("/invite viewer 2h")
        assert "within 2 hours can read here" in answer.text
        secret = answer.text.split("`#/join/")[1].split("`")[0]
        await room.service.participants.join(BOB, secret)
        assert await room.service.participants.role(BOB, room.id) == "viewer"

    @pytest.mark.parametrize("arguments", ["owner", "7", "member forever", "9999999d"])
    async def test_what_makes_no_sense_is_answered_with_the_usage(self, room: Room, arguments: str) -> None:
        answer = await room.type(f"/invite {arguments}")
        assert answer.failed
        assert "`/invite [member|viewer] [7d]`" in answer.text


class TestApprove:
    @pytest.mark.parametrize("word", ["approve", "deny", "approve look", "deny a"])
    async def test_a_tool_that_waits_may_run_or_not(self, tmp_path: Path, word: str) -> None:
        scripted_tool = ScriptedTool(approval=True)
        server = ToolServer(f"sqlite:///{tmp_path / 'legato.db'}")
        server.scripted_tools = (scripted_tool,)
        await server.start()
        conversation, _, log, run = await server.ask()
        call_and_finish(run, ("a", "look"))
        await asking(log)
        answer = await server.service.commands.run(CommandRequest(ADA, f"/{word}", conversation))
        assert answer.text == ("look may run." if "approve" in word else "look may not run.")
        await server.engine.asked()
        assert len(scripted_tool.runs) == ("approve" in word)
        await server.stop()

    async def test_there_must_be_a_tool_that_waits(self, room: Room) -> None:
        assert (await room.type("/approve")).text == "No tool waits for a word."
        assert (await room.type("/deny")).failed

    async def test_several_are_told_apart(self, room: Room) -> None:
        await room.ask()
        (log,) = room.service.subscriptions.logs(room.id)
        log.append(ToolAsked("c1", "roll", "{}"))
        log.append(ToolAsked("c2", "toss", "{}"))
        answer = await room.type("/approve")
        assert "`/approve c1`: roll" in answer.text
        assert "`/approve c2`: toss" in answer.text


async def test_nothing_of_a_command_is_stored_or_reaches_a_model(room: Room) -> None:
    await room.exchange()
    for command in room.service.commands.all():
        if command.name != "retry":
            await room.type(f"/{command.name}")
    assert await stored(room) == ["Hello", "Good day."]
    assert len(room.server.engine.requests) == 1


class TestStandings:
    @pytest.fixture
    async def shared(self, room: Room) -> Room:
        """Bob reads in it."""
        await room.exchange()
        _, secret = await room.service.participants.invite(ADA, room.id, "viewer")
        await room.service.participants.join(BOB, secret)
        return room

    @pytest.mark.parametrize("text", ["/help", "/stat", "/who", "/export", "/model", "/title", "/assistant"])
    async def test_a_viewer_may_read(self, shared: Room, text: str) -> None:
        assert not (await shared.type(text, BOB)).failed

    @pytest.mark.parametrize(
        "text",
        [
            "/stop",
            "/retry",
            "/clear",
            "/system",
            "/system x",
            "/model scripted",
            "/title x",
            "/invite",
            "/approve",
            "/deny",
        ],
    )
    async def test_and_change_nothing(self, shared: Room, text: str) -> None:
        before = (await shared.service.conversations.get(ADA, shared.id)).conversation
        assert (await shared.type(text, BOB)).failed
        assert (await shared.service.conversations.get(ADA, shared.id)).conversation == before

    async def test_a_member_writes_and_does_not_own(self, shared: Room) -> None:
        await shared.service.participants.change(ADA, shared.id, "bob", "member")
        assert not (await shared.type("/stop", BOB)).failed
        for text in ("/clear", "/system x", "/model scripted", "/invite", "/title x"):
            assert (await shared.type(text, BOB)).text == "Only the owner of this conversation can do that."

    async def test_a_stranger_learns_nothing(self, room: Room) -> None:
        for command in room.service.commands.all():
            if command.needs != "nothing":
                stranger = await room.type(f"/{command.name}", BOB)
                nowhere = await room.service.commands.run(CommandRequest(BOB, f"/{command.name}", "nowhere"))
                assert stranger.failed
                assert stranger == nowhere


async def test_everyone_hears_of_a_change(room: Room) -> None:
    heard = RecordingWatcher()
    await room.service.subscriptions.follow(ADA, room.id, heard)
    await room.type("/title Tides")
    assert [each.title for each in heard.conversations] == ["Tides"]
