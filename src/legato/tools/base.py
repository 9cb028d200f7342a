"""The contract of a tool. A model asks for it, the server runs it, and what it says is data: never an instruction to the server."""

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from msgspec import Struct

from legato.engines.base import ToolSpec

MORE = "\n[cut: {kept:,} of {all:,} bytes]"
"""Stands behind an output that was longer than it may be."""


class Context(Struct, frozen=True):
    """For whom a tool runs: the user who asked, and where. A model says none of it, so it cannot speak for another."""

    user: str
    conversation: str
    reply: str


class Tool(Protocol):
    """Something a model can ask for. One object serves any number of runs at once."""

    @property
    def spec(self) -> ToolSpec:
        """What the model is told of it."""
        ...

    @property
    def approval(self) -> bool:
        """Whether each run waits for a person's word."""
        ...

    @property
    def seconds(self) -> float:
        """How long one run may take; then it is cancelled."""
        ...

    async def run(self, arguments: dict[str, Any], context: Context) -> str:
        """Do it, and tell the model in text (JSON text where it is structured) what came of it.

        `arguments` are what the model wrote, an object and nothing more: the tool checks them. Cancelling ends the work.

        :raises ToolError: it cannot be done; the model reads the sentence and goes on.
        """
        ...


class Toolset(Protocol):
    """Tools that come from one place. Opened and closed with the server."""

    @property
    def name(self) -> str:
        """The word for it in settings."""
        ...

    @property
    def tools(self) -> Sequence[Tool]:
        """The tools there are now; they may change while the server runs."""
        ...

    async def open(self) -> None:
        """Make ready. What it leans on may be away: then its tools say so when they run.

        :raises SettingsError: it cannot be as it is set.
        """
        ...

    async def close(self) -> None:
        """End what it holds. Runs under way were cancelled first."""
        ...


class RemoteToolset(Toolset, Protocol):
    """A toolset that depends on another system."""

    async def reach(self) -> None:
        """Open it if it is not open, and see whether the system behind it answers.

        :raises SettingsError: it cannot be used as it is set.
        :raises ToolError: the system does not answer; the sentence says which one.
        """
        ...


def offered(toolsets: Iterable[Toolset]) -> dict[str, Tool]:
    """The tools by the name that the model uses. Of two with one name, the later toolset's gets its toolset's name in front."""
    tools: dict[str, Tool] = {}
    for toolset in toolsets:
        for tool in toolset.tools:
            name = tool.spec.name
            if name in tools:
                name = f"{toolset.name}_{name}"[:64]
            tools.setdefault(name, tool)
    return tools


def truncate(output: str, limit: int) -> str:
    """The output in at most about `limit` bytes of UTF-8; what is missing is said at its end."""
    data = output.encode("utf-8", "replace")
    if len(data) <= limit:
        return output
    kept = data[:limit].decode("utf-8", "ignore")
    return kept + MORE.format(kept=limit, all=len(data))
