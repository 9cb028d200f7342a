import asyncio
import logging
import tracemalloc
from importlib.metadata import EntryPoint

import pytest
from tests.chat.conftest import ADA, BOB, ChatServer

from legato.chat.commands import ChatCommand, CommandCall, CommandRequest, CommandResult, Commands, is_command
from legato.chat.commands.registry import ANSWER_LENGTH
from legato.errors import ConflictError


async def echo(call: CommandCall) -> CommandResult:
    return call.answer(call.arguments)


async def refuse(call: CommandCall) -> CommandResult:
    raise ConflictError("It is too late.")


async def break_(call: CommandCall) -> CommandResult:
    raise RuntimeError("a bug")


async def end(call: CommandCall) -> CommandResult:
    raise SystemExit(2)


ECHO = ChatCommand(
    name="echo", aliases=("say",), usage="[text]", help="Says it back.", run=echo, needs="nothing"
)


@pytest.fixture
def commands(server: ChatServer) -> Commands:
    each = [
        ECHO,
        ChatCommand(name="refuse", help="Never.", run=refuse, needs="nothing"),
        ChatCommand(name="break", help="Breaks.", run=break_, needs="nothing"),
        ChatCommand(name="end", help="Ends.", run=end, needs="nothing"),
    ]
    return Commands(server.service, each)


def asked(text: str, client_message_id: str | None = None) -> CommandRequest:
    return CommandRequest(ADA, text, client_message_id=client_message_id)


@pytest.mark.parametrize("text", ["/help", "/", "/nonsense at all", "//", "/\n", "/etc/passwd"])
def test_text_that_begins_with_a_slash_is_a_command(text: str) -> None:
    assert is_command(text)


@pytest.mark.parametrize("text", ["", " /help", "help", "1/2", "\n/help"])
def test_other_text_is_none(text: str) -> None:
    assert not is_command(text)


class TestRunning:
    @pytest.mark.parametrize(
        ("text", "arguments"),
        [
            ("/echo", ""),
            ("/ECHO a  b", "a  b"),
            ("/say\ta", "a"),
            ("/echo\nfirst line\nsecond", "first line\nsecond"),
        ],
    )
    async def test_the_rest_of_the_text_is_its_arguments(
        self, commands: Commands, text: str, arguments: str
    ) -> None:
        assert await commands.run(asked(text)) == CommandResult("echo", arguments)

    async def test_an_unknown_one_is_answered_with_the_nearest(self, commands: Commands) -> None:
        answer = await commands.run(asked("/ecko hello"))
        assert answer.failed
        assert answer.text == "There is no command `/ecko`. Did you mean `/echo`? `/help` lists all commands."

    @pytest.mark.parametrize("text", ["/", "/ echo", "/" + "x" * 100_000, "/`*[x](y)`", "/é\0\ud800"])
    async def test_whatever_is_typed_has_a_short_answer(self, commands: Commands, text: str) -> None:
        answer = await commands.run(asked(text))
        assert answer.failed
        assert answer.text.startswith("There is no command `/")
        assert len(answer.text) < 200
        answer.text.encode()

    async def test_a_refusal_is_an_answer(self, commands: Commands) -> None:
        assert await commands.run(asked("/refuse")) == CommandResult("refuse", "It is too late.", failed=True)

    async def test_one_that_breaks_is_an_answer_and_a_line_in_the_log(
        self, commands: Commands, caplog: pytest.LogCaptureFixture
    ) -> None:
        answer = await commands.run(asked("/break"))
        assert answer.failed
        assert "a bug" in caplog.text
        assert "a bug" not in answer.text

    @pytest.mark.parametrize("client_message_id", [None, "1"])
    async def test_one_that_means_to_end_the_process_does_not(
        self, commands: Commands, client_message_id: str | None
    ) -> None:
        answer = await commands.run(asked("/end", client_message_id))
        assert answer.failed
        assert "failed in a way it should not" in answer.text

    @pytest.mark.parametrize("client_message_id", ["", "x" * 129, "a\nb"])
    async def test_an_id_that_is_none_is_refused(self, commands: Commands, client_message_id: str) -> None:
        answer = await commands.run(asked("/echo a", client_message_id))
        assert answer.failed
        assert answer.text.startswith("client_message_id must be")

    async def test_what_was_typed_is_not_kept(self, commands: Commands) -> None:
        tracemalloc.start()
        try:
            for number in range(50):
                await commands.run(asked("/nothing" + "x" * 1_000_000, f"{number}"))
            kept, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert kept < 5_000_000

    async def test_one_that_is_sent_again_is_done_once(self, server: ChatServer) -> None:
        done: list[str] = []

        async def count(call: CommandCall) -> CommandResult:
            done.append(call.arguments)
            await asyncio.sleep(0)
            return call.answer(str(len(done)))

        commands = Commands(
            server.service, [ChatCommand(name="count", help="Counts.", run=count, needs="nothing")]
        )
        answers = await asyncio.gather(*(commands.run(asked("/count", "1")) for _ in range(10)))
        assert {answer.text for answer in answers} == {"1"}
        assert (await commands.run(asked("/count", "2"))).text == "2"
        assert (await commands.run(CommandRequest(BOB, "/count", client_message_id="1"))).text == "3"
        elsewhere = [
            CommandRequest(ADA, "/count", place, client_message_id="1") for place in ("here", "there", "here")
        ]
        assert [(await commands.run(each)).text for each in elsewhere] == ["4", "5", "4"]

    async def test_what_is_long_is_not_kept_for_one_who_asks_again(self, server: ChatServer) -> None:
        texts = iter(["x" * (ANSWER_LENGTH + 1), "short", "again"])

        async def show(call: CommandCall) -> CommandResult:
            return call.answer(next(texts))

        commands = Commands(
            server.service, [ChatCommand(name="show", help="Shows.", run=show, needs="nothing")]
        )
        said = [(await commands.run(asked("/show", "1"))).text for _ in range(3)]
        assert said == ["x" * (ANSWER_LENGTH + 1), "short", "short"]


class TestThoseOfOtherPackages:
    def test_one_or_several_are_taken_in(self, server: ChatServer, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(EntryPoint, "load", lambda entry: ECHO if entry.name == "one" else [ECHO_TWO])
        commands = Commands(server.service, [])
        commands.load([EntryPoint("one", "x:one", "g"), EntryPoint("two", "x:two", "g")])
        assert [command.name for command in commands.all()] == ["echo", "echo2"]

    @pytest.mark.parametrize(
        "loaded", [3, [3], ECHO, ChatCommand(name="Big", help="", run=echo), ImportError("no")]
    )
    def test_a_broken_one_is_reported_and_passed_over(
        self,
        commands: Commands,
        loaded: object,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        def load(entry: EntryPoint) -> object:
            if isinstance(loaded, Exception):
                raise loaded
            return loaded

        monkeypatch.setattr(EntryPoint, "load", load)
        before = commands.all()
        with caplog.at_level(logging.ERROR):
            commands.load([EntryPoint("dice", "dice:roll", "legato.commands")])
        assert commands.all() == before
        assert "dice of dice:roll cannot be used" in caplog.text


ECHO_TWO = ChatCommand(name="echo2", help="Says it back.", run=echo)
