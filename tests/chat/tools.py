"""A chat service whose assistant has tools that do as a test says."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from legato.broker.memory import MemoryBroker
from legato.chat.commands import make_commands
from legato.chat.reply import ResolvedAssistant
from legato.chat.service import ChatService
from legato.domain.message import Part, TextPart, ToolCallPart, ToolResultPart
from legato.domain.submission import Submission
from legato.engines.base import ToolSpec
from legato.storage.sql import open_storage
from legato.stream import Log, ReplySnapshot, ToolUse
from legato.testing.engine import ScriptedGeneration
from legato.tools.base import Context

from .conftest import ADA, ChatServer


class ScriptedTool:
    """A tool and its toolset in one. Each run is kept; it says `answer`, or waits for `release` where it `holds`."""

    def __init__(
        self, name: str = "look", *, answer: str | BaseException = "42", approval: bool = False
    ) -> None:
        self.name = "scripted_tool"
        self.spec = ToolSpec(name, "Looks.", {"type": "object", "properties": {}})
        self.approval = approval
        self.seconds = 30.0
        self.answer = answer
        self.runs: list[tuple[dict[str, Any], Context]] = []
        self.cancelled = 0
        self.stubborn = False
        self.began = asyncio.Event()
        self._may_end = asyncio.Event()
        self._may_end.set()

    @property
    def tools(self) -> Sequence["ScriptedTool"]:
        return (self,)

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    def hold(self) -> None:
        self._may_end.clear()

    def release(self) -> None:
        self._may_end.set()

    async def run(self, arguments: dict[str, Any], context: Context) -> str:
        self.runs.append((arguments, context))
        self.began.set()
        try:
            await self._may_end.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            if not self.stubborn:
                raise
            await self._may_end.wait()
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer


class ToolServer(ChatServer):
    """A server whose assistants have the tools `scripted_tools`."""

    scripted_tools: tuple[ScriptedTool, ...] = ()

    async def start(self) -> None:
        self.storage = open_storage(self.url)
        await self.storage.open()
        speakers = {
            each.name: ResolvedAssistant(each, self.engine, "scripted", self.scripted_tools)
            for each in self.assistants
        }
        self.service = ChatService(
            self.storage,
            speakers,
            commands=make_commands,
            broker=MemoryBroker(asyncio.get_running_loop().time).gateway(),
            clock=asyncio.get_running_loop().time,
        )
        await self.service.start()

    async def ask(self, text: str = "How many?") -> tuple[str, str, Log, ScriptedGeneration]:
        """Send a message; its conversation, reply, log, and the first step of its engine."""
        started = await self.service.replies.send(ADA, Submission(None, None, text))
        run = await self.engine.asked()
        log = self.service.subscriptions.running_log(started.reply.id)
        assert log is not None
        return started.conversation.id, started.reply.id, log, run


def call_and_finish(run: ScriptedGeneration, *calls: tuple[str, str] | tuple[str, str, str]) -> None:
    """The model asks for tools: (id, name) or (id, name, arguments)."""
    for each in calls:
        run.call(*each)
    run.finish("tool_calls")


async def until(log: Log, condition: Callable[[ReplySnapshot], bool]) -> ReplySnapshot:
    """The log's snapshot once `condition` holds of it."""
    news = asyncio.Event()
    log.subscribe(news.set)
    try:
        while not condition(snapshot := log.snapshot()):
            news.clear()
            await news.wait()
        return snapshot
    finally:
        log.unsubscribe(news.set)


async def asking(log: Log) -> ToolUse:
    """The tool that waits for a person's word."""
    snapshot = await until(log, lambda snapshot: any(tool.asking for tool in snapshot.tools))
    return next(tool for tool in snapshot.tools if tool.asking)


def short(parts: Sequence[Part]) -> list[str]:
    """The parts in a form that is easy to compare."""
    said = []
    for part in parts:
        match part:
            case TextPart(text):
                said.append(text)
            case ToolCallPart(call, name, arguments):
                said.append(f"{call}: {name}({arguments})")
            case ToolResultPart(call, output=output, failed=failed):
                said.append(f"{call}{'!' if failed else '='}{output}")
            case _:
                raise AssertionError(part)
    return said
