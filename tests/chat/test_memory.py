"""What a server keeps in memory is bounded, by number and by size."""

import asyncio
from dataclasses import dataclass

import pytest

from legato.chat import conversation_cache as cache_module
from legato.chat import running_replies as running_module
from legato.chat.assistant import Assistant
from legato.chat.conversation_cache import TREES, ConversationCache
from legato.chat.reply import Reply, ResolvedAssistant
from legato.chat.running_replies import KEPT_LOGS, KEPT_SECONDS, RunningReplies
from legato.chat.service import utc
from legato.domain.conversation import Conversation
from legato.domain.message import Message, TextPart
from legato.domain.participant import Participant
from legato.errors import StorageError
from legato.storage.base import ReplyOwner
from legato.stream import Finished, Log, Text
from legato.testing.engine import ScriptedEngine


@dataclass
class Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


def message(name: str, conversation: str, text: str = "", revision: int = 1) -> Message:
    parts = (TextPart(text),) if text else ()
    return Message(name, conversation, "assistant", "complete", parts, utc(), revision=revision)


@pytest.fixture
def clock() -> Clock:
    return Clock()


async def ended(
    replies: RunningReplies, name: str, clock: Clock, conversation: str = "c", text: str = "A"
) -> None:
    log = Log(name, "e")
    speaker = ResolvedAssistant(Assistant(name="default"), ScriptedEngine(), "m")
    reply = Reply(message(name, conversation, text), log, speaker, "ada", clock, ReplyOwner())
    replies.enter(reply)
    log.append(Text(text))
    log.append(Finished("stop"))
    replies.leave(reply)


async def test_the_log_of_an_ended_reply_stays_for_a_while_and_no_longer(clock: Clock) -> None:
    replies = RunningReplies(clock)
    await ended(replies, "one", clock)
    clock.now = KEPT_SECONDS
    replies.expire()
    assert replies.log("one") is not None
    clock.now = KEPT_SECONDS + 1
    replies.expire()
    assert replies.log("one") is None


async def test_ten_thousand_turns_keep_the_last_logs(clock: Clock) -> None:
    replies = RunningReplies(clock)
    for n in range(10_000):
        await ended(replies, str(n), clock, conversation=f"c{n}")
    kept = [n for n in range(10_000) if replies.log(str(n)) is not None]
    assert kept == list(range(10_000 - KEPT_LOGS, 10_000))


async def test_long_logs_are_kept_by_their_size(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running_module, "KEPT_BYTES", 100_000)
    replies = RunningReplies(clock)
    for n in range(50):
        await ended(replies, str(n), clock, text="x" * 30_000)
    assert [n for n in range(50) if replies.log(str(n)) is not None] == [47, 48, 49]
    await ended(replies, "huge", clock, text="x" * 1_000_000)
    assert replies.log("huge") is not None
    assert replies.log("49") is None


async def test_a_deleted_conversation_leaves_no_log_and_its_room(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running_module, "KEPT_BYTES", 100_000)
    replies = RunningReplies(clock)
    for n in range(3):
        await ended(replies, str(n), clock, "gone", "x" * 30_000)
    replies.forget("gone")
    for n in range(3, 6):
        await ended(replies, str(n), clock, "here", "x" * 30_000)
    assert [n for n in range(6) if replies.log(str(n)) is not None] == [3, 4, 5]


class Shelf:
    """A database of conversations with one message each, which counts what it is asked."""

    def __init__(self, characters: int) -> None:
        self.text = "x" * characters
        self.reads = 0

    async def conversation(self, conversation: str) -> Conversation:
        self.reads += 1
        return Conversation(conversation, "ada", "T", "default", utc(), utc(), revision=1, head="m")

    async def messages(self, conversation: str) -> list[Message]:
        return [message("m", conversation, self.text)]

    async def participants(self, conversation: str) -> list[Participant]:
        return []


async def test_conversations_in_memory_are_bounded_by_number() -> None:
    shelf = Shelf(10)
    trees = ConversationCache(shelf)  # type: ignore[arg-type]
    for n in range(TREES + 50):
        await trees.get(str(n))
    assert sum(trees.seen(str(n)) is not None for n in range(TREES + 50)) == TREES
    await trees.get(str(TREES))
    assert shelf.reads == TREES + 50


