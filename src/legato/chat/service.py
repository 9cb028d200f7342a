"""The service: a command of a person comes in, is authorised, written once, and answered; a turn begins; effects go out.

Everything outside (dialects, HTTP routes) talks to this and to nothing below it.
"""

import asyncio
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from uuid import uuid4
from weakref import WeakValueDictionary

from msgspec import Struct

from legato.chat.abandonment import Abandonment
from legato.chat.access import NO_MESSAGE, Access
from legato.chat.attachments import Attachments
from legato.chat.commands import Commands, make_commands
from legato.chat.conversation_cache import ConversationCache
from legato.chat.keeping import Keeping
from legato.chat.message_tree import MessageTree
from legato.chat.participants import Participants
from legato.chat.reply import ResolvedAssistant
from legato.chat.runner import ReplyRunner
from legato.chat.watchers import Watcher, Watchers
from legato.domain.message import Message, Part, TextPart, media_parts
from legato.domain.submission import Submission, clean_parts, fingerprint, title_from
from legato.domain.user import User
from legato.domain.validation import check_id
from legato.engines.transcribe import Transcriber
from legato.errors import BusyError, InvalidError, NotFoundError
from legato.storage.base import NewTurn, Storage, TurnStarted


def utc() -> datetime:
    return datetime.now(UTC)


class _TurnRequest(Struct, frozen=True):
    """What a reply is begun for. It stands behind `parent`, which is the `question` where there is a new one.

    `mark` tells whether the same was asked before under this `client_message_id`; `new`: so is the conversation.
    """

    tree: MessageTree
    parent: str
    mark: str
    client_message_id: str | None
    question: Message | None = None
    new: bool = False


