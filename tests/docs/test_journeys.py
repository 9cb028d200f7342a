"""The two paths in the architecture are followed step by step: each function is there, and names the next one."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ARCHITECTURE = ROOT / "docs" / "architecture.md"
SOURCE = ROOT / "src" / "legato"

_STEP = re.compile(r"^\d+\. `([\w/]+\.py):([\w.]+)`(, which its constructor registered,)?", re.MULTILINE)


def steps(heading: str) -> list[tuple[str, str, bool]]:
    """Return the steps below a heading of the architecture: file, function, and whether it is a registered listener."""
    page = ARCHITECTURE.read_text("utf-8")
    section = page[page.index(f"## {heading}\n") :].split("\n## ", 1)[0]
    return [(file, qualified, bool(registered)) for file, qualified, registered in _STEP.findall(section)]


def definition(file: str, qualified: str) -> ast.AST:
    """Return the definition of a class, function or method.

    :raises AssertionError: it is not there.
    """
    node: ast.AST = ast.parse((SOURCE / file).read_text("utf-8"))
    for name in qualified.split("."):
        found = [
            each
            for each in ast.iter_child_nodes(node)
            if isinstance(each, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and each.name == name
        ]
        assert found, f"{file} has no {qualified}"
        node = found[0]
    return node


def container(file: str, qualified: str) -> ast.AST:
    """Return the class that a method is in, or the function itself."""
    definition(file, qualified)
    return definition(file, qualified.split(".")[0])


def names_in(node: ast.AST) -> set[str]:
    """Return all names and attributes that the code uses."""
    return {each.id for each in ast.walk(node) if isinstance(each, ast.Name)} | {
        each.attr for each in ast.walk(node) if isinstance(each, ast.Attribute)
    }


@pytest.mark.parametrize("heading", ["The path of a message", "The path of a token"])
def test_each_step_is_there_and_is_called_by_one_of_the_two_before(heading: str) -> None:
    path = steps(heading)
    assert len(path) >= 10
    for number, (file, qualified, registered) in enumerate(path):
        definition(file, qualified)
        before = path[max(0, number - 2) : number]
        if before:
            called = set().union(*(names_in(container(*each[:2])) for each in before))
            if registered:
                called |= names_in(definition(file, f"{qualified.split('.')[0]}.__init__"))
            assert qualified.split(".")[-1] in called, f"nothing before it leads to {file}:{qualified}"


def test_a_message_passes_few_files_and_comes_back_to_one_only_for_its_queue() -> None:
    files = [file for file, *_ in steps("The path of a message")]
    assert len(set(files)) <= 22
    again = [file for number, file in enumerate(files) if file in files[:number]]
    assert again == ["dialects/session.py"]