async def test_conversations_in_memory_are_bounded_by_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_module, "CHARACTERS", 100_000)
    trees = ConversationCache(Shelf(30_000))  # type: ignore[arg-type]
    for n in range(20):
        await trees.get(str(n))
    assert [n for n in range(20) if trees.seen(str(n)) is not None] == [17, 18, 19]
    for n in range(17, 20):
        trees.drop(str(n))
    for n in range(3):
        await trees.get(str(n))
    assert [n for n in range(3) if trees.seen(str(n)) is not None] == [0, 1, 2]


async def test_a_conversation_that_grows_displaces_others_and_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_module, "CHARACTERS", 100_000)
    trees = ConversationCache(Shelf(10))  # type: ignore[arg-type]
    await trees.get("other")
    grown = await trees.get("mine")
    assert grown is not None
    for n in range(2, 12):
        conversation = Conversation("mine", "ada", "T", "default", utc(), utc(), revision=n, head="m")
        trees.wrote(conversation, message(f"m{n}", "mine", "x" * 30_000, n))
    assert trees.seen("mine") is grown
    assert len(grown.messages) == 11
    assert trees.seen("other") is None


async def test_a_tree_that_was_read_before_a_write_is_not_kept() -> None:
    """The end of a reply whose conversation memory has lost, while somebody reads it."""
    shelf = Shelf(10)
    trees = ConversationCache(shelf)  # type: ignore[arg-type]
    messages = shelf.messages

    async def slow(conversation: str) -> list[Message]:
        found = await messages(conversation)
        if shelf.reads == 1:
            trees.outdated(conversation, 2)
        return found

    async def later(conversation: str) -> Conversation:
        shelf.reads += 1
        return Conversation(
            conversation, "ada", "T", "default", utc(), utc(), revision=min(shelf.reads, 2), head="m"
        )

    shelf.messages, shelf.conversation = slow, later  # type: ignore[method-assign]
    tree = await trees.get("c")
    assert tree is not None
    assert tree.conversation.revision == 2
    assert shelf.reads == 2


async def test_those_who_ask_at_once_share_one_load() -> None:
    shelf = Shelf(10)
    trees = ConversationCache(shelf)  # type: ignore[arg-type]
    found = await asyncio.gather(*(trees.get("c") for _ in range(1000)))
    assert shelf.reads == 1
    assert found == [trees.seen("c")] * 1000


async def test_one_who_gives_up_takes_the_load_from_nobody() -> None:
    trees = ConversationCache(Shelf(10))  # type: ignore[arg-type]
    first, second = (asyncio.create_task(trees.get("c")) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    assert await second is not None
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_a_load_that_fails_fails_for_all_who_asked_and_is_tried_again() -> None:
    shelf = Shelf(10)
    trees = ConversationCache(shelf)  # type: ignore[arg-type]
    messages = shelf.messages

    async def failing(conversation: str) -> list[Message]:
        raise StorageError("It is full.")

    shelf.messages = failing  # type: ignore[method-assign]
    failed = await asyncio.gather(*(trees.get("c") for _ in range(3)), return_exceptions=True)
    assert [type(each) for each in failed] == [StorageError] * 3
    shelf.messages = messages  # type: ignore[method-assign]
    assert await trees.get("c") is not None


async def test_a_conversation_that_is_created_during_a_load_is_found_by_those_who_ask_after_it() -> None:
    shelf = Shelf(10)
    trees = ConversationCache(shelf)  # type: ignore[arg-type]
    conversation, reading, may_end = shelf.conversation, asyncio.Event(), asyncio.Event()

    async def missing(name: str) -> Conversation | None:
        reading.set()
        await may_end.wait()
        return None

    shelf.conversation = missing  # type: ignore[assignment,method-assign]
    before = asyncio.create_task(trees.get("c"))
    await reading.wait()
    shelf.conversation = conversation  # type: ignore[method-assign]
    after = asyncio.create_task(trees.get("c"))
    await asyncio.sleep(0)
    may_end.set()
    assert await before is None
    assert await after is not None


async def test_one_who_asks_as_a_load_ends_starts_another() -> None:
    shelf = Shelf(10)
    trees = ConversationCache(shelf)  # type: ignore[arg-type]

    async def missing(name: str) -> None:
        shelf.reads += 1

    async def asked_a_turn_later() -> object:
        await asyncio.sleep(0)
        return await trees.get("c")

    shelf.conversation = missing  # type: ignore[assignment,method-assign]
    asked = [asyncio.create_task(trees.get("c")), asyncio.create_task(asked_a_turn_later())]
    assert await asyncio.gather(*asked) == [None, None]
    assert shelf.reads == 2
