"""The running of replies: each waits in its conversation's queue, is written, is stored, and only then ends."""

import asyncio
import logging
from collections.abc import Callable

from legato.broker.base import LogKey, RunningLogs
from legato.chat.assistants import Assistants
from legato.chat.conversation_cache import ConversationCache
from legato.chat.disclaimer import disclaim
from legato.chat.journal import INTERVAL, Journal
from legato.chat.message_recorder import MessageRecorder
from legato.chat.prompt import PromptHistory
from legato.chat.recovery import Verdict, restore, verdict_if_cut_off, verdict_if_not_configured
from legato.chat.reply import Reply, ResolvedAssistant, finished_message
from legato.chat.running_replies import RunningReplies
from legato.chat.turn import BUG as ENGINE_BUG
from legato.chat.turn import ReplyTurn
from legato.domain.message import Message
from legato.domain.validation import clean_text
from legato.errors import LegatoError
from legato.storage.base import LOCAL_GATEWAY, AdoptedReply, ReplyOwner, TurnStore
from legato.stream import Failed, Log, ReplySnapshot, Terminal

logger = logging.getLogger(__name__)

LEAVE_SECONDS = 5.0
"""How long a server that ends waits for engines that were told to stop, and then once more."""

BUG = Failed("internal", "The server failed in a way it should not while this was being written. Ask again.")


