"""The chat service of a server: its parts, and their common start and end.

Everything outside (dialects, HTTP routes) calls the part that it needs, and nothing below these parts.
"""

import asyncio
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from uuid import uuid4

from legato.broker.base import Broker
from legato.broker.person_limits import PersonLimits
from legato.chat.abandonment import Abandonment
from legato.chat.access import Access
from legato.chat.assistants import Assistants
from legato.chat.attachments import Attachments
from legato.chat.command_types import CommandRunner
from legato.chat.conversation_cache import ConversationCache
from legato.chat.conversation_presence import ConversationPresence
from legato.chat.conversations import Conversations
from legato.chat.counters import Counters
from legato.chat.media_input import MediaInput
from legato.chat.message_recorder import MessageRecorder
from legato.chat.participants import Participants
from legato.chat.prompt import PromptHistory
from legato.chat.replies import NO_ATTACHMENTS, Replies
from legato.chat.reply import ResolvedAssistant
from legato.chat.runner import ReplyRunner
from legato.chat.running_replies import RunningReplies
from legato.chat.subscriptions import Subscriptions
from legato.chat.watchers import WatcherProbe, Watchers
from legato.engines.transcription import Transcriber
from legato.errors import InvalidError
from legato.storage.base import Storage


def utc() -> datetime:
    return datetime.now(UTC)


class ChatService:
    """The parts that all dialects and routes share. One object a server; all calls on the event loop's thread.

    `drained` is set when the server is about to stop: the next server goes on with what is not written by then.
    """

    def __init__(
        self,
        storage: Storage,
        assistants: Mapping[str, ResolvedAssistant],
        *,
        commands: Callable[["ChatService"], CommandRunner],
        broker: Broker,
        clock: Callable[[], float],
        now: Callable[[], datetime] = utc,
        new_id: Callable[[], str] = lambda: str(uuid4()),
        attachments: Attachments | None = None,
        text_quota: int | None = None,
        limits: PersonLimits | None = None,
        transcriber: Transcriber | None = None,
    ) -> None:
        """`commands` makes the commands, which call this service. `broker` is what it shares with other gateways."""
        cache = ConversationCache(storage)
        access = Access(cache, storage)
        watchers = Watchers()
        running = RunningReplies(clock)
        self._abandonment = Abandonment(WatcherProbe(watchers, broker.notes), running)
        self._attachments = attachments
        self.assistants = Assistants(assistants)
        self.counters = Counters()
        self.drained = asyncio.Event()
        recorder = MessageRecorder(storage, cache, watchers, self.counters, now=now)
        prompt_history = PromptHistory(cache, MediaInput(attachments, transcriber, recorder))
        self._running = running
        self._runner = ReplyRunner(
            storage,
            cache,
            running,
            prompt_history,
            recorder,
            broker.logs,
            clock=clock,
            new_epoch=lambda: new_id()[:8],
        )
        self.presence = ConversationPresence(cache, access, watchers, broker.presence, clock=clock)
        self.subscriptions = Subscriptions(
            storage, cache, access, watchers, running, self.presence, self._abandonment
        )
        self.participants = Participants(
            storage, cache, access, watchers, self.subscriptions, self.presence, now=now, new_id=new_id
        )
        self.conversations = Conversations(
            storage,
            cache,
            access,
            watchers,
            running,
            self.participants,
            self.assistants,
            now=now,
            new_id=new_id,
            attachments=attachments,
        )
        self.replies = Replies(
            storage,
            cache,
            access,
            watchers,
            running,
            self._runner,
            self.presence,
            self._abandonment,
            self.conversations,
            self.assistants,
            self.counters,
            now=now,
            new_id=new_id,
            attachments=attachments,
            text_quota=text_quota,
            limits=limits,
        )
        self.commands = commands(self)

    async def start(self) -> None:
        """Continue the replies that an earlier server left, and begin to write the journal."""
        await self._runner.start(self.assistants)
        for reply in self._running.all():
            self._abandonment.expect(reply.message.conversation, back=True)

    async def drain(self, seconds: float) -> None:
        """Take no more messages, and let running replies end for `seconds`. The next server continues the rest."""
        self._refuse()
        await self._runner.drain(seconds)
        self.drained.set()

    async def close(self) -> None:
        """Leave what still runs, with all its text in the journal."""
        self._refuse()
        await self._runner.close()
        self._abandonment.close()
        self.presence.close()
        self.subscriptions.close()

    @property
    def attachments(self) -> Attachments:
        """:raises InvalidError: this server takes none."""
        if self._attachments is None:
            raise InvalidError(NO_ATTACHMENTS)
        return self._attachments

    def _refuse(self) -> None:
        self.replies.refuse()
        self._abandonment.drain()
