"""The running of replies: each waits in its conversation's line, is written, is recorded, and only then ends."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from datetime import datetime

import msgspec

from legato.chat import turn
from legato.chat.assistants import Assistants
from legato.chat.attachments import Attachments
from legato.chat.conversation_cache import ConversationCache
from legato.chat.conversation_settings import still_read
from legato.chat.counters import Counters
from legato.chat.disclaimer import disclaim, disclaimed, undisclaimed
from legato.chat.journal import INTERVAL, Journal
from legato.chat.media_input import MediaInput
from legato.chat.reply import Reply, ResolvedAssistant, finished_message, pieces
from legato.chat.running_replies import RunningReplies
from legato.chat.tool_calls import before_and_tail, kept, pending
from legato.chat.watchers import Watcher, Watchers
from legato.domain.conversation import Conversation
from legato.domain.message import Message
from legato.engines.transcribe import Transcriber
from legato.errors import StaleError, StorageError
from legato.storage.base import LOCAL_GATEWAY, AdoptedReply, ReplyOwner, Storage
from legato.stream import Failed, Finished, Log, Reasoning, ReplySnapshot, Terminal, Text

logger = logging.getLogger(__name__)

LEAVE_SECONDS = 5.0
"""How long a server that ends waits for engines that were told to stop, and then once more."""

BUG = Failed("internal", "The server failed in a way it should not while this was being written. Ask again.")

Verdict = Callable[[Reply], Awaitable[Terminal | None]]
"""Decides whether a reply that was cut off has ended; None lets it go on."""


class ReplyRunner:
    """Runs replies. A reply's end is stored before any viewer sees it: what looks finished is kept."""

    def __init__(
        self,
        storage: Storage,
        trees: ConversationCache,
        audience: Watchers,
        replies: RunningReplies,
        tally: Counters,
        *,
        clock: Callable[[], float],
        now: Callable[[], datetime],
        new_epoch: Callable[[], str],
        attachments: Attachments | None = None,
        transcriber: Transcriber | None = None,
        gateway: str = LOCAL_GATEWAY,
    ) -> None:
        self.replies = replies
        self.tally = tally
        self._storage = storage
        self._trees = trees
        self._audience = audience
        self._gateway = gateway
        self._journal = Journal(storage, gateway)
        self._clock = clock
        self._now = now
        self._new_epoch = new_epoch
        self._senses = MediaInput(attachments, transcriber, self._rewrite)
        self._ticker: asyncio.Task[None] | None = None

    async def start(self, assistants: Assistants) -> None:
        """Take up what an earlier server left, and begin to keep the journal."""
        for unfinished in await self._storage.adopt(self._gateway, [self._gateway]):
            await self._take_up(unfinished, assistants)
        self._ticker = asyncio.create_task(self._tick(), name="journal")

    async def drain(self, seconds: float) -> None:
        """Let running replies end for so long."""
        try:
            async with asyncio.timeout(seconds):
                await self.replies.empty()
        except TimeoutError:
            logger.info("%d replies are left for the next start to go on with", len(self.replies))

    async def close(self) -> None:
        """Leave what still runs to the next server, with all it said in the journal."""
        if self._ticker is not None:
            self._ticker.cancel()
            await asyncio.gather(self._ticker, return_exceptions=True)
        left = self.replies.all()
        for reply in left:
            reply.end("leaving")
        tasks = {reply.task: reply for reply in left if reply.task is not None}
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=LEAVE_SECONDS)
            for task in late:
                logger.warning("Reply %s does not stop; it is left behind", tasks[task].id)
                tasks[task].abandon()
            if late:
                await asyncio.wait(late, timeout=LEAVE_SECONDS)
        await self._journal.tick()

    def enter(
        self,
        message: Message,
        speaker: ResolvedAssistant,
        user: str,
        owner: ReplyOwner,
        *,
        again: bool = False,
    ) -> Reply:
        """Give a stored reply its log and its place in line. It runs once `run` is called. `again`: it had a log before."""
        log = Log(message.id, self._new_epoch(), again=again)
        reply = Reply(message, log, speaker, user, self._clock, owner)
        self._journal.open(reply.log)
        self.replies.enter(reply)
        return reply

    def run(self, reply: Reply, verdict: Verdict | None = None) -> None:
        reply.task = asyncio.create_task(self._run(reply, verdict), name=f"reply {reply.id}")

    async def _run(self, reply: Reply, verdict: Verdict | None) -> None:
        reply.running = True
        try:
            end = await self._judge(reply, verdict) if verdict is not None else None
            if end is not None:
                message = finished_message(reply.message, reply.log.snapshot(), end, None, None)
            else:
                await self._wait(reply)
                reply.started = self._clock()
                message, end = await turn.run(reply, self._history, self._keep, self._clock)
            reply.recording = True
            await self._record(reply, message, end)
        except asyncio.CancelledError:
            if reply.ending != "leaving":
                raise
        except Exception:
            logger.exception("The turn of reply %s failed", reply.id)
            await self._give_up(reply)
        finally:
            if reply.ending != "leaving":
                self._journal.close(reply.id)
            self.replies.leave(reply)

    @staticmethod
    async def _judge(reply: Reply, verdict: Verdict) -> Terminal | None:
        """The verdict; where the reply was stopped before it came, `turn.run` ends it."""
        try:
            return await verdict(reply) if reply.ending is None else None
        except asyncio.CancelledError:
            if reply.ending is None or reply.ending == "leaving":
                raise
            return None

    async def _give_up(self, reply: Reply) -> None:
        """After a bug: whatever went wrong, the reply has an end, for those who watch and in the database; where it cannot be
        stored with what it says, without that."""
        if reply.log.closed:
            return
        reply.recording = True
        try:
            fold = disclaim(reply.log, reply.speaker.assistant.disclaimer)
            try:
                await self._record(reply, finished_message(reply.message, fold, BUG, None, None), BUG)
            except Exception:
                logger.exception("Reply %s could not be stored with what it says", reply.id)
                if not reply.log.closed:
                    await self._record(
                        reply, finished_message(reply.message, ReplySnapshot(), BUG, None, None), BUG
                    )
        except Exception:
            logger.exception("Reply %s could not be stored", reply.id)
        finally:
            if reply.log.end is None and reply.ending != "leaving":
                reply.log.append(BUG)

    async def _wait(self, reply: Reply) -> None:
        """Until its turn comes, or it was stopped in line: then `turn.run` ends it."""
        try:
            if reply.ending is None:
                await self.replies.turn(reply)
        except asyncio.CancelledError:
            if reply.ending is None or reply.ending == "leaving":
                raise

    async def _history(self, reply: Reply) -> list[Message]:
        tree = await self._trees.get(reply.message.conversation)
        if tree is None:
            return []
        branch = still_read(tree.path(reply.message.parent), tree.conversation.settings.cleared)
        branch = [undisclaimed(message, reply.speaker.assistant.disclaimer) for message in branch]
        return await self._senses.prepare(reply, branch)

    async def _keep(self, reply: Reply) -> None:
        """A database that fails is tried until it takes it."""
        for pause in _pauses():
            if await self._journal.keep(reply.log):
                return
            await asyncio.sleep(pause)

    async def _record(self, reply: Reply, message: Message, end: Terminal) -> None:
        """Store, then close the log, then tell. A database that fails is tried until it takes it."""
        stored = await self._finish(reply, message)
        self.tally.ended(reply.speaker.assistant.name, end, reply.pieces)
        reply.log.append(end)
        if stored is None:
            return
        reply.message = stored
        self._carry(stored)

    async def _rewrite(self, message: Message) -> None:
        """Write a person's message again. Where that fails, it is as it was."""
        try:
            stored = await self._storage.rewrite(message, self._now())
        except StorageError as error:
            logger.warning("Message %s could not be written again: %s", message.id, error.message)
            return
        if stored is not None:
            self._carry(stored)

    def _carry(self, stored: Message) -> None:
        """Carry what was written into memory, and to those who watch."""
        conversation: Conversation | None = None
        tree = self._trees.seen(stored.conversation)
        if tree is not None and tree.conversation.revision == stored.revision - 1:
            conversation = msgspec.structs.replace(
                tree.conversation, revision=stored.revision, updated_at=self._now()
            )
            self._trees.wrote(conversation, stored)
        else:
            self._trees.outdated(stored.conversation, stored.revision)

        def tell(watcher: Watcher) -> None:
            watcher.on_message(stored)
            if conversation is not None:
                watcher.on_conversation(conversation)

        self._audience.tell_soon(stored.conversation, tell)

    async def _finish(self, reply: Reply, message: Message) -> Message | None:
        pauses = _pauses()
        while True:
            try:
                return await self._storage.finish(message, reply.owner, self._now())
            except StaleError as error:
                logger.warning("Reply %s is not stored: %s", message.id, error.message)
                return None
            except StorageError as error:
                logger.warning("Reply %s could not be stored yet: %s", message.id, error.message)
            await asyncio.sleep(next(pauses))

    async def _take_up(self, unfinished: AdoptedReply, assistants: Assistants) -> None:
        """Go on with a reply that was cut off by the end of a server: its log has what was kept, under a new epoch."""
        tree = await self._trees.get(unfinished.message.conversation)
        if tree is None:
            return
        speaker = assistants.configured(tree.conversation)
        reply = self.enter(
            unfinished.message,
            speaker or assistants.named(None),
            unfinished.user,
            unfinished.owner,
            again=True,
        )
        for event in kept(unfinished.events):
            match event:
                case Text() | Reasoning():
                    for piece in pieces(event.text):
                        reply.log.append(type(event)(piece))
                case _:
                    reply.log.append(event)
        for tool in pending(reply.log.snapshot()):
            if tool.asking:
                reply.approvals.expect(tool.call)
        self.run(reply, _cut_off if speaker is not None else _nobody)

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(INTERVAL)
            self.replies.expire()
            if not self._journal.idle:
                try:
                    await self._journal.tick()
                except Exception:
                    logger.exception("A tick of the journal failed; the next one writes all of it again")


def _pauses() -> Iterator[float]:
    """Seconds before a database that has failed is asked again."""
    pause = 0.1
    while True:
        yield pause
        pause = min(pause * 2, 5.0)


async def _cut_off(reply: Reply) -> Terminal | None:
    speaker, fold = reply.speaker, reply.log.snapshot()
    if disclaimed(fold.text, speaker.assistant.disclaimer):
        return Finished("stop")
    _, tail = before_and_tail(fold)
    if tail and not (await speaker.engine.capabilities(speaker.model)).supports_prefill:
        disclaim(reply.log, speaker.assistant.disclaimer)
        return Failed(
            "interrupted",
            "The server was restarted while this was being written. Ask again to have it whole.",
        )
    return None


async def _nobody(reply: Reply) -> Terminal | None:
    return Failed(
        "interrupted", "The server was restarted, and the assistant that wrote this is no longer set up."
    )
