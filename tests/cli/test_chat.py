import os
import re
from collections.abc import Callable
from typing import Any

import pytest

from legato.cli import chat
from legato.cli.repl import read

LONG = " ".join(f"word{number}" for number in range(200))


class TestOneQuestion:
    def test_the_reply_is_printed_and_nothing_else(self, legato: Any, server: str) -> None:
        shown = legato("chat", "--server", server, "one", "two", "*three*")
        assert (shown.returncode, shown.stdout, shown.stderr) == (0, "one two *three*\n", "")

    def test_it_may_be_piped_in(self, legato: Any, server: str) -> None:
        shown = legato("chat", "--server", server, stdin="a question\nof two lines\n")
        assert (shown.returncode, shown.stdout) == (0, "a question\nof two lines\n")

    def test_what_is_piped_in_stands_after_what_is_asked(self, legato: Any, server: str) -> None:
        shown = legato("chat", "--server", server, "sum", "it up:", stdin="some\ndata\n")
        assert (shown.returncode, shown.stdout) == (0, "sum it up:\n\nsome\ndata\n")

    def test_a_pipe_that_says_nothing_is_passed_over_where_something_is_asked(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        theirs, ours = os.pipe()
        with os.fdopen(theirs) as stdin, os.fdopen(ours, "w") as writing:
            monkeypatch.setattr("sys.stdin", stdin)
            monkeypatch.setattr(chat, "PIPE_SECONDS", 0.01)
            assert chat.read_piped(with_question=True) == ""
            assert "asking without it" in capsys.readouterr().err
            writing.write("late")
            writing.close()
            assert chat.read_piped(with_question=False) == "late"

    def test_nothing_is_no_question(self, legato: Any, server: str) -> None:
        shown = legato("chat", "--server", server, stdin=" \n")
        assert (shown.returncode, shown.stdout) == (1, "")
        assert "nothing to ask" in shown.stderr

    def test_no_server_is_a_sentence_that_says_what_to_do(self, legato: Any) -> None:
        shown = legato("chat", "--server", "127.0.0.1:1", "hi")
        assert (shown.returncode, shown.stdout) == (1, "")
        assert shown.stderr == (
            "legato: No server answers at ws://127.0.0.1:1/ws: connection refused. "
            "Start one with `legato serve`, or say where it is with --server.\n"
        )

    def test_a_refusal_is_a_sentence(self, legato: Any, server: str) -> None:
        shown = legato("chat", "--server", server, "--assistant", "nobody", "hi")
        assert shown.returncode == 1
        assert shown.stderr.startswith("legato: ")
        assert "Traceback" not in shown.stderr

    def test_a_server_that_wants_a_token_gets_one(self, legato: Any, serving: Any) -> None:
        url = serving(LEGATO_JWT_SECRET="secret").url
        refused = legato("chat", "--server", url, "hi")
        assert refused.returncode == 1
        assert "`legato token --user NAME`" in refused.stderr
        token = legato("token", "--user", "ann", env={"LEGATO_JWT_SECRET": "secret"}).stdout.strip()
        assert legato("chat", "--server", url, "--token", token, "hi").stdout == "hi\n"
        assert legato("chat", "--server", url, "hi", env={"LEGATO_TOKEN": token}).stdout == "hi\n"
        forged = legato("chat", "--server", url, "--token", token[:-4] + "AAAA", "hi")
        assert forged.returncode == 1
        assert token[:20] not in forged.stderr

    def test_a_command_is_answered_by_the_server(self, legato: Any, server: str) -> None:
        shown = legato("chat", "--server", server, "/help", "stat")
        assert (shown.returncode, shown.stderr) == (0, "")
        assert shown.stdout.startswith("`/stat`\n")
        refused = legato("chat", "--server", server, "/hepl")
        assert (refused.returncode, refused.stdout) == (1, "")
        assert "Did you mean `/help`?" in refused.stderr

    def test_on_a_terminal_it_is_shown_while_it_is_written(self, terminal: Any, server: str) -> None:
        person = terminal("chat", "--server", server, "--assistant", "slow", "one two three")
        person.see("one")
        person.see("one two three")
        assert person.ended() == 0

    def test_ctrl_c_stops_it(self, terminal: Any, server: str) -> None:
        person = terminal("chat", "--server", server, "--assistant", "slow", LONG)
        person.see("word1")
        person.type("\x03")
        person.see("Stopped.")
        assert person.ended() == 130
        assert "^C" not in person.text


class TestTools:
    """Those of the server: whoever talks sees what runs, and gives the word where one is asked for."""

    def test_one_that_asks_runs_when_the_person_allows_it(self, terminal: Any, server: str) -> None:
        person = terminal(
            "chat",
            "--server",
            server,
            "--assistant",
            "host",
            '!tool count {"sides": 3}\n!tool roll {"sides": 6}',
        )
        person.see('✓ count {"sides": 3}')
        person.see('roll {"sides": 6}')
        person.see("May this tool run? [y/N] ")
        person.type("y\r")
        person.see('✓ roll {"sides": 6}')
        person.see("one of 6")
        assert person.ended() == 0

    @pytest.mark.parametrize("keys", ["n\r", "\r", "\x04"])
    def test_one_that_asks_does_not_run_without_a_yes(self, terminal: Any, server: str, keys: str) -> None:
        person = terminal("chat", "--server", server, "--assistant", "host", '!tool roll {"sides": 6}')
        person.see("May this tool run? [y/N] ")
        person.type(keys)
        person.see('✗ roll {"sides": 6}')
        person.see("A person refused this tool, so it did not run.")
        assert person.ended() == 0
        assert "one of 6" not in person.text

    def test_ctrl_c_at_the_question_stops_the_reply(self, terminal: Any, server: str) -> None:
        person = terminal("chat", "--server", server, "--assistant", "host", '!tool roll {"sides": 6}')
        person.see("May this tool run? [y/N] ")
        person.type("\x03")
        person.see("Stopped.")
        assert person.ended() == 130

    def test_the_question_ends_when_someone_else_gives_the_word(self, terminal: Any, server: str) -> None:
        person = terminal("chat", "--server", server, "--assistant", "host")
        person.see("> ")
        person.type("hello\r")
        person.see("hello")
        person.see("hello")
        person.see("> ")
        person.type("\x04")
        assert person.ended() == 0
        found = re.search(r"--conversation (\S+)", person.text)
        assert found is not None
        asking = terminal("chat", "--server", server, "--conversation", found[1], '!tool roll {"sides": 6}')
        asking.see("May this tool run? [y/N] ")
        other = terminal("chat", "--server", server, "--conversation", found[1])
        other.see("May this tool run? [y/N] ")
        other.type("y\r")
        asking.see('✓ roll {"sides": 6}')
        assert asking.ended() == 0
        other.see("one of 6")
        other.see("> ")
        other.type("\x04")
        assert other.ended() == 0

    def test_where_no_one_can_say_yes_it_does_not_run(self, legato: Any, server: str) -> None:
        shown = legato("chat", "--server", server, "--assistant", "host", '!tool roll {"sides": 6}')
        assert shown.stderr == "legato: roll needs a person's word and did not run: ask in a terminal.\n"
        assert shown.returncode == 0
        assert "one of 6" not in shown.stdout


class TestConversation:
    def test_one_talks_stops_leaves_and_continues_later(self, terminal: Any, server: str) -> None:
        person = terminal("chat", "--server", server)
        person.see("> ")
        person.type("first\r")
        person.see("first")
        person.see("first")
        person.see("> ")
        person.type("/again\r")
        person.see("first")
        person.see("> ")
        person.type("/help\r")
        person.see("/new")
        person.see("Here too")
        person.see("> ")
        person.type("/title Tides\r")
        person.see("It is called Tides.")
        person.see("> ")
        person.type("two\\\r")
        person.see(". ")
        person.type("lines\r")
        person.see("two lines")
        person.see("> ")
        person.type("\x04")
        person.see(f"To go on: legato chat --server {server} --conversation ")
        assert person.ended() == 0
        found = re.search(r"--conversation (\S+)", person.text)
        assert found is not None

        again = terminal("chat", "--server", server, "--conversation", found[1])
        again.see("> first")
        again.see("> two")
        again.see("two lines")
        again.type("/exit\r")
        assert again.ended() == 0

    def test_retry_continues_where_another_time_ended(self, legato: Any, terminal: Any, server: str) -> None:
        person = terminal("chat", "--server", server)
        person.see("> ")
        person.type("/new\r")
        person.see("Here is a new conversation.")
        person.see("> ")
        person.type("hello there\r")
        person.see("hello there")
        person.see("hello there")
        person.see("> ")
        person.type("\x04")
        person.see("To go on: ")
        assert person.ended() == 0
        found = re.search(r"--conversation (\S+)", person.text)
        assert found is not None
        shown = legato("chat", "--server", server, "--conversation", found[1], "/retry")
        assert (shown.returncode, shown.stdout) == (0, "hello there\n")

    def test_ctrl_c_stops_the_reply_and_not_the_talk(self, terminal: Any, server: str) -> None:
        person = terminal("chat", "--server", server, "--assistant", "slow")
        person.see("> ")
        person.type(f"{LONG[:60]}\r")
        person.see("word0 word1")
        person.see("word0 word1")
        person.type("\x03")
        person.see("Stopped.")
        person.see("> ")
        person.type("/exit\r")
        person.see("To go on: ")
        assert person.ended() == 0

    def test_a_reply_that_runs_is_shown_to_its_end_to_one_who_comes_in(
        self, terminal: Any, server: str
    ) -> None:
        first = terminal("chat", "--server", server, "--assistant", "slow")
        first.see("> ")
        first.type("hi\r")
        first.see("hi")
        first.see("hi")
        first.see("> ")
        first.type("\x04")
        first.ended()
        found = re.search(r"--conversation (\S+)", first.text)
        assert found is not None
        asking = terminal("chat", "--server", server, "--conversation", found[1], "a b c d e f g h i j")
        asking.see("a b")
        watching = terminal("chat", "--server", server, "--conversation", found[1])
        watching.see("> a b c")
        watching.see("a b c d e f g h i j")
        watching.see("Ctrl-C stops a reply")
        assert asking.ended() == 0
        watching.type("\x04")
        assert watching.ended() == 0

    def test_a_conversation_that_is_not_there_is_a_sentence(self, terminal: Any, server: str) -> None:
        person = terminal("chat", "--server", server, "--conversation", "nobody's")
        person.see("legato: ")
        assert person.ended() == 1

    def test_a_refusal_does_not_end_the_talk(self, terminal: Any, server: str) -> None:
        person = terminal("chat", "--server", server, "--assistant", "nobody")
        person.see("> ")
        person.type("hi\r")
        person.see("nobody")
        person.see("> ")
        person.type("\x04")
        assert person.ended() == 0


class TestTyping:
    @staticmethod
    def typed(*lines: str | type[BaseException]) -> Callable[[str], str]:
        coming = iter(lines)

        def line(prompt: str) -> str:
            each = next(coming)
            if isinstance(each, str):
                return each
            raise each

        return line

    @pytest.mark.parametrize("end", [EOFError, KeyboardInterrupt])
    def test_ctrl_d_and_ctrl_c_leave(self, monkeypatch: pytest.MonkeyPatch, end: type[BaseException]) -> None:
        monkeypatch.setattr("builtins.input", self.typed(end))
        assert read() is None

    def test_a_backslash_continues_on_the_next_line(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("builtins.input", self.typed("one\\", "two\\", "three"))
        assert read() == "one\ntwo\nthree"
