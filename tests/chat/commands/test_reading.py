from tests.chat.conftest import ADA, House

from legato.chat.commands import Asked


async def test_help_lists_every_command_with_its_usage(house: House) -> None:
    answer = await house.service.commands.run(Asked(ADA, "/help"))
    assert not answer.failed
    for command in house.service.commands.all():
        assert f"`{command.written}`: {command.help}" in answer.text


async def test_help_says_more_of_one(house: House) -> None:
    answer = await house.service.commands.run(Asked(ADA, "/help /help"))
    assert answer.text.startswith("`/help [command]`")


async def test_help_for_what_there_is_not_names_the_nearest(house: House) -> None:
    answer = await house.service.commands.run(Asked(ADA, "/help hlep"))
    assert answer.failed
    assert "Did you mean `/help`?" in answer.text
