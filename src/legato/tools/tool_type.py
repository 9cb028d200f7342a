"""The contract of a tool kind: what it exports so that settings, the server and `legato doctor` know it.

A tool kind is one object, listed in `legato.tools.registry`. Its module imports little: the toolset itself is imported in
`make`, because commands that only read the settings would wait for it, and because it may need an extra.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Generic, TypeVar

from msgspec import Struct

from legato.check_result import CheckResult, ok
from legato.settings_types import SettingsSection
from legato.tools.base import RemoteToolset, Toolset

S = TypeVar("S", bound=SettingsSection)
T = TypeVar("T", bound=Toolset)


class ToolsetOptions(Struct, frozen=True):
    """What a factory receives beside the settings of the kind: the settings that every `[tools.NAME]` may have, and NAME.

    `approval` names the tools that need a person's approval, `*` means all; None if it is not set.
    `seconds` is the time limit of one call, `max_bytes` the largest output that the model receives.
    """

    name: str
    approval: tuple[str, ...] | None
    seconds: float
    max_bytes: int


async def check_open(toolset: Toolset) -> list[CheckResult]:
    """Open the toolset and report how many tools it has."""
    await toolset.open()
    return [_offered(toolset)]


async def check_remote(toolset: RemoteToolset) -> list[CheckResult]:
    """Open the toolset, see whether the system behind it answers, and report how many tools it has.

    :raises ToolError: it does not answer.
    """
    await toolset.reach()
    return [_offered(toolset)]


def _offered(toolset: Toolset) -> CheckResult:
    count = len(toolset.tools)
    return ok(f"Tool {toolset.name}", f"It offers {count} tool{'s' if count != 1 else ''}.")


class ToolType(Struct, Generic[S, T], frozen=True):
    """One kind of tools.

    - `name` is its word in `kind` of `[tools.NAME]`.
    - `settings` declares the keys that `[tools.NAME]` may have for this kind. A key that two kinds have is declared the
      same in both. No key may be one of `ToolsetOptions`.
    - `make` creates a toolset. It raises `SettingsError` if the settings cannot be used.
    - `check` is what `legato doctor` reports about a toolset that was just made. It opens the toolset within
      `CHECK_SECONDS` and changes nothing; the doctor closes it. A `SettingsError` is reported as a problem, a `ToolError`
      as a note, because the server starts anyway.
    - `extra` is the extra of the package that installs what `make` imports, None if nothing is needed.
    """

    name: str
    settings: type[S]
    make: Callable[[S, ToolsetOptions], T]
    check: Callable[[T], Awaitable[list[CheckResult]]] = check_open
    extra: str | None = None


AnyToolType = ToolType[Any, Any]
