"""Messages and the replies to them: send, regenerate, edit, stop, approve."""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable
from datetime import datetime
from weakref import WeakValueDictionary

from msgspec import Struct

from legato.broker.person_limits import PersonLimits, unlimited
from legato.chat.abandonment import Abandonment
from legato.chat.access import NO_MESSAGE, Access
from legato.chat.assistants import Assistants
from legato.chat.attachments import Attachments
from legato.chat.conversation_cache import ConversationCache
from legato.chat.conversation_presence import ConversationPresence
from legato.chat.conversations import Conversations
from legato.chat.counters import Counters
from legato.chat.message_tree import MessageTree
from legato.chat.reply import ResolvedAssistant
from legato.chat.runner import ReplyRunner
from legato.chat.running_replies import MAX_WAITING, RunningReplies
from legato.chat.watchers import Watcher, Watchers
from legato.domain.message import Message, Part, TextPart, attached_parts
from legato.domain.submission import Submission, clean_parts, fingerprint, title_from
from legato.domain.user import User
from legato.domain.validation import check_id
from legato.errors import BusyError, InvalidError, NotFoundError, StorageError
from legato.storage.base import NewTurn, Storage, TurnStarted, queue_full
from legato.stream import Log

logger = logging.getLogger(__name__)

NOT_RUNNING = "This reply is not being written any more, so nothing of it waits for a word."
NO_ATTACHMENTS = "This server takes no pictures and no recordings."


Adapt = Callable[[ResolvedAssistant], ResolvedAssistant]
"""Makes the assistant of one reply from that of its conversation."""


class _TurnRequest(Struct, frozen=True):
    """What to begin a reply for. The reply stands behind `parent`, which is the `question` if there is a new one.

    `mark` tells whether the same was asked before under this `client_message_id`; `new`: the conversation is new too.
    `after_head`: the question stands behind the head, whichever that is when it is stored. `adapt` changes the assistant that answers.
    """

    tree: MessageTree
    parent: str
    mark: str
    client_message_id: str | None
    question: Message | None = None
    new: bool = False
    after_head: bool = False
    adapt: Adapt | None = None


