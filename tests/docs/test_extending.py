"""The how-to pages for developers are followed to the letter, on a copy of the source, and the result is used."""

import json
import re
import shutil
from pathlib import Path
from urllib.request import urlopen

import pytest
from tests.docs.extending import ROOT, Copy


@pytest.fixture
def copy(tmp_path: Path) -> Copy:
    return Copy(tmp_path)


ASK_THE_ENGINE = """
import asyncio
from legato.domain.user import User
from legato.domain.message import text_of
from legato.gateway.config import load_settings
from legato.gateway.wiring import wire
from legato.engines.base import Request, Turn
from legato.domain.message import TextPart
from legato.testing.engine import Recorder


async def main():
    async with wire(load_settings()) as wired:
        assistant = wired.context.assistants["default"]
        out = Recorder()
        turns = (Turn("user", (TextPart("hello parrot"),)),)
        outcome = await assistant.engine.generate(Request(model=assistant.model, turns=turns), out)
        print(outcome.reason, assistant.model, out.said)


asyncio.run(main())
"""


def test_an_engine_is_its_page_and_one_line(copy: Copy) -> None:
    touched = copy.follow("add-an-engine.md")
    assert [path.relative_to(copy.source).as_posix() for path in touched] == [
        "legato/engines/parrot.py",
        "legato/engines/registry.py",
    ]
    chosen = '[assistants.default]\nengine = "parrot"\n[engines.parrot]\n'
    (copy.home / "legato.toml").write_text(f"{chosen}times = 2\n")
    said = copy.run("-c", ASK_THE_ENGINE).stdout
    assert said.strip() == "stop parrot hello parrot hello parrot"
    doctor = copy.run("-m", "legato", "doctor", check=False)
    assert "It repeats 2 times." in doctor.stdout
    (copy.home / "legato.toml").write_text(f"{chosen}times = 20\n")
    refused = copy.run("-m", "legato", "doctor", check=False)
    assert "[engines.parrot] times" in refused.stdout + refused.stderr


MUSIC = """\
[assistants.default]
model = "demo:echo"
tools = ["music"]
[tools.music]
kind = "glossary"
"""


def test_a_tool_is_its_page_and_one_line(copy: Copy) -> None:
    touched = copy.follow("add-a-tool.md")
    assert [path.name for path in touched] == ["glossary.py", "registry.py"]
    section = copy.home / "legato.toml"
    section.write_text(f"{MUSIC}entries = {{ fermata = 'A pause of no fixed length.' }}\n")
    with copy.serving() as url:
        for word, answer in (
            ("fermata", "A pause of no fixed length."),
            ("coda", "The glossary has no such word. Ask for another one."),
        ):
            call = f'!tool look_up {{"word": "{word}"}}'
            assert answer in copy.run("-m", "legato", "chat", "--server", url, call).stdout
    doctor = copy.run("-m", "legato", "doctor", check=False)
    assert "It offers 1 tool." in doctor.stdout
    for entries, sentence in (
        ("entries = {}", "The glossary is empty."),
        ("entries = 3", "[tools.music] entries must be a section of settings"),
        (
            'entries = { "" = "x" }',
            "line 4: [tools.music] entries has a definition without a word.",
        ),
        ('uri = "x"', "[tools.music] is of the kind 'glossary', which has no setting 'uri'."),
    ):
        section.write_text(f"{MUSIC}{entries}\n")
        found = copy.run("-m", "legato", "doctor", check=False)
        assert sentence in " ".join(found.stdout.split())


