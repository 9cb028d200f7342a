import json

from tests.chat.commands.conftest import Room
from tests.chat.conftest import ADA, ChatServer

from legato.chat.commands import CommandRequest
from legato.chat.commands.markdown import span


async def test_help_lists_every_command_with_its_usage(server: ChatServer) -> None:
    answer = await server.service.commands.run(CommandRequest(ADA, "/help"))
    assert not answer.failed
    for command in server.service.commands.all():
        assert f"`{command.written}`: {command.help}" in answer.text


async def test_help_says_more_of_one(server: ChatServer) -> None:
    answer = await server.service.commands.run(CommandRequest(ADA, "/help /status"))
    assert answer.text.startswith("`/stat`")
    assert "`/status`" in answer.text


async def test_help_for_what_there_is_not_names_the_nearest(server: ChatServer) -> None:
    answer = await server.service.commands.run(CommandRequest(ADA, "/help hlep"))
    assert answer.failed
    assert "Did you mean `/help`?" in answer.text


async def test_stat_says_how_conversation_model_and_engine_are(room: Room) -> None:
    await room.exchange("Tides *now*")
    text = (await room.type("/status")).text
    assert f"- Conversation: Tides \\*now\\* (`{room.id}`)" in text
    assert "- Messages: 2" in text
    assert "- Tokens: 1,000 read, 20 written" in text
    assert "- Model: `scripted`" in text
    assert "- Engine: scripted, well." in text


async def test_stat_says_what_is_being_written(room: Room) -> None:
    await room.ask()
    assert "- Messages: 2, 1 being written" in (await room.type("/stat")).text


async def test_stat_outside_of_a_conversation_tells_of_the_engine(server: ChatServer) -> None:
    answer = await server.service.commands.run(CommandRequest(ADA, "/stat"))
    assert not answer.failed
    assert "Engine: scripted" in answer.text


async def test_who_takes_part(room: Room) -> None:
    assert (await room.type("/who")).text == "- ada: owner"


async def test_what_needs_a_conversation_says_so(server: ChatServer) -> None:
    answer = await server.service.commands.run(CommandRequest(ADA, "/who"))
    assert answer.failed
    assert answer.text.startswith("There is no conversation yet.")


async def test_export_is_markdown_or_json(room: Room) -> None:
    await room.exchange("Hello", "Here: ```code```")
    assert "## scripted\n\nHere: ```code```" in (await room.type("/export")).text
    fenced = (await room.type("/export json")).text
    assert fenced.startswith("````json\n")
    whole = json.loads(fenced.removeprefix("````json\n").removesuffix("\n````"))
    assert [each["text"] for each in whole["messages"]] == ["Hello", "Here: ```code```"]
    assert whole["created_at"].endswith("Z")
    assert (await room.type("/export pdf")).failed


async def test_a_long_export_is_a_file_to_fetch(room: Room) -> None:
    await room.exchange("Hello", "x" * 60_000)
    text = (await room.type("/export")).text
    assert f"`GET /api/conversations/{room.id}/export?format=markdown`" in text


def test_times_are_said_in_words() -> None:
    assert [span(each) for each in (30, 60, 90, 7200, 86400, 7 * 86400)] == [
        "30 seconds",
        "1 minute",
        "2 minutes",
        "2 hours",
        "1 day",
        "7 days",
    ]
