"""A reply that is being written: its log, its assistant, and how it is to end."""

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Literal

from msgspec.structs import replace

from legato.chat.approvals import Approvals
from legato.chat.assistant import Assistant
from legato.chat.tool_calls import MOST_CALLS, cleaned, parts_of
from legato.domain.message import Message, Status, TextPart, ToolCallPart, ToolResultPart
from legato.domain.public_text import public_text
from legato.domain.validation import clean_text
from legato.engines.base import Engine, TokenLogprob, ToolCall
from legato.storage.base import ReplyOwner
from legato.stream import (
    Event,
    Failed,
    Finished,
    Log,
    Reasoning,
    ReplySnapshot,
    Span,
    State,
    Terminal,
    Text,
    Timings,
    ToolAsked,
    ToolFinished,
    ToolStarted,
    Usage,
)
from legato.tools.base import Toolset

logger = logging.getLogger(__name__)

CancelReason = Literal["stopped", "unwatched", "leaving"]
"""Why a running reply is cancelled: a user stopped it, nobody watches it, or the server ends and another one continues it."""

PIECE = 16 * 1024
"""Characters that one event holds at most: a subscriber gets an event whole, and its socket should not owe much more at once."""


class ResolvedAssistant:
    """An assistant with its engine, the model that it asks for first, and the tools that the model may call.

    With `hides_details`, users are not told addresses and paths that stand in errors: they are not those who run the server.
    """

    __slots__ = ("config", "engine", "hides_details", "model", "tools")

    def __init__(
        self,
        config: Assistant,
        engine: Engine,
        model: str,
        tools: Sequence[Toolset] = (),
        *,
        hides_details: bool = False,
    ) -> None:
        self.config = config
        self.engine = engine
        self.model = model
        self.tools = tuple(tools)
        self.hides_details = hides_details

    def told(self, text: str) -> str:
        """Return what users are told of an error or a state of the engine."""
        if not self.hides_details:
            return text
        public = public_text(text)
        if public != text:
            logger.warning("A user of the assistant %s was not told all of this: %s", self.config.name, text)
        return public


class Reply:
    """One running reply. It is its engine's `ReplyWriter`: what the engine writes goes into the log in the same call.

    `written` is the log that this server appends to, `shown` the one that subscribers look at: the same log, unless a broker
    has to acknowledge each event first. `notice` is a sentence for the user that stands before the detail of every state.
    """

    __slots__ = (
        "_answering",
        "_clock",
        "_joint",
        "_origin",
        "_state",
        "_used",
        "approvals",
        "assistant",
        "began",
        "calls",
        "done",
        "ending",
        "first",
        "message",
        "notice",
        "owner",
        "pieces",
        "recording",
        "running",
        "shown",
        "started",
        "task",
        "user",
        "written",
    )

    def __init__(
        self,
        message: Message,
        written: Log,
        assistant: ResolvedAssistant,
        user: str,
        clock: Callable[[], float],
        owner: ReplyOwner,
        *,
        shown: Log | None = None,
    ) -> None:
        """`shown` is None if it is `written` itself. `clock` is in seconds."""
        self.message = message
        self.owner = owner
        self.user = user
        self.notice: str | None = None
        self.written = written
        self.shown = shown if shown is not None else written
        self.assistant = assistant
        self.approvals = Approvals()
        self.calls: list[ToolCall] = []
        self.done = asyncio.Event()
        self.ending: CancelReason | None = None
        self.task: asyncio.Task[None] | None = None
        self._clock = clock
        self._answering = False
        self._joint = False
        self._origin: int | None = None
        self._used: set[str] = set()
        self._state: State | None = None
        self.began = clock()
        self.started: float | None = None
        self.first: float | None = None
        self.pieces = 0
        self.running = False
        self.recording = False

    @property
    def id(self) -> str:
        return self.message.id

    def end(self, ending: CancelReason) -> None:
        """End the reply. The text so far is kept; a reply that already ended by itself is not touched."""
        if self.ending is not None or (self.recording and ending != "leaving"):
            return
        self.ending = ending
        if self.running and self.task is not None:
            self.task.cancel()

    def abandon(self) -> None:
        """Leave the reply to the next server, even if it was to end in another way and cannot."""
        self.ending = "leaving"
        if self.task is not None:
            self.task.cancel()

    def step(self) -> None:
        """Begin a step: the engine is asked once more. It can rewind to this point at most, and its text is a paragraph of its own."""
        snapshot = self.written.snapshot()
        self.calls = []
        self._used = {tool.call for tool in snapshot.tools}
        self._origin = None
        self._answering = False
        self._joint = _is_after_tool(snapshot)

    def text(self, text: str) -> None:
        log = self.written
        if not text or log.closed or self.ending is not None:
            return
        if not self._answering:
            self._answer()
        self.pieces += 1
        if self._joint:
            self._joint = False
            if not text.startswith("\n"):
                log.append(Text("\n\n"))
        if len(text) <= PIECE:
            log.append(Text(text if text.isascii() and "\0" not in text else clean_text(text)))
        else:
            for piece in pieces(clean_text(text)):
                log.append(Text(piece))

    def reasoning(self, text: str) -> None:
        if not text or self.written.closed or self.ending is not None:
            return
        if not self._answering:
            self._answer()
        self.pieces += 1
        for piece in pieces(clean_text(text)):
            self.written.append(Reasoning(piece))

    def logprobs(self, tokens: tuple[TokenLogprob, ...]) -> None:
        """Ignore them: a conversation has no place for them."""

    def tool_call(self, call: ToolCall) -> None:
        """Keep the call until the engine has ended this step; `legato.chat.turn` decides about it."""
        if self.written.closed or self.ending is not None or len(self.calls) >= MOST_CALLS:
            return
        call = cleaned(call, self._used)
        self._used.add(call.call)
        self.calls.append(call)

    def _detail(self, detail: str | None) -> str | None:
        text = " ".join(filter(None, (self.notice, self.assistant.told(detail) if detail else None)))
        return clean_text(text) if text else None

    def state(self, state: State) -> None:
        if not self.written.closed and self.ending is None:
            state = replace(
                state,
                model=_cleaned(state.model),
                agent=_cleaned(state.agent),
                detail=self._detail(state.detail),
            )
            self.written.append(state)
            self._state = state
            self._answering = state.phase == "answering"

    def mark(self) -> int:
        return self.written.savepoint()

    def rewind(self, to: int = 0) -> bool:
        """Go back to the engine's first word, or to a mark. What an earlier server kept of this reply stays."""
        if self.calls:
            return False
        if self._origin is None:
            return True
        if self.written.closed or self.ending is not None:
            return False
        to = max(self._origin, to)
        try:
            self.written.rewind(to)
        except ValueError:
            return False
        if to == self._origin:
            self._joint = _is_after_tool(self.written.snapshot())
        self._answering = False
        return True

    def _answer(self) -> None:
        if self._origin is None:
            self._origin = self.written.savepoint()
        self._answering = True
        if self.first is None:
            self.first = self._clock()
        last = self._state
        self._state = State(
            "answering",
            model=(last.model if last else None) or self.assistant.model,
            agent=last.agent if last else None,
            detail=last.detail if last else None,
        )
        self.written.append(self._state)

    def timings(self, engines: Timings | None, completion_tokens: int | None) -> Timings:
        """Return what this turn took for the user, with the engine's own figures where it has better ones."""
        now = self._clock()
        started = self.started if self.started is not None else self.began
        tokens = completion_tokens or self.pieces
        rate = engines.tokens_per_second if engines else None
        if rate is None and self.first is not None and tokens > 1 and now > self.first:
            rate = round(tokens / (now - self.first), 2)
        return Timings(
            queued_ms=round((started - self.began) * 1000, 2) if started > self.began else None,
            load_ms=engines.load_ms if engines else None,
            first_token_ms=round((self.first - started) * 1000, 2) if self.first is not None else None,
            total_ms=round((now - started) * 1000, 2),
            tokens_per_second=rate,
        )


