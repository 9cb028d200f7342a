"""A call that names a conversation: its last message is sent there, and the reply of the conversation is the answer."""

import asyncio
import copy
from collections.abc import Sequence

from msgspec.structs import replace

from legato.api.catalog import ResolvedModel
from legato.api.codec import ToolRunWriter
from legato.api.generation import STOP, CallEndedError
from legato.api.stream_journal import error_of
from legato.chat.reply import ResolvedAssistant
from legato.chat.service import ChatService
from legato.domain.conversation import Conversation
from legato.domain.message import AudioPart, ImagePart, Message, TextPart, text_of
from legato.domain.participant import NOT_FOUND
from legato.domain.submission import Submission
from legato.domain.user import User
from legato.engines.base import Capabilities, Health, Model, Outcome, ReplyWriter, Request, ToolCall
from legato.errors import EngineBrokeError, InvalidError, LegatoError, NotFoundError, UnsupportedOptionError
from legato.stream import (
    Event,
    Failed,
    Finished,
    Log,
    Reasoning,
    Rewound,
    State,
    Text,
    ToolAsked,
    ToolFinished,
    ToolStarted,
)

UNSUPPORTED = (
    "tools",
    "format",
    "parallel_tools",
    "logprobs",
    "raw",
    "suffix",
    "prefix",
)
"""What a call of a conversation cannot ask for: the conversation has its own history and its assistant's tools."""


class ConversationEngine:
    """An `Engine` in front of the chat service, for one call of a user.

    The model reads the messages of the conversation; those of the request before its last one are not read. The reply is
    written by the model that the call names, with the conversation's system prompt and that of the request. All who look at
    the conversation see it as it is written. If the caller leaves, the assistant's `on_unwatched` decides, as for every reply.
    """

    def __init__(
        self, service: ChatService, user: User, conversation: str, resolved: ResolvedModel, choices: int = 1
    ) -> None:
        self._service = service
        self._user = user
        self._conversation = conversation
        self._resolved = resolved
        self._choices = choices

    @property
    def name(self) -> str:
        return self._resolved.engine.name

    async def generate(self, request: Request, out: ReplyWriter) -> Outcome:
        """Send the last message, and write the reply to `out`.

        :raises UnsupportedOptionError: the request asks for what a conversation cannot do.
        :raises InvalidError: its last message is not of the user.
        :raises NotFoundError: the user takes part in no such conversation.
        :raises CallEndedError: a person stopped the reply.
        """
        self._check(request)
        parts = tuple(
            part for part in request.turns[-1].parts if isinstance(part, TextPart | ImagePart | AudioPart)
        )
        await self._check_pictures(parts)
        submission = Submission(conversation=self._conversation, parts=parts)
        started = await self._service.replies.send(
            self._user, submission, adapt=lambda assistant: self._adapted(assistant, request)
        )
        watcher = _EndWatcher()
        self._service.subscriptions.subscribe(self._user, self._conversation, watcher)
        try:
            _, log = await self._service.subscriptions.log(self._user, started.reply.id)
            return await _Reading(log, out).read(watcher, request.model)
        except asyncio.CancelledError as cancelled:
            if STOP in cancelled.args:
                await self._service.replies.stop(self._user, self._conversation, started.reply.id)
            raise
        finally:
            self._service.subscriptions.unfollow(self._conversation, watcher)

    async def capabilities(self, model: str) -> Capabilities:
        return await self._resolved.engine.capabilities(model)

    async def models(self) -> tuple[Model, ...]:
        return await self._resolved.engine.models()

    async def health(self) -> Health:
        return await self._resolved.engine.health()

    async def close(self) -> None:
        """Do nothing: the creator of the engine closes it."""

    def _check(self, request: Request) -> None:
        for option in UNSUPPORTED:
            value = getattr(request, option)
            # 0 is a number of log probabilities.
            if value is not None and value is not False and value not in ((), ""):
                raise UnsupportedOptionError(
                    "This cannot be asked for in a conversation. Leave it out, or call without `Legato-Conversation`.",
                    option,
                )
        if request.tool_choice not in (None, "auto", "none"):
            raise UnsupportedOptionError("A conversation has the tools of its assistant.", "tool_choice")
        if self._choices > 1:
            raise UnsupportedOptionError("A conversation has one reply to a message.", "n")
        if not request.turns or request.turns[-1].role != "user":
            raise InvalidError("The last message of a call with `Legato-Conversation` is the user's.")

    async def _check_pictures(self, parts: Sequence[TextPart | ImagePart | AudioPart]) -> None:
        if not any(isinstance(part, ImagePart) for part in parts):
            return
        capabilities = await self._resolved.engine.capabilities(self._resolved.model)
        if not capabilities.images:
            raise UnsupportedOptionError("This model sees no pictures. Ask one that does.", "images")

    def _adapted(self, assistant: ResolvedAssistant, request: Request) -> ResolvedAssistant:
        """Return the assistant that answers: the one that the call names, or the conversation's own with the model of the call."""
        named = self._resolved.assistant
        same = named is not None and named.config.name == assistant.config.name
        adapted = copy.copy(named if named is not None and not same else assistant)
        if named is None:
            adapted.engine, adapted.model = self._resolved.engine, self._resolved.model
        config = adapted.config
        system = [text_of(turn.parts) for turn in request.turns if turn.role == "system"]
        adapted.config = replace(
            config,
            system="\n\n".join(filter(None, (config.system, *system))) or None,
            options=config.options | request.options,
            think=request.think if request.think is not None else config.think,
            keep_alive=request.keep_alive if request.keep_alive is not None else config.keep_alive,
        )
        if request.tool_choice == "none":
            adapted.tools = ()
        return adapted