class ChatService(Keeping):
    """The one core that all dialects and routes share. One object a server; all calls on the event loop's thread.

    `drained` is set when the server is about to stop: what is not written by then, the next server goes on with.
    """

    def __init__(
        self,
        storage: Storage,
        speakers: Mapping[str, ResolvedAssistant],
        *,
        clock: Callable[[], float],
        now: Callable[[], datetime] = utc,
        new_id: Callable[[], str] = lambda: str(uuid4()),
        attachments: Attachments | None = None,
        transcriber: Transcriber | None = None,
    ) -> None:
        self._storage = storage
        self._speakers = speakers
        self._now = now
        self._new_id = new_id
        self._trees = ConversationCache(storage)
        self._audience = Watchers()
        self._runner = ReplyRunner(
            storage,
            self._trees,
            self._audience,
            clock=clock,
            now=now,
            new_epoch=lambda: new_id()[:8],
            attachments=attachments,
            transcriber=transcriber,
        )
        self._unwatched = Abandonment(self._audience, self._runner.replies)
        self._access = Access(self._trees)
        self.people = Participants(
            storage,
            self._trees,
            self._access,
            self._audience,
            clock=clock,
            now=now,
            new_id=new_id,
            unfollow=self.unfollow,
        )
        self._attachments = attachments
        self._speaking: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._draining = False
        self.drained = asyncio.Event()
        self.commands: Commands = make_commands(self)

    async def start(self) -> None:
        """Go on with the replies that an earlier server left, and begin to keep the journal."""
        await self._runner.start(self._speakers)
        for reply in self._runner.replies.all():
            self._unwatched.expect(reply.message.conversation, back=True)

    async def drain(self, seconds: float) -> None:
        """Take no more messages and let running replies end for so long. The rest is left to the next server."""
        self._draining = True
        await self._runner.drain(seconds)
        self.drained.set()

    async def close(self) -> None:
        """Leave what still runs, with all it said in the journal."""
        self._draining = True
        await self._runner.close()
        self._unwatched.close()
        self.people.close()

    @property
    def attachments(self) -> Attachments:
        """:raises InvalidError: none are taken here."""
        if self._attachments is None:
            raise InvalidError("This server takes no pictures and no recordings.")
        return self._attachments

    async def send(
        self, person: User, submission: Submission, acknowledged: Callable[[TurnStarted], None] | None = None
    ) -> TurnStarted:
        """Store a message and begin its reply. `acknowledged` is called once it is stored, before anyone hears of it.

        :raises InvalidError: there is nothing in the message, or something that cannot be.
        :raises NotFoundError: there is no such conversation, or no such parent in it.
        :raises ConflictError: this `client_message_id` came before with something else. :raises ForbiddenError: the person may only read.
        """
        parts = clean_parts(submission)
        if submission.conversation is None:
            made = self._conversation(person, submission.assistant, "")
            return await self._send(person, MessageTree(made), parts, submission, acknowledged, new=True)
        # It stands behind the last message: two people who speak at once would else be two branches.
        speaking = self._speaking.setdefault(submission.conversation, asyncio.Lock())
        async with speaking:
            tree = await self._access.writer(person, submission.conversation)
            return await self._send(person, tree, parts, submission, acknowledged)

    async def _send(
        self,
        person: User,
        tree: MessageTree,
        parts: tuple[Part, ...],
        submission: Submission,
        acknowledged: Callable[[TurnStarted], None] | None,
        *,
        new: bool = False,
    ) -> TurnStarted:
        if media_parts(parts):
            parts = await self.attachments.enclosed(person, parts)
        parent = submission.parent if submission.parent is not None else tree.conversation.head
        question = self._question(person, tree.conversation.id, parts, parent)
        mark = fingerprint("send", submission)
        asked = _TurnRequest(tree, question.id, mark, submission.client_message_id, question, new)
        return await self._begin(person, asked, acknowledged)

    async def regenerate(
        self,
        person: User,
        conversation: str,
        message: str,
        client_message_id: str | None = None,
        acknowledged: Callable[[TurnStarted], None] | None = None,
    ) -> TurnStarted:
        """Another reply in place of an assistant's message.

        :raises NotFoundError: there is no such conversation or message. :raises InvalidError: it is no reply.
        """
        tree = await self._access.writer(person, conversation)
        old = tree.messages.get(message)
        if old is None:
            raise NotFoundError(NO_MESSAGE)
        if old.role != "assistant" or old.parent is None:
            raise InvalidError("Only a reply can be regenerated. To change what you said, edit it.")
        mark = fingerprint("regenerate", Submission(conversation=conversation), message)
        return await self._begin(
            person, _TurnRequest(tree, old.parent, mark, client_message_id), acknowledged
        )

    async def edit(
        self,
        person: User,
        conversation: str,
        message: str,
        text: str,
        client_message_id: str | None = None,
        acknowledged: Callable[[TurnStarted], None] | None = None,
    ) -> TurnStarted:
        """Another wording in place of a person's message, and a reply to it.

        :raises NotFoundError: there is no such conversation or message. :raises InvalidError: it is not a person's, or the text is empty.
        """
        tree = await self._access.writer(person, conversation)
        old = tree.messages.get(message)
        if old is None:
            raise NotFoundError(NO_MESSAGE)
        if old.role != "user":
            raise InvalidError("Only what a person said can be edited. For another reply, regenerate it.")
        submission = Submission(conversation=conversation, text=text)
        kept = tuple(part for part in old.parts if not isinstance(part, TextPart))
        parts = clean_parts(submission) + kept
        question = self._question(person, conversation, parts, old.parent)
        mark = fingerprint("edit", submission, message)
        asked = _TurnRequest(tree, question.id, mark, client_message_id, question)
        return await self._begin(person, asked, acknowledged)

    async def stop(self, person: User, conversation: str, message: str | None = None) -> list[str]:
        """Stop one reply, or all of the conversation; returns when they are stored with the text so far.

        :raises NotFoundError: there is no such conversation.
        """
        await self._access.writer(person, conversation)
        running = self._runner.replies.of(conversation)
        meant = [reply for reply in running if message is None or reply.id == message]
        await self._end(meant)
        return [reply.id for reply in meant if reply.message.status == "stopped"]

    async def approve(self, person: User, conversation: str, reply: str, call: str, allow: bool) -> None:
        """Say whether the tool of a running reply that waits for a word may run. Of two words the first counts.

        :raises NotFoundError: there is no such conversation, or nothing waits there. :raises ForbiddenError: the person may only read.
        """
        await self._access.writer(person, conversation)
        running = self._runner.replies.get(reply)
        if running is None or running.message.conversation != conversation:
            raise NotFoundError(
                "This reply is not being written any more, so nothing of it waits for a word."
            )
        running.approvals.decide(call, allow)

    def _question(
        self, person: User, conversation: str, parts: tuple[Part, ...], parent: str | None
    ) -> Message:
        return Message(
            id=self._new_id(),
            conversation=conversation,
            role="user",
            status="complete",
            parts=parts,
            created_at=self._now(),
            parent=parent,
            author=person.id,
        )

    async def _begin(
        self, person: User, asked: _TurnRequest, acknowledged: Callable[[TurnStarted], None] | None
    ) -> TurnStarted:
        if self._draining:
            raise BusyError("The server is about to restart. Send it again in a moment.", 2.0)
        if asked.client_message_id is not None:
            check_id(asked.client_message_id, "client_message_id")
        conversation, question = asked.tree.conversation, asked.question
        title = title_from(question.parts) if question is not None and not conversation.title else None
        reply = Message(
            id=self._new_id(),
            conversation=conversation.id,
            role="assistant",
            status="streaming",
            parts=(),
            created_at=self._now(),
            parent=asked.parent,
        )
        enclosed = media_parts(question.parts) if question is not None else ()
        exchange = NewTurn(
            conversation.id,
            person.id,
            question,
            reply,
            asked.client_message_id,
            asked.mark,
            title,
            conversation if asked.new else None,
            tuple(dict.fromkeys(part.attachment for part in enclosed if part.attachment)),
        )
        begun = await self._storage.begin(exchange, self._now())
        if begun.duplicate:
            # The first time may have been long ago, and in a conversation in which they take part no more.
            await self._access.reader(person, begun.conversation.id)
            if acknowledged is not None:
                acknowledged(begun)
            return begun
        running = self._runner.enter(begun.reply, self.assistant_of(begun.conversation), person.id)
        self.counters.messages += question is not None
        self._trees.wrote(begun.conversation, begun.question, begun.reply, new=asked.new)
        self.people.typed(conversation.id, person.id)
        # It is stored, so it runs, whatever becomes of those who are told; its first step is behind all they hear now.
        self._runner.run(running)
        if acknowledged is not None:
            acknowledged(begun)

        def tell(watcher: Watcher) -> None:
            watcher.on_conversation(begun.conversation)
            if begun.question is not None:
                watcher.on_message(begun.question)
            watcher.on_message(begun.reply)
            watcher.on_stream(running.log)

        self._audience.tell(conversation.id, tell)
        if not self._audience.watched(conversation.id):
            self._unwatched.expect(conversation.id)
        return begun
