"""The contract of a tool. A model requests it and the server runs it. Its output is data, never an instruction to the server."""

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from msgspec import Struct

from legato.engines.base import ToolSpec

MORE = "\n[cut: {kept:,} of {all:,} bytes]"
"""Appended to an output that was cut."""


class Context(Struct, frozen=True):
    """For whom a tool runs: the user who asked, the conversation and the reply. The model cannot change it."""

    user: str
    conversation: str
    reply: str


class Tool(Protocol):
    """What a model can call. One object serves any number of calls at once."""

    @property
    def spec(self) -> ToolSpec:
        """What the model is told about the tool."""
        ...

    @property
    def approval(self) -> bool:
        """Whether each call waits for a person's approval."""
        ...

    @property
    def seconds(self) -> float:
        """The time limit of one call; then it is cancelled."""
        ...

    async def run(self, arguments: dict[str, Any], context: Context) -> str:
        """Run the tool and return its output for the model as text (JSON if it is structured).

        `arguments` are what the model wrote: any JSON object. The tool checks them. Cancelling ends the work.

        :raises ToolError: it cannot be done; the model reads the sentence and continues.
        """
        ...


class Toolset(Protocol):
    """Tools from one source, opened and closed with the server."""

    @property
    def name(self) -> str:
        """Its name in the settings."""
        ...

    @property
    def tools(self) -> Sequence[Tool]:
        """The current tools; they may change while the server runs."""
        ...

    async def open(self) -> None:
        """Prepare the tools. If the system behind them is not available, this succeeds, and the tools say so when they are called.

        :raises SettingsError: it cannot be used as it is set.
        """
        ...

    async def close(self) -> None:
        """Release everything. Running calls were cancelled before."""
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
    """Return the tools by the name that the model uses. If two have one name, the later one gets the name of its toolset as a prefix."""
    tools: dict[str, Tool] = {}
    for toolset in toolsets:
        for tool in toolset.tools:
            name = tool.spec.name
            if name in tools:
                name = f"{toolset.name}_{name}"[:64]
            tools.setdefault(name, tool)
    return tools


def truncate(output: str, limit: int) -> str:
    """Return at most about `limit` bytes of UTF-8 of the output. A note at the end says what was cut."""
    data = output.encode("utf-8", "replace")
    if len(data) <= limit:
        return output
    kept = data[:limit].decode("utf-8", "ignore")
    return kept + MORE.format(kept=limit, all=len(data))