def finished_message(
    message: Message, snapshot: ReplySnapshot, end: Terminal, model: str | None, detail: str | None
) -> Message:
    """Return the message to store for a reply that ended with `end`, with text that a database accepts."""
    status: Status = "complete"
    usage, timings = None, None
    if isinstance(end, Finished):
        status = "stopped" if end.reason == "stopped" else "complete"
        usage, timings = end.usage, end.timings
        if end.reason == "length":
            usage = replace(usage or Usage(), at_limit=True)
    else:
        status, detail = "interrupted", end.message
    return Message(
        id=message.id,
        conversation=message.conversation,
        role=message.role,
        status=status,
        parts=parts_of(snapshot),
        created_at=message.created_at,
        parent=message.parent,
        revision=message.revision,
        author=message.author,
        reasoning=snapshot.reasoning,
        model=_cleaned(model),
        detail=_cleaned(detail),
        usage=usage,
        timings=timings,
        spans=_informative(snapshot.spans),
    )


def _informative(spans: tuple[Span, ...]) -> tuple[Span, ...]:
    """Return the spans if they say more than the message's model does: which of several models, or which machine."""
    return spans if len(spans) > 1 or any(span.agent for span in spans) else ()


def _is_after_tool(snapshot: ReplySnapshot) -> bool:
    """Return whether a tool stands behind the last text, so that the next text is another paragraph."""
    return (
        bool(snapshot.tools) and snapshot.tools[-1].at == len(snapshot.text) and bool(snapshot.text.strip())
    )


def pieces(text: str) -> Iterator[str]:
    """Yield the text in parts that fit into an event; nothing for an empty text."""
    return (text[start : start + PIECE] for start in range(0, len(text), PIECE))


def _cleaned(text: str | None) -> str | None:
    return None if text is None else clean_text(text)


def stored_log(message: Message) -> Log:
    """Return a log with the content of a finished message. The same message always gives the same log, epoch and offsets.

    Its epoch and its end are those of the log that the message was written from, so that a client which has all of it can
    tell. Any other position of that log starts over.
    """
    events: list[Event] = [Reasoning(piece) for piece in pieces(message.reasoning)]
    refused = {part.call for part in message.parts if isinstance(part, ToolResultPart) and part.refused}
    for part in message.parts:
        match part:
            case TextPart():
                events += [Text(piece) for piece in pieces(part.text)]
            case ToolCallPart():
                began = ToolAsked if part.call in refused else ToolStarted
                events.append(began(part.call, part.name, part.arguments))
            case ToolResultPart():
                events.append(ToolFinished(part.call, part.output, part.failed))
    match message.status:
        case "interrupted" | "streaming":
            events.append(Failed("interrupted", message.detail or "This reply broke off."))
        case "stopped":
            events.append(Finished("stopped", message.usage, message.timings))
        case _:
            events.append(Finished("stop", message.usage, message.timings))
    epoch, length = message.log_end or (f"stored-{message.revision}", len(events))
    return Log.ended(message.id, epoch, events, length)
