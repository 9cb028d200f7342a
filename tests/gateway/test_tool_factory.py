"""Settings become tools."""

import sys
from contextlib import AsyncExitStack
from typing import Annotated, Any

import pytest
from pydantic import Field

from legato.errors import SettingsError
from legato.gateway.settings import Settings
from legato.gateway.tool_factory import ToolFactory, make_toolset
from legato.gateway.tool_settings import ToolSettings, fields_of_kinds
from legato.settings_types import SettingsSection
from legato.tools.python import PYTHON
from legato.tools.registry import TOOL_TYPES
from legato.tools.tool_type import ToolType


def made(name: str, **settings: Any) -> Any:
    return make_toolset(name, ToolSettings(**settings))


async def test_a_section_is_of_the_kind_that_its_name_or_its_setting_says() -> None:
    names = {tool.spec.name for tool in made("mongodb", database="d", collections=["c"]).tools}
    assert names == {"find_documents", "count_documents", "aggregate", "list_collections"}
    assert made("pms", kind="mongodb", database="d", collections=["c"]).name == "pms"


async def test_a_toolset_is_made_once_and_closed_with_the_server() -> None:
    settings = Settings(tools={"mongodb": ToolSettings(database="d", collections=("c",))})
    async with AsyncExitStack() as stack:
        toolbox = ToolFactory(settings, stack)
        (one,) = await toolbox.of(["mongodb", "mongodb"])
        assert await toolbox.of(["mongodb"]) == [one]


@pytest.mark.parametrize(
    ("name", "settings", "why"),
    [
        ("mongodb", {"database": "d"}, "needs `collections`"),
        ("mongodb", {"collections": ["c"], "url": "http://x"}, "kind 'mongodb', which has no setting 'url'"),
        ("mcp", {}, "either `command` or `url`"),
        ("files", {"command": ["x"]}, "needs a `kind`: one of mongodb, mcp, python"),
        ("dice", {}, "no installed package has an entry point of this name"),
    ],
)
async def test_a_wrong_section_is_reported_with_its_name(
    name: str, settings: dict[str, Any], why: str
) -> None:
    with pytest.raises(SettingsError, match=why):
        made(name, **settings)


@pytest.mark.parametrize(
    ("name", "module", "gone"),
    [("mongodb", "legato.tools.mongodb.toolset", "bson"), ("mcp", "legato.tools.mcp.toolset", "mcp")],
)
def test_a_missing_package_is_reported_with_the_extra_that_brings_it(
    name: str, module: str, gone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for loaded in [
        each for each in sys.modules if each == gone or each.startswith((f"{gone}.", "legato.tools."))
    ]:
        monkeypatch.delitem(sys.modules, loaded)
    monkeypatch.setitem(sys.modules, gone, None)
    with pytest.raises(SettingsError, match=rf"pip install 'legato\[{name}\]'"):
        made(name, collections=["c"]) if name == "mongodb" else made(name, command=["x"])


def test_a_key_that_two_kinds_declare_differently_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class OtherSettings(SettingsSection):
        url: int = 0

    monkeypatch.setitem(TOOL_TYPES, "other", ToolType(name="other", settings=OtherSettings, make=PYTHON.make))
    with pytest.raises(TypeError, match="the tool kind 'other' declares 'url'"):
        fields_of_kinds()


def test_a_key_that_two_kinds_declare_the_same_belongs_to_both(monkeypatch: pytest.MonkeyPatch) -> None:
    class OtherSettings(SettingsSection):
        url: Annotated[str | None, Field(pattern=r"^https?://\S+$")] = Field(None, description="Another one.")

    monkeypatch.setitem(TOOL_TYPES, "other", ToolType(name="other", settings=OtherSettings, make=PYTHON.make))
    assert list(fields_of_kinds()).count("url") == 1
