"""Python functions as tools."""

import asyncio
import threading
from importlib.metadata import EntryPoint
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field

from legato.errors import SettingsError, ToolError
from legato.tools.base import Context
from legato.tools.python import Function, PythonTools, needs_approval

ADA = Context("ada", "c", "r")


def weather(
    city: str, days: Annotated[int, Field(ge=1, le=7, description="How many days")] = 1
) -> dict[str, object]:
    """Tells the weather."""
    return {"city": city, "days": days}


async def whose(context: Context, kind: Literal["a", "b"] = "a") -> str:
    """Says who asks."""
    return f"{context.user} {kind}"


@needs_approval
def wipe() -> None:
    """Wipes."""


def one(function: Function, **settings: Any) -> Any:
    return PythonTools("python", functions=[function], **settings).tools[0]


def test_types_and_docstrings_say_what_it_takes() -> None:
    tool = one(weather)
    assert (tool.spec.name, tool.spec.description) == ("weather", "Tells the weather.")
    assert tool.spec.parameters["required"] == ["city"]
    assert tool.spec.parameters["properties"]["days"]["description"] == "How many days"


def test_the_model_hears_nothing_of_the_context() -> None:
    assert list(one(whose).spec.parameters["properties"]) == ["kind"]


async def test_it_runs_and_returns_json() -> None:
    assert await one(weather).run({"city": "Paris"}, ADA) == '{"city":"Paris","days":1}'
    assert await one(whose).run({"kind": "b"}, ADA) == "ada b"
    assert await one(wipe).run({}, ADA) == "null"


@pytest.mark.parametrize(
    "arguments",
    [{}, {"city": 3}, {"city": "Paris", "days": 9}, {"city": "Paris", "context": "bob"}],
    ids=repr,
)
async def test_arguments_that_do_not_fit_are_reported(arguments: dict[str, Any]) -> None:
    with pytest.raises(ToolError, match="do not fit"):
        await one(weather).run(arguments, ADA)


async def test_a_model_cannot_speak_for_another_user() -> None:
    with pytest.raises(ToolError, match="do not fit"):
        await one(whose).run({"context": {"user": "bob"}}, ADA)


async def test_a_function_that_blocks_does_not_hold_up_the_server() -> None:
    go_on = threading.Event()

    def slow() -> str:
        go_on.wait()
        return "done"

    running = asyncio.create_task(one(slow).run({}, ADA))
    await asyncio.sleep(0)
    go_on.set()
    assert await running == "done"


async def test_what_it_raises_comes_out() -> None:
    def broken() -> str:
        raise ToolError("No.")

    def odd() -> str:
        raise StopIteration

    with pytest.raises(ToolError, match=r"No\."):
        await one(broken).run({}, ADA)
    with pytest.raises(RuntimeError):
        await one(odd).run({}, ADA)


async def test_what_it_says_is_bounded() -> None:
    def much() -> str:
        return "x" * 5000

    assert (await one(much, max_bytes=1000).run({}, ADA)).startswith("x" * 1000 + "\n[cut")


def test_it_says_itself_whether_a_person_must_allow_it_unless_it_is_set() -> None:
    assert (one(wipe).approval, one(weather).approval) == (True, False)
    assert (one(wipe, approval=()).approval, one(weather, approval=["*"]).approval) == (False, True)


def everything(*names: str) -> str:
    return ""


def untold(thing: threading.Event) -> str:
    return ""


@pytest.mark.parametrize("function", [everything, untold])
def test_a_function_that_cannot_be_told_to_a_model_stops_the_start(function: Function) -> None:
    with pytest.raises(SettingsError):
        one(function)


TOOLS = [weather, wipe]


def test_other_packages_bring_them_as_entry_points(monkeypatch: pytest.MonkeyPatch) -> None:
    def found(group: str, name: str) -> list[EntryPoint]:
        assert group == "legato.tools"
        known = {"sky": f"{__name__}:TOOLS", "odd": f"{__name__}:ADA", "lost": "no_such_module:x"}
        return [EntryPoint(name, known[name], group)] if name in known else []

    monkeypatch.setattr("legato.tools.python.entry_points", found)
    monkeypatch.setitem(
        __import__("sys").modules, __name__, __import__("types").SimpleNamespace(TOOLS=TOOLS, ADA=ADA)
    )
    assert [tool.spec.name for tool in PythonTools("sky").tools] == ["weather", "wipe"]
    assert len(PythonTools("x", entry_point="sky").tools) == 2
    for name, why in (("odd", "no function"), ("lost", "cannot be loaded"), ("none", "no installed package")):
        with pytest.raises(SettingsError, match=why):
            PythonTools(name)


async def test_runs_that_never_end_do_not_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("legato.tools.python.MAX_THREADS", 2)
    go_on = threading.Event()

    def hang() -> str:
        """Waits."""
        go_on.wait()
        return "done"

    (tool,) = PythonTools("hang", functions=[hang]).tools
    runs = [asyncio.create_task(tool.run({}, ADA)) for _ in range(2)]
    await asyncio.sleep(0)
    runs[0].cancel()
    with pytest.raises(ToolError, match="busy"):
        await tool.run({}, ADA)
    go_on.set()
    assert await runs[1] == "done"
    assert await tool.run({}, ADA) == "done"
