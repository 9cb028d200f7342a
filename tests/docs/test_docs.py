"""What the documents say is so: links lead somewhere, commands are commands, settings are settings, code runs."""

import importlib.util
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple
from urllib.parse import unquote

import pytest
import typer.main
from tests.gateway.server import serving, settings_for
from typer.core import TyperCommand, TyperGroup

from legato.cli.main import app
from legato.domain.message import TextPart
from legato.engines.base import Request, Turn
from legato.gateway.config import load_settings
from legato.testing.engine import Recorder

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    page for pattern in ("*.md", "docs/**/*.md", "bench/*.md", "deploy/*.md") for page in ROOT.glob(pattern)
)

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
SPAN = re.compile(r"`[^`\n]*`")
TEST = re.compile(r"`(tests/[\w/.]+)::(\w+)`")
HEADING = re.compile(r"^#{1,6} +(.+)$", re.MULTILINE)


class Block(NamedTuple):
    page: Path
    line: int
    language: str
    text: str


def blocks(*languages: str) -> list[Block]:
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for match in FENCE.finditer(text):
            line = text.count("\n", 0, match.start()) + 1
            if match[1] in languages:
                found.append(Block(page, line, match[1], match[2]))
    return found


def named(block: Block) -> str:
    return f"{block.page.relative_to(ROOT)}:{block.line}"


def anchors(page: Path) -> set[str]:
    """The names that GitHub gives to the headings of a page."""
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    words = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in HEADING.findall(text))
    return {each.strip().replace(" ", "-") for each in words}


def commands() -> Iterator[tuple[str, list[str]]]:
    """Every call of `legato` and of `make` that a reader is told to type, with where it stands."""
    for block in blocks("sh", "console"):
        for number, line in enumerate(block.text.splitlines(), block.line + 1):
            typed = line.removeprefix("$ ") if block.language == "console" else line
            if block.language == "console" and typed == line:
                continue
            words = shlex.split(typed, comments=True)
            if words and words[0] in ("legato", ".venv/bin/legato", "make"):
                yield f"{block.page.relative_to(ROOT)}:{number}", [Path(words[0]).name, *words[1:]]


COMMANDS = list(commands())
LEGATO = [
    pytest.param(words[1:], id=f"{where} {shlex.join(words)}")
    for where, words in COMMANDS
    if words[0] == "legato"
]
MAKE = [
    pytest.param(words[1:], id=f"{where} {shlex.join(words)}")
    for where, words in COMMANDS
    if words[0] == "make"
]


def parse(arguments: list[str]) -> None:
    """Read the call as the command line does, without running it.

    :raises Exception: there is no such command or option, or a value does not fit.
    """
    root = typer.main.get_command(app)
    assert isinstance(root, TyperGroup)
    command, *rest = root.commands[arguments[0]], *arguments[1:]
    if isinstance(command, TyperGroup):
        command, *rest = command.commands[rest[0]], *rest[1:]
    assert isinstance(command, TyperCommand)
    with command.make_context(arguments[0], rest):
        pass


def example(text: str, where: str) -> dict[str, Any]:
    """What an example defines. What it would run at its end is not run."""
    names: dict[str, Any] = {"__name__": "example"}
    exec(compile(text.partition("\nasyncio.run(")[0], where, "exec"), names)
    return names


