"""The tools of a server: each toolset is made and opened once, when the first assistant names it."""

from collections.abc import Collection
from contextlib import AsyncExitStack

from legato.check_result import CheckResult
from legato.errors import SettingsError
from legato.gateway.settings import Settings
from legato.gateway.tool_settings import ToolSettings, common_options, settings_of_kind, tool_type_of
from legato.tools.base import Toolset


class ToolFactory:
    """Open the toolsets that assistants name. `stack` closes them."""

    def __init__(self, settings: Settings, stack: AsyncExitStack) -> None:
        self._settings = settings
        self._stack = stack
        self._made: dict[str, Toolset] = {}

    async def of(self, names: Collection[str]) -> list[Toolset]:
        """Return the toolsets of these names, in their order, each once.

        :raises SettingsError: a toolset cannot be made as it is set, or needs an extra that is not installed.
        """
        return [self._made.get(name) or await self._open(name) for name in dict.fromkeys(names)]

    async def _open(self, name: str) -> Toolset:
        with self._settings.blaming("tools", name):
            toolset = make_toolset(name, self._settings.tools.get(name) or ToolSettings())
            self._made[name] = toolset
            self._stack.push_async_callback(toolset.close)
            await toolset.open()
        return toolset


def make_toolset(name: str, section: ToolSettings) -> Toolset:
    """Make the toolset of `[tools.NAME]`, which is not open yet.

    :raises SettingsError: it cannot be made as it is set, or needs an extra that is not installed.
    """
    tool_type = tool_type_of(name, section)
    try:
        toolset: Toolset = tool_type.make(settings_of_kind(section, tool_type), common_options(name, section))
    except ModuleNotFoundError as error:
        if tool_type.extra is None or (error.name or "").startswith("legato"):
            raise
        raise SettingsError(
            f"[tools.{name}] needs the package {error.name}, which is not installed: "
            f"pip install 'legato[{tool_type.extra}]'."
        ) from None
    return toolset


async def check_toolset(settings: Settings, name: str) -> list[CheckResult]:
    """Make the toolset of `[tools.NAME]` as the server makes it, return what its kind reports, and close it.

    :raises SettingsError: it cannot be used as it is set.
    :raises ToolError: the system behind it does not answer.
    """
    section = settings.tools.get(name) or ToolSettings()
    async with AsyncExitStack() as stack:
        with settings.blaming("tools", name):
            toolset = make_toolset(name, section)
            stack.push_async_callback(toolset.close)
            return await tool_type_of(name, section).check(toolset)
