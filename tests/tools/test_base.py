from types import SimpleNamespace
from typing import Any

from legato.engines.base import ToolSpec
from legato.tools.base import offered, truncate


def toolset(name: str, *tools: str) -> Any:
    return SimpleNamespace(name=name, tools=[SimpleNamespace(spec=ToolSpec(each, "", {})) for each in tools])


def test_of_two_tools_with_one_name_the_later_one_gets_its_toolset_in_front() -> None:
    tools = offered([toolset("a", "find", "count"), toolset("b", "find")])
    assert list(tools) == ["find", "count", "b_find"]


def test_a_bounded_output_ends_between_characters_and_says_what_is_missing() -> None:
    assert truncate("äöü", 6) == "äöü"
    assert truncate("äöü", 5) == "äö\n[cut: 5 of 6 bytes]"