@pytest.fixture(scope="module")
def reference() -> ModuleType:
    spec = importlib.util.spec_from_file_location("reference", ROOT / "scripts" / "reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    text = SPAN.sub("", FENCE.sub("", page.read_text(encoding="utf-8")))
    broken = []
    for target in LINK.findall(text):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = unquote(target).partition("#")
        file = (page.parent / path).resolve() if path else page
        if not file.exists() or (anchor and anchor not in anchors(file)):
            broken.append(target)
    assert broken == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_test_that_is_named_is_there(page: Path) -> None:
    missing = [
        f"{file}::{name}"
        for file, name in TEST.findall(page.read_text(encoding="utf-8"))
        if not re.search(rf"\bdef {name}\(", (ROOT / file).read_text(encoding="utf-8"))
    ]
    assert missing == []


def test_every_page_can_be_found_from_the_map() -> None:
    pages = {page for page in PAGES if ROOT / "docs" in page.parents and page.name != "index.md"}
    index = ROOT / "docs" / "index.md"
    linked = {
        (index.parent / target.partition("#")[0]).resolve() for target in LINK.findall(index.read_text())
    }
    assert pages - linked == set()


def test_every_room_is_on_the_plan() -> None:
    plan = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rooms = [each.parent.name for each in (ROOT / "src" / "legato").glob("*/__init__.py")]
    assert [room for room in rooms if f"`{room}/`" not in plan] == []


@pytest.mark.parametrize("arguments", LEGATO)
def test_every_command_is_one_that_legato_knows(arguments: list[str]) -> None:
    parse(arguments)


@pytest.mark.parametrize(
    "arguments", [["sing"], ["serve", "--loudly"], ["serve", "--port", "eight"], ["token"]]
)
def test_a_command_that_legato_does_not_know_would_be_noticed(arguments: list[str]) -> None:
    with pytest.raises(Exception, match=r"sing|loudly|integer|user"):
        parse(arguments)


@pytest.mark.parametrize("arguments", MAKE)
def test_every_make_command_has_a_rule(arguments: list[str]) -> None:
    rules = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert arguments[0] in rules


@pytest.mark.parametrize("block", blocks("toml"), ids=named)
def test_every_configuration_is_taken(block: Block, tmp_path: Path) -> None:
    file = tmp_path / "legato.toml"
    file.write_text(block.text, encoding="utf-8")
    settings = load_settings({"config": file}, environ={}, directory=tmp_path)
    assert settings.config_file == file


@pytest.mark.parametrize("block", blocks("python"), ids=named)
def test_every_example_in_python_can_be_read(block: Block) -> None:
    example(block.text, named(block))


async def test_the_example_of_an_engine_keeps_the_contract() -> None:
    [block] = [each for each in blocks("python") if "class ParrotEngine" in each.text]
    engine = example(block.text, named(block))["ParrotEngine"]()
    out = Recorder()
    outcome = await engine.generate(Request("parrot", (Turn("user", (TextPart("two notes"),)),)), out)
    assert out.said == "two notes "
    assert (outcome.reason, outcome.model) == ("stop", "parrot")
    assert (await engine.health()).ok
    assert [model.name for model in await engine.models()] == ["parrot"]


async def test_the_example_of_a_client_talks_with_a_server(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    [block] = [each for each in blocks("python") if "from legato.client" in each.text]
    async with serving(settings_for(tmp_path)) as server:
        assert "http://127.0.0.1:8000" in block.text
        text = block.text.replace("http://127.0.0.1:8000", server.address)
        await example(text, named(block))["main"]()
    *_, first, end, conversation, second = capsys.readouterr().out.splitlines()
    assert (first, second) == ("Name two notes.", "And a third.")
    assert end.startswith("Finished(reason='stop'")
    assert conversation


def test_the_generated_pages_say_what_the_code_says(reference: ModuleType) -> None:
    assert reference.main(["--check", "--root", str(ROOT)]) == 0


def test_a_stale_page_is_named_and_then_written(
    reference: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = ["--root", str(tmp_path)]
    assert reference.main(["--check", *root]) == 1
    assert "docs/reference/settings.md" in capsys.readouterr().err
    assert not (tmp_path / "docs").exists()
    assert reference.main(root) == 0
    assert reference.main(["--check", *root]) == 0
    page = tmp_path / "docs" / "reference" / "settings.md"
    page.write_text(page.read_text() + "By the way.\n")
    assert reference.main(["--check", *root]) == 1
    assert capsys.readouterr().err == "Stale: docs/reference/settings.md. Run `make docs`.\n"


def test_a_setting_without_a_meaning_stops_the_generator(
    reference: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    meanings = {key: value for key, value in reference.MEANINGS.items() if key != "server.port"}
    monkeypatch.setattr(reference, "MEANINGS", meanings | {"server.colour": "What it is painted in."})
    with pytest.raises(LookupError, match=r"server\.colour, server\.port"):
        reference.settings_page()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_words_are_plain(page: Path) -> None:
    text = SPAN.sub("", FENCE.sub("", page.read_text(encoding="utf-8")))
    assert re.findall(r"\bAI\b|[a-z]!(?:\s|$)", text) == []
