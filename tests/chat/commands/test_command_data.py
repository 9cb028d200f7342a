"""The result of a command as data: what its sentence says, so that no client takes the sentence apart."""

import pytest
from tests.chat.commands.conftest import Open, Room
from tests.chat.conftest import ADA, BOB

from legato.chat.assistant import Assistant
from legato.chat.commands import conversation_commands
from legato.protocol.command_data import (
    AssistantEntry,
    AssistantsData,
    CommandsData,
    ConversationData,
    ExportData,
    InvitationData,
    ModelChoice,
    ModelData,
    ParticipantEntry,
    ParticipantsData,
    ReplyData,
    StatusData,
    StoppedData,
    SystemPromptData,
)


async def test_an_invitation_has_its_id_and_its_path(room: Room) -> None:
    answer = await room.type("/invite viewer 2h")
    data = answer.data
    assert isinstance(data, InvitationData)
    assert data.path in answer.text
    assert (data.standing, data.seconds) == ("viewer", 7200.0)
    (invitation,) = await room.service.participants.invitations(ADA, room.id)
    assert (invitation.id, invitation.expires_at) == (data.invitation, data.expires_at)
    await room.service.participants.join(BOB, data.path.removeprefix("#/join/"))


@pytest.mark.parametrize(("written", "form"), [("/export", "markdown"), ("/export json", "json")])
async def test_an_export_has_its_content_or_where_it_is(
    room: Room, monkeypatch: pytest.MonkeyPatch, written: str, form: str
) -> None:
    await room.exchange("How now?", "Well.")
    answer = await room.type(written)
    assert isinstance(answer.data, ExportData)
    assert answer.data.content is not None
    assert answer.data.format == form
    assert "How now?" in answer.data.content
    assert answer.data.content in answer.text
    monkeypatch.setattr(conversation_commands, "EXPORTED", 10)
    path = f"/api/conversations/{room.id}/export?format={form}"
    assert (await room.type(written)).data == ExportData(answer.data.format, path=path)


async def test_the_model_and_those_to_choose_from(room: Room) -> None:
    await room.offer("scripted", "other")
    assert (await room.type("/model")).data == ModelData("scripted", (ModelChoice("other", None),))
    assert (await room.type("/model other")).data == ModelData("other")


async def test_the_participants(room: Room) -> None:
    assert (await room.type("/who")).data == ParticipantsData(
        (ParticipantEntry("ada", None, "owner", 0, False),)
    )


async def test_the_replies_that_were_stopped_and_started(room: Room) -> None:
    assert (await room.type("/stop")).data == StoppedData(())
    run = await room.ask()
    run.say("Good")
    (log,) = room.service.subscriptions.logs(room.id)
    assert (await room.type("/stop")).data == StoppedData((log.stream,))
    answer = await room.type("/retry")
    assert answer.started is not None
    assert answer.data == ReplyData(answer.started.reply.id)


async def test_the_conversation_that_was_created_or_changed(room: Room) -> None:
    answer = await room.type("/new Tides")
    assert answer.conversation is not None
    assert answer.data == ConversationData(answer.conversation, "Tides", "default")
    assert (await room.type("/title Moons")).data == ConversationData(room.id, "Moons", "default")
    assert (await room.type("/title")).data == ConversationData(room.id, "Moons", "default")


async def test_the_instructions(room: Room) -> None:
    assert (await room.type("/system")).data == SystemPromptData(None)
    assert (await room.type("/system Rhyme.")).data == SystemPromptData("Rhyme.")
    assert (await room.type("/system")).data == SystemPromptData("Rhyme.")
    assert (await room.type("/system none")).data == SystemPromptData(None)


async def test_the_assistants_and_the_commands(open_room: Open) -> None:
    room = await open_room(Assistant(name="default"), Assistant(name="nurse"))
    entries = (AssistantEntry("default", "scripted"), AssistantEntry("nurse", "scripted"))
    assert (await room.type("/assistant")).data == AssistantsData(entries)
    data = (await room.type("/help")).data
    assert isinstance(data, CommandsData)
    assert [each.name for each in data.commands] == [each.name for each in room.service.commands.all()]
    data = (await room.type("/help stat")).data
    assert isinstance(data, CommandsData)
    assert [(each.name, each.aliases) for each in data.commands] == [("stat", ("status",))]


async def test_the_status(room: Room) -> None:
    await room.exchange()
    data = (await room.type("/stat")).data
    assert isinstance(data, StatusData)
    assert (data.conversation, data.messages, data.running, data.participants) == (room.id, 2, 0, 1)
    assert (data.prompt_tokens, data.completion_tokens) == (1000, 20)
    assert (data.assistant, data.model, data.engine) == ("default", "scripted", "scripted")
    assert data.healthy


async def test_a_command_that_failed_has_no_data(room: Room) -> None:
    answer = await room.type("/export nonsense")
    assert answer.failed
    assert answer.data is None