def test_commands_are_their_page_with_an_entry_point_or_one_line(copy: Copy) -> None:
    touched = copy.follow("add-a-command.md")
    assert [path.name for path in touched] == ["counting.py", "count_commands.py", "__init__.py"]
    copy.install(touched[0], "[legato.commands]\ncount = counting:COUNT\n")
    (copy.home / "legato.toml").write_text('[assistants.default]\nmodel = "demo:echo"\n')
    with copy.serving() as url:

        def say(*text: str) -> str:
            done = copy.run("-m", "legato", "chat", "--server", url, *text, check=False)
            return done.stdout + done.stderr

        assert "3 words" in say("/count one two three")
        assert "/count text" in say("/count")
        assert "There is no conversation yet." in say("/length")
        say("hello")
        with urlopen(f"{url}/api/conversations") as answer:
            (conversation,) = json.load(answer)["conversations"]
        assert "2 messages" in say("--conversation", conversation["id"], "/length")
        with urlopen(f"{url}/api/commands") as answer:
            offered = {each["name"]: each["help"] for each in json.load(answer)["commands"]}
    assert offered["length"] == "Count the messages of this conversation."
    assert offered["count"] == "Count the words of a text."


def test_a_database_is_its_page_and_one_case(copy: Copy) -> None:
    shutil.copyfile(ROOT / "pyproject.toml", copy.home / "pyproject.toml")
    copy.copy_tests("storage", "services.py")
    touched = copy.follow("add-a-storage.md")
    assert [path.name for path in touched] == ["memory.py", "store.py", "conftest.py"]
    # The database of the page has one thread, so an endless search of one user stops another one's.
    topics = ("turns", "search")
    files = [f"tests/storage/test_{topic}.py" for topic in topics]
    tested = copy.run(
        "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", "-k", "memory and not forty", *files
    )
    assert re.search(r"\b[1-9]\d+ passed\b", tested.stdout), tested.stdout
    (copy.home / "legato.toml").write_text(
        '[server]\ndatabase_url = "memory://"\n[assistants.default]\nmodel = "demo:echo"\n'
    )
    for _ in range(2):
        with copy.serving() as url:
            assert "hello" in copy.run("-m", "legato", "chat", "--server", url, "hello").stdout
            with urlopen(f"{url}/api/conversations") as answer:
                assert len(json.load(answer)["conversations"]) == 1
    assert "It answers." in copy.run("-m", "legato", "doctor", check=False).stdout


TALK_PLAINLY = """
import json
import sys
from websockets.sync.client import connect

with connect(sys.argv[1].replace("http", "ws", 1) + "/ws/plain/c", proxy=None) as socket:
    print(json.loads(socket.recv())["text"])
    for frame in ({"type": "sing"}, {"type": "say"}, {"type": "say", "text": "/help"}):
        socket.send(json.dumps(frame))
        answer = json.loads(socket.recv())
        print(answer["type"], (answer.get("message") or answer["text"]).partition(".")[0].split("\\n")[0])
    for text in ("two notes", "and a third"):
        socket.send(json.dumps({"type": "say", "text": text}))
        said = ""
        while (frame := json.loads(socket.recv()))["type"] == "text":
            said += frame["text"]
        print(frame["type"], said)
"""


def test_a_dialect_is_its_page_and_one_line(copy: Copy) -> None:
    touched = copy.follow("add-a-dialect.md")
    assert [path.relative_to(copy.source / "legato" / "dialects").as_posix() for path in touched] == [
        "plain/__init__.py",
        "plain/dialect_type.py",
        "plain/handler.py",
        "registry.py",
    ]
    settings = copy.home / "legato.toml"
    echo = '[assistants.echo]\nmodel = "demo:echo"\n[dialects]\nplain = "echo"\n[plain]\n'
    settings.write_text(f'{echo}greeting = "Good evening."\n')
    with copy.serving() as url:
        greeting, *errors, command, first, second = copy.run("-c", TALK_PLAINLY, url).stdout.splitlines()
    assert greeting == "Good evening."
    assert errors == ["error There is no message of type 'sing' here", "error This frame needs `text`"]
    assert command.startswith("answer ")
    assert (first, second) == ("end two notes", "end and a third")
    settings.write_text(f"{echo}greeting = 3\n".replace("echo]", "other]"))
    refused = " ".join(copy.run("-m", "legato", "doctor", check=False).stdout.split())
    assert "[plain] greeting" in refused
    settings.write_text(f"{echo}".replace("echo]", "other]"))
    refused = " ".join(copy.run("-m", "legato", "doctor", check=False).stdout.split())
    assert "[dialects] plain names 'echo', and there is no [assistants.echo]" in refused
