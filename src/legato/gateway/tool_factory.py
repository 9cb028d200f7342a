"""The tools of a server: each toolset is made and opened once, when the first assistant names it."""

from collections.abc import Collection
from contextlib import AsyncExitStack
from typing import get_args

from legato.errors import SettingsError
from legato.gateway.settings import Settings
from legato.gateway.tool_settings import ToolKind, ToolSettings
from legato.tools.base import Toolset

_OF_ALL = frozenset({"kind", "approval", "seconds", "max_bytes"})

_OF_KIND: dict[ToolKind, frozenset[str]] = {
    "mongodb": frozenset({"uri", "database", "collections", "owner_field", "max_rows", "max_time_ms"}),
    "mcp": frozenset({"command", "env", "url", "headers", "only"}),
    "python": frozenset({"entry_point"}),
}

KINDS: tuple[ToolKind, ...] = get_args(ToolKind)


class ToolFactory:
    """Opens what assistants name; `stack` closes it."""

    def __init__(self, settings: Settings, stack: AsyncExitStack) -> None:
        self._settings = settings
        self._stack = stack
        self._made: dict[str, Toolset] = {}

    async def of(self, names: Collection[str]) -> list[Toolset]:
        """The toolsets of these names, in their order.

        :raises SettingsError: one cannot be as it is set, or needs an extra that is not installed.
        """
        return [self._made.get(name) or await self._open(name) for name in dict.fromkeys(names)]

    async def _open(self, name: str) -> Toolset:
        with self._settings.blaming("tools", name):
            toolset = make_toolset(name, self._settings.tools.get(name) or ToolSettings())
            self._made[name] = toolset
            self._stack.push_async_callback(toolset.close)
            await toolset.open()
        return toolset


def make_toolset(name: str, settings: ToolSettings) -> Toolset:
    """:raises SettingsError: as above."""
    kind = _kind(name, settings)
    for word in sorted(settings.model_fields_set - _OF_ALL - _OF_KIND[kind]):
        raise SettingsError(f"[tools.{name}] is of the kind {kind!r}, which has no setting {word!r}.")
    match kind:
        case "mongodb":
            return _mongodb(name, settings)
        case "mcp":
            return _mcp(name, settings)
        case "python":
            from legato.tools.python import PythonTools

            return PythonTools(
                name,
                entry_point=settings.entry_point,
                approval=settings.approval,
                seconds=settings.seconds,
                max_bytes=settings.max_bytes,
            )


def _kind(name: str, settings: ToolSettings) -> ToolKind:
    if settings.kind is not None:
        return settings.kind
    for kind in KINDS:
        if name == kind:
            return kind
    given = settings.model_fields_set & frozenset().union(*_OF_KIND.values())
    if given - _OF_KIND["python"]:
        raise SettingsError(f"[tools.{name}] needs a `kind`: one of {', '.join(KINDS)}.")
    return "python"


def _mongodb(name: str, settings: ToolSettings) -> Toolset:
    try:
        from legato.tools.mongodb.toolset import DEFAULT_URI, MongoTools
    except ModuleNotFoundError as error:
        raise _missing(name, "mongodb", error) from None
    return MongoTools(
        name,
        uri=settings.uri.get_secret_value() if settings.uri is not None else DEFAULT_URI,
        database=settings.database,
        collections=settings.collections,
        owner_field=settings.owner_field,
        max_rows=settings.max_rows,
        max_time_ms=settings.max_time_ms,
        max_bytes=settings.max_bytes,
        seconds=settings.seconds,
        approval=settings.approval or (),
    )


def _mcp(name: str, settings: ToolSettings) -> Toolset:
    try:
        from legato.tools.mcp import McpTools
    except ModuleNotFoundError as error:
        raise _missing(name, "mcp", error) from None
    return McpTools(
        name,
        command=settings.command,
        env={key: value.get_secret_value() for key, value in settings.env.items()},
        url=settings.url,
        headers={key: value.get_secret_value() for key, value in settings.headers.items()},
        only=settings.only,
        approval=settings.approval,
        seconds=settings.seconds,
        max_bytes=settings.max_bytes,
    )


def _missing(name: str, extra: str, error: ModuleNotFoundError) -> Exception:
    if (error.name or "").startswith("legato"):
        return error
    return SettingsError(
        f"[tools.{name}] needs the package {error.name}, which is not installed: pip install 'legato[{extra}]'."
    )