class ReplyRunner:
    """Runs replies. A reply's end is stored before any viewer sees it: what looks finished is kept."""

    def __init__(
        self,
        storage: TurnStore,
        cache: ConversationCache,
        running: RunningReplies,
        prompt_history: PromptHistory,
        recorder: MessageRecorder,
        logs: RunningLogs,
        *,
        clock: Callable[[], float],
        new_epoch: Callable[[], str],
        gateway: str = LOCAL_GATEWAY,
    ) -> None:
        self._storage = storage
        self._cache = cache
        self._running = running
        self._prompt_history = prompt_history
        self._recorder = recorder
        self._logs = logs
        self._gateway = gateway
        self._journal = Journal(storage, gateway)
        self._clock = clock
        self._new_epoch = new_epoch
        self._ticker: asyncio.Task[None] | None = None

    async def start(self, assistants: Assistants) -> None:
        """Take up what an earlier server left, and begin to write the journal."""
        for adopted in await self._storage.adopt(self._gateway, [self._gateway]):
            await self._take_up(adopted, assistants)
        self._ticker = asyncio.create_task(self._tick(), name="journal")

    async def drain(self, seconds: float) -> None:
        """Let running replies end for `seconds`."""
        try:
            async with asyncio.timeout(seconds):
                await self._running.empty()
        except TimeoutError:
            logger.info("%d replies are left for the next start to go on with", len(self._running))

    async def close(self) -> None:
        """Leave what still runs to the next server, with all it said in the journal."""
        if self._ticker is not None:
            self._ticker.cancel()
            await asyncio.gather(self._ticker, return_exceptions=True)
        left = self._running.all()
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
        assistant: ResolvedAssistant,
        user: str,
        owner: ReplyOwner,
        *,
        restored: bool = False,
    ) -> Reply:
        """Give a stored reply its log and its place in the queue. It runs once `run` is called. `restored`: it had a log before."""
        written = Log(message.id, self._new_epoch(), restored=restored)
        shown = self._logs.show(written, _key(message), owner.term)
        reply = Reply(message, written, assistant, user, self._clock, owner, shown=shown)
        self._journal.open(written)
        self._running.enter(reply)
        return reply

    def run(self, reply: Reply, verdict: Verdict | None = None) -> None:
        """Start the task that writes the reply. Its first step is in a later step of the event loop."""
        reply.task = asyncio.create_task(self._run(reply, verdict), name=f"reply {reply.id}")

    async def _run(self, reply: Reply, verdict: Verdict | None) -> None:
        reply.running = True
        try:
            end = await self._judge(reply, verdict) if verdict is not None else None
            if end is not None:
                message = finished_message(reply.message, reply.written.snapshot(), end, None, None)
            else:
                await self._wait(reply)
                reply.started = self._clock()
                message, end = await self._write(reply)
            reply.recording = True
            await self._recorder.finish(reply, message, end)
        except asyncio.CancelledError:
            if reply.ending != "leaving":
                raise
        except Exception:
            logger.exception("The turn of reply %s failed", reply.id)
            await self._give_up(reply)
        finally:
            if reply.ending != "leaving":
                self._journal.close(reply.id)
                self._logs.end(_key(reply.message))
            self._running.leave(reply)

    async def _write(self, reply: Reply) -> tuple[Message, Terminal]:
        """Decide what the model reads, and let the engine and the tools write. Return the message to store and the log's last event."""
        turn = ReplyTurn(reply, self._journal, self._logs, self._clock)
        try:
            if reply.ending is not None:
                raise asyncio.CancelledError
            history = await self._prompt_history.read(reply)
            end = await turn.write(history)
        except asyncio.CancelledError as error:
            end = turn.cancelled(error)
        except LegatoError as error:
            end = Failed(error.code, clean_text(reply.assistant.told(error.message)))
        except Exception:
            engine = reply.assistant.engine.name
            logger.exception("The engine %s failed in a way of its own (reply %s)", engine, reply.id)
            end = ENGINE_BUG
        return turn.finish(end)

    @staticmethod
    async def _judge(reply: Reply, verdict: Verdict) -> Terminal | None:
        """Return the verdict, or None if the reply was stopped before it came: then `_write` ends it."""
        try:
            return await verdict(reply) if reply.ending is None else None
        except asyncio.CancelledError:
            if reply.ending is None or reply.ending == "leaving":
                raise
            return None

    async def _wait(self, reply: Reply) -> None:
        """Return when it is the reply's turn, or it was stopped in the queue: then `_write` ends it."""
        try:
            if reply.ending is None:
                await self._running.turn(reply)
        except asyncio.CancelledError:
            if reply.ending is None or reply.ending == "leaving":
                raise

    async def _give_up(self, reply: Reply) -> None:
        """End a reply after a bug, for those who watch and in the database. If it cannot be stored with its text, store it without."""
        if reply.written.closed:
            return
        reply.recording = True
        try:
            snapshot = disclaim(reply.written, reply.assistant.config.disclaimer)
            try:
                message = finished_message(reply.message, snapshot, BUG, None, None)
                await self._recorder.finish(reply, message, BUG)
            except Exception:
                logger.exception("Reply %s could not be stored with what it says", reply.id)
                if not reply.written.closed:
                    message = finished_message(reply.message, ReplySnapshot(), BUG, None, None)
                    await self._recorder.finish(reply, message, BUG)
        except Exception:
            logger.exception("Reply %s could not be stored", reply.id)
        finally:
            if reply.written.end is None and reply.ending != "leaving":
                reply.written.append(BUG)

    async def _take_up(self, adopted: AdoptedReply, assistants: Assistants) -> None:
        """Continue a reply that was cut off by the end of a server. Its log has what was kept, under a new epoch."""
        tree = await self._cache.get(adopted.message.conversation)
        if tree is None:
            return
        assistant = assistants.configured(tree.conversation)
        reply = self.enter(
            adopted.message,
            assistant or assistants.named(None),
            adopted.user,
            adopted.owner,
            restored=True,
        )
        restore(reply, adopted)
        self.run(reply, verdict_if_cut_off if assistant is not None else verdict_if_not_configured)

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(INTERVAL)
            self._running.expire()
            if not self._journal.idle:
                try:
                    await self._journal.tick()
                except Exception:
                    logger.exception("A tick of the journal failed; the next one writes all of it again")


def _key(message: Message) -> LogKey:
    return LogKey(message.conversation, message.id)
