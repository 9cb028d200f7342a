"""What a server says where stderr is the person's terminal."""

from collections.abc import AsyncIterator
from typing import Any, NoReturn

import pytest
from rich.console import Console

from legato.cli import main
from legato.cli.background_loop import BackgroundLoop
from legato.cli.repl import ChatRepl
from legato.errors import ForbiddenError
from legato.protocol.messages import CommandAnswer
from legato.stream import Failed, ToolAsked

EVIL = "\x1b]52;c;ZXZpbA==\x07"
"""It writes to the clipboard of whoever has a terminal that lets it."""


class Written:
    """A reply whose tool asks for a word, and that fails."""

    id = conversation = "r"
    text = ""
    end = Failed("engine_broke", f"{EVIL}It broke.")

    async def wait(self) -> None:
        pass

    async def __aiter__(self) -> AsyncIterator[ToolAsked]:
        yield ToolAsked("1", f"{EVIL}roll", "{}")


class Client:
    async def send(self, *_: Any, **__: Any) -> Written:
        return Written()

    async def command(self, *_: Any, **__: Any) -> CommandAnswer:
        return CommandAnswer(name="hello", text=f"{EVIL}No.", failed=True)

    async def approve(self, *_: Any, **__: Any) -> None:
        pass


@pytest.mark.parametrize(
    ("question", "said"),
    [
        (
            "hello",
            "legato: roll needs a person's word and did not run: ask in a terminal.\nlegato: It broke.\n",
        ),
        ("/hello", "legato: No.\n"),
    ],
)
def test_a_server_says_nothing_to_the_terminal_itself(
    capsys: pytest.CaptureFixture[str], question: str, said: str
) -> None:
    with BackgroundLoop() as loop:
        repl = ChatRepl(loop, Console())
        repl.client = Client()  # type: ignore[assignment]
        assert repl.ask(question) == 1
    shown = capsys.readouterr()
    assert (shown.out, _without_bodies(shown.err)) == ("", said)


def test_nor_does_it_where_it_refuses_for_good(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused() -> NoReturn:
        raise ForbiddenError(f"{EVIL}No.")

    monkeypatch.setattr(main, "app", refused)
    with pytest.raises(SystemExit):
        main.main()
    assert _without_bodies(capsys.readouterr().err) == "legato: No.\n"


def _without_bodies(text: str) -> str:
    """Without what is left of an escape sequence that has lost its beginning."""
    return text.replace(EVIL.strip("\x1b\x07"), "")