class Replies:
    """Stores what users send, and starts and ends the replies."""

    def __init__(
        self,
        storage: Storage,
        cache: ConversationCache,
        access: Access,
        watchers: Watchers,
        running: RunningReplies,
        runner: ReplyRunner,
        presence: ConversationPresence,
        abandonment: Abandonment,
        conversations: Conversations,
        assistants: Assistants,
        counters: Counters,
        *,
        now: Callable[[], datetime],
        new_id: Callable[[], str],
        attachments: Attachments | None = None,
        text_quota: int | None = None,
        limits: PersonLimits | None = None,
    ) -> None:
        """`text_quota` bounds the bytes of a user's messages and the replies to them."""
        self._storage = storage
        self._cache = cache
        self._access = access
        self._watchers = watchers
        self._running = running
        self._runner = runner
        self._presence = presence
        self._abandonment = abandonment
        self._conversations = conversations
        self._assistants = assistants
        self._counters = counters
        self._now = now
        self._new_id = new_id
        self._attachments = attachments
        self._text_quota = text_quota
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._draining = False
        self._limits = limits or unlimited()
        self._beginning: Counter[str] = Counter()

    @property
    def running(self) -> int:
        """The number of replies that are being written or wait in the queue."""
        return len(self._running)

    @property
    def draining(self) -> bool:
        """Whether no more messages are taken, because the server is about to stop."""
        return self._draining

    def refuse(self) -> None:
        """Take no more messages from now on."""
        self._draining = True

    async def send(self, user: User, submission: Submission, adapt: Adapt | None = None) -> TurnStarted:
        """Store a message and begin its reply. `adapt` changes the assistant that writes it.

        The watchers are told, and the reply takes its first step, in a later step of the event loop. So a caller that awaits
        this directly, and neither in another task nor behind another `await`, acts on the result before anybody is told of it.

        :raises InvalidError: the message is empty, or contains something that is not allowed.
        :raises NotFoundError: there is no such conversation, or no such parent in it.
        :raises ConflictError: this `client_message_id` came before with something else. :raises ForbiddenError: the user may only read.
        """
        parts = clean_parts(submission)
        if submission.conversation is None:
            tree = MessageTree(self._conversations.draft(user, submission.assistant))
            return await self._send(user, tree, parts, submission, adapt, new=True)
        # The message stands behind the last one: two users who send at once would else make two branches.
        async with self._locks.setdefault(submission.conversation, asyncio.Lock()):
            tree = await self._access.writer(user, submission.conversation)
            return await self._send(user, tree, parts, submission, adapt)

    async def _send(
        self,
        user: User,
        tree: MessageTree,
        parts: tuple[Part, ...],
        submission: Submission,
        adapt: Adapt | None,
        *,
        new: bool = False,
    ) -> TurnStarted:
        if not attached_parts(parts):
            return await self._send_stored(user, tree, parts, submission, adapt, new=new)
        if self._attachments is None:
            raise InvalidError(NO_ATTACHMENTS)
        async with self._attachments.enclosed(user, parts) as stored:
            return await self._send_stored(user, tree, stored, submission, adapt, new=new)

    async def _send_stored(
        self,
        user: User,
        tree: MessageTree,
        parts: tuple[Part, ...],
        submission: Submission,
        adapt: Adapt | None,
        *,
        new: bool,
    ) -> TurnStarted:
        after_head = submission.parent is None or _appends(user, tree, submission.parent, submission.append)
        parent = tree.conversation.head if after_head else submission.parent
        question = self._question(user, tree.conversation.id, parts, parent)
        mark = fingerprint("send", submission)
        request = _TurnRequest(
            tree,
            question.id,
            mark,
            submission.client_message_id,
            question,
            new,
            after_head=after_head,
            adapt=adapt,
        )
        return await self._begin(user, request)

    async def regenerate(
        self,
        user: User,
        conversation: str,
        message: str,
        client_message_id: str | None = None,
    ) -> TurnStarted:
        """Begin another reply in place of an assistant's message. It is told of later, like that of `send`.

        :raises NotFoundError: there is no such conversation or message. :raises InvalidError: the message is not a reply.
        """
        tree = await self._access.writer(user, conversation)
        old = tree.messages.get(message)
        if old is None:
            raise NotFoundError(NO_MESSAGE)
        if old.role != "assistant" or old.parent is None:
            raise InvalidError("Only a reply can be regenerated. To change what you said, edit it.")
        mark = fingerprint("regenerate", Submission(conversation=conversation), message)
        request = _TurnRequest(tree, old.parent, mark, client_message_id)
        return await self._begin(user, request)

    async def edit(
        self,
        user: User,
        conversation: str,
        message: str,
        text: str,
        client_message_id: str | None = None,
    ) -> TurnStarted:
        """Store another wording in place of a user's message, and begin a reply to it, which is told of later like that of `send`.

        :raises NotFoundError: there is no such conversation or message. :raises InvalidError: the message is not a user's, or the text is empty.
        """
        tree = await self._access.writer(user, conversation)
        old = tree.messages.get(message)
        if old is None:
            raise NotFoundError(NO_MESSAGE)
        if old.role != "user":
            raise InvalidError("Only what a person said can be edited. For another reply, regenerate it.")
        submission = Submission(conversation=conversation, text=text)
        kept = tuple(part for part in old.parts if not isinstance(part, TextPart))
        question = self._question(user, conversation, clean_parts(submission) + kept, old.parent)
        mark = fingerprint("edit", submission, message)
        request = _TurnRequest(tree, question.id, mark, client_message_id, question)
        return await self._begin(user, request)

    async def stop(self, user: User, conversation: str, message: str | None = None) -> list[str]:
        """Stop one reply, or all of the conversation. Return the ids of those that were stopped, once they are stored with the text so far.

        :raises NotFoundError: there is no such conversation. :raises ForbiddenError: the user may only read.
        """
        await self._access.writer(user, conversation)
        running = self._running.of(conversation)
        wanted = [reply for reply in running if message is None or reply.id == message]
        self._running.end(wanted)
        requested = await self._request_stop(user, conversation, message, here=bool(wanted))
        await self._running.stored(wanted)
        stopped = [reply.id for reply in wanted if reply.message.status == "stopped"]
        here = {reply.id for reply in running}
        return stopped + [reply for reply in requested if reply not in here]

    async def approve(self, user: User, conversation: str, reply: str, call: str, allow: bool) -> None:
        """Allow or refuse a tool of a running reply that waits for approval. The first decision counts.

        :raises NotFoundError: there is no such conversation, or nothing waits there. :raises ForbiddenError: the user may only read.
        """
        await self._access.writer(user, conversation)
        running = self._running.get(reply)
        if running is not None and running.message.conversation != conversation:
            raise NotFoundError(NOT_RUNNING)
        if running is not None:
            running.approvals.check(call)
        else:
            message = await self._storage.message(reply)
            if message is None or message.conversation != conversation:
                raise NotFoundError(NOT_RUNNING)
        try:
            allowed = await self._storage.decide(reply, call, allow, by=user.id)
        except NotFoundError:
            raise NotFoundError(NOT_RUNNING) from None
        if running is not None:
            running.approvals.decide(call, allowed)

    async def _request_stop(
        self, user: User, conversation: str, reply: str | None, *, here: bool
    ) -> list[str]:
        """Store the stop for the gateways that run the replies. If they run `here`, they were stopped without it."""
        try:
            return await self._storage.request_stop(conversation, reply, by=user.id)
        except StorageError as error:
            if not here:
                raise
            logger.warning("The stop of conversation %s is not stored: %s", conversation, error.message)
            return []

    def _question(
        self, user: User, conversation: str, parts: tuple[Part, ...], parent: str | None
    ) -> Message:
        return Message(
            id=self._new_id(),
            conversation=conversation,
            role="user",
            status="complete",
            parts=parts,
            created_at=self._now(),
            parent=parent,
            author=user.id,
        )

    async def _begin(self, user: User, request: _TurnRequest) -> TurnStarted:
        if self._draining:
            raise BusyError("The server is about to restart. Send it again in a moment.", 2.0)
        if request.client_message_id is not None:
            check_id(request.client_message_id, "client_message_id")
        conversation, question = request.tree.conversation, request.question
        if self._running.full(conversation.id):
            raise queue_full(MAX_WAITING)
        self._limits.check("replies", user.id, self._running.of_user(user.id) + self._beginning[user.id])
        title = title_from(question.parts) if question is not None and not conversation.title else None
        reply = Message(
            id=self._new_id(),
            conversation=conversation.id,
            role="assistant",
            status="streaming",
            parts=(),
            created_at=self._now(),
            parent=request.parent,
        )
        attached = attached_parts(question.parts) if question is not None else ()
        turn = NewTurn(
            conversation.id,
            user.id,
            question,
            reply,
            request.client_message_id,
            request.mark,
            title,
            conversation if request.new else None,
            tuple(dict.fromkeys(part.attachment for part in attached if part.attachment)),
            after_head=request.after_head,
            max_ahead=MAX_WAITING,
            text_quota=self._text_quota,
        )
        self._beginning[user.id] += 1
        try:
            started = await self._storage.begin(turn, self._now())
        finally:
            self._beginning -= Counter((user.id,))
        if started.duplicate:
            # The first time may have been long ago, and in a conversation in which the user takes part no more.
            await self._access.reader(user, started.conversation.id)
            return started
        assistant = self._assistants.of(started.conversation)
        if request.adapt is not None:
            assistant = request.adapt(assistant)
        running = self._runner.enter(started.reply, assistant, user.id, started.owner)
        self._counters.messages += question is not None
        self._cache.wrote(started.conversation, started.question, started.reply, new=request.new)
        self._presence.typed(conversation.id, user.id)
        self._announce(started, running.shown)
        # It is stored, so it runs, whatever becomes of the caller.
        self._runner.run(running)
        return started

    def _announce(self, started: TurnStarted, log: Log) -> None:
        """Tell the watchers in a later step of the event loop. If there are none by then, the assistant's setting decides."""

        def tell(watcher: Watcher) -> None:
            watcher.on_conversation(started.conversation)
            if started.question is not None:
                watcher.on_message(started.question)
            watcher.on_message(started.reply)
            watcher.on_stream(log)

        self._watchers.tell_soon(started.conversation.id, tell)
        asyncio.get_running_loop().call_soon(self._expect_watchers, started.conversation.id)

    def _expect_watchers(self, conversation: str) -> None:
        if not self._watchers.watched(conversation):
            self._abandonment.expect(conversation)


def _appends(user: User, tree: MessageTree, parent: str, append: bool | None) -> bool:
    """Return whether a message behind `parent` goes to the end of the shown branch.

    Others may have written since its author saw `parent` as the last message. A branch would hide it from them, and theirs
    from its author.
    """
    behind = tree.behind(parent)
    if behind is None or append is False:
        return False
    if append or not behind:
        return True
    asked = [each for each in (tree.messages[parent], *behind) if each.role == "user"]
    return bool(asked) and all(each.author != user.id for each in asked)