class _EndWatcher:
    """Counts as somebody who looks at the conversation. `gone` is set if the user may not any more."""

    def __init__(self) -> None:
        self.gone = asyncio.Event()

    def on_message(self, message: Message) -> None:
        """Ignore it: the log has it."""

    def on_conversation(self, conversation: Conversation) -> None:
        """Ignore it: the answer has no place for it."""

    def on_deleted(self, conversation: str) -> None:
        self.gone.set()

    def on_stream(self, log: Log) -> None:
        """Ignore it: another reply is another call."""

    def on_people(self, conversation: str) -> None:
        """Ignore it: the answer has no place for it."""

    def on_typing(self, conversation: str, user: str, name: str | None, typing: bool) -> None:
        """Ignore it: the answer has no place for it."""


class _Reading:
    """Writes a log to a writer that cannot take anything back. `cursor` is the offset of the next event."""

    def __init__(self, log: Log, out: ReplyWriter) -> None:
        self.cursor = 0
        self._log = log
        self._out = out
        self._told: list[str] = []
        self._again: str | None = None
        self._runs: dict[str, ToolCall] = {}

    async def read(self, watcher: _EndWatcher, model: str) -> Outcome:
        """Write until the reply has ended.

        :raises LegatoError: it failed, was stopped, or the user may not see it any more.
        """
        news = asyncio.Event()
        self._log.subscribe(news.set, self)
        gone = asyncio.create_task(watcher.gone.wait(), name="access to a conversation")
        gone.add_done_callback(lambda _: news.set())
        try:
            while True:
                news.clear()
                if self.cursor < self._log.next:
                    batch = self._log.single(self._log.since(self.cursor))
                    self.cursor = batch.next
                    for event in batch.events:
                        if isinstance(event, Finished | Failed):
                            return _outcome(event, model)
                        self._write(event)
                if watcher.gone.is_set():
                    raise NotFoundError(NOT_FOUND)
                await news.wait()
        finally:
            gone.cancel()
            self._log.unsubscribe(news.set)

    def _write(self, event: Event) -> None:
        match event:
            case Text(text=text) if self._again is None:
                self._told.append(text)
                self._out.text(text)
            case Text(text=text):
                self._catch_up(text)
            case Reasoning(text=text):
                if self._again is None:
                    self._out.reasoning(text)
            case Rewound(text=text):
                self._again = ""
                self._catch_up(text)
            case ToolAsked() | ToolStarted():
                self._start_tool(ToolCall(event.call, event.name, event.arguments))
            case ToolFinished():
                self._finish_tool(event)
            case State():
                self._out.state(event)
            case _:
                return

    def _start_tool(self, call: ToolCall) -> None:
        """Tell of a tool once, if it waits for an approval first or not."""
        if isinstance(self._out, ToolRunWriter) and call.call not in self._runs:
            self._runs[call.call] = call
            self._out.tool_started(call)

    def _finish_tool(self, event: ToolFinished) -> None:
        call = self._runs.get(event.call)
        if isinstance(self._out, ToolRunWriter) and call is not None:
            self._out.tool_finished(call, event.output, failed=event.failed)

    def _catch_up(self, text: str) -> None:
        """Take text of a reply that was begun again. What the caller has is not told twice.

        :raises EngineBrokeError: the reply is another one than the caller has.
        """
        told, again = "".join(self._told), (self._again or "") + text
        self._told = [told]
        if told.startswith(again) and told != again:
            self._again = again
            return
        if not again.startswith(told):
            raise EngineBrokeError(
                "The reply was begun again, and is another one now. It is in the conversation."
            )
        self._again = None
        if more := again[len(told) :]:
            self._told.append(more)
            self._out.text(more)


def _outcome(end: Finished | Failed, model: str) -> Outcome:
    """Return how the reply ended by itself.

    :raises LegatoError: it did not.
    """
    if isinstance(end, Failed):
        error = error_of(end.code, end.message)
        raise EngineBrokeError(end.message) if type(error) is LegatoError else error
    if end.reason == "stopped":
        raise CallEndedError("The reply was stopped in its conversation.")
    return Outcome(end.reason, model, end.usage, end.timings)
