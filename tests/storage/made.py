"""Conversations, messages and turns for tests, each made from what matters in the test."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

from legato.domain.conversation import Conversation
from legato.domain.message import Message, TextPart
from legato.storage.base import LOCAL_GATEWAY, AdoptedReply, NewTurn, ReplyOwner
from legato.storage.sql import SqlStorage

NOW = datetime(2026, 3, 14, 15, 9, 26, 535897, tzinfo=UTC)

OWNER = ReplyOwner()
"""The owner of every reply that was not adopted."""


def later(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def conversation(name: str, owner: str = "ada", title: str = "", at: datetime = NOW) -> Conversation:
    return Conversation(name, owner, title, "default", at, at)


def question(name: str, text: str, of: str = "c", parent: str | None = None) -> Message:
    return Message(name, of, "user", "complete", (TextPart(text),), NOW, parent, author="ada")


def reply(name: str, of: str = "c", parent: str | None = None) -> Message:
    return Message(name, of, "assistant", "streaming", (), NOW, parent)


def ended(name: str, text: str, of: str = "c", parent: str | None = None) -> Message:
    return Message(
        name, of, "assistant", "complete", (TextPart(text),), NOW, parent, model="m", detail="Quickly."
    )


def exchange(
    number: int,
    text: str = "Why?",
    of: str = "c",
    parent: str | None = None,
    key: str | None = None,
    fingerprint: str = "same",
    title: str | None = None,
    create: Conversation | None = None,
) -> NewTurn:
    """Question `q<number>` behind `parent`, and reply `r<number>`."""
    return NewTurn(
        of,
        "ada",
        question(f"q{number}", text, of, parent),
        reply(f"r{number}", of, f"q{number}"),
        key,
        fingerprint,
        title,
        create,
    )


async def adopted(storage: SqlStorage) -> list[AdoptedReply]:
    """What a restart of the only gateway adopts."""
    return await storage.adopt(LOCAL_GATEWAY, [LOCAL_GATEWAY])


async def conversed(
    storage: SqlStorage, name: str = "c", owner: str = "ada", title: str = ""
) -> Conversation:
    """Store a conversation."""
    made = conversation(name, owner, title)
    await storage.create_conversation(made)
    return made


@asynccontextmanager
async def opened(
    url: str, lock_timeout: float = 5.0, search_timeout: float = 5.0
) -> AsyncIterator[SqlStorage]:
    """Open storage for as long as the block runs."""
    storage = SqlStorage(url, lock_timeout=lock_timeout, search_timeout=search_timeout)
    await storage.open()
    try:
        yield storage
    finally:
        await storage.close()
