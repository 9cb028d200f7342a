"""The chats of the Vercel AI SDK: which stream each of them shows, as far as anybody may still ask for it."""

import asyncio
from typing import Any
from weakref import WeakValueDictionary

import msgspec
from msgspec import Struct

from legato.api.ai.errors import ChatStoppedError
from legato.api.call import Call
from legato.api.generation import ServerStoppedError
from legato.api.generations import Generations
from legato.api.response_stream import ResponseStream
from legato.errors import NotFoundError
from legato.storage.api_base import ApiStreamStore

CHATS = 10_000
"""Chats that are remembered at once; those whose last reply began first are forgotten first."""

CONTINUED_BYTES = 256 * 1024
"""The longest message whose earlier parts are kept for a replay. Pages send what they like in their tools' results."""

RESTARTED = "Another message was sent to this chat, so this reply was ended."
STOPPED = "The reply was stopped."


def chat_document(chat: str, continued: dict[str, Any] | None) -> dict[str, Any]:
    """Return what is kept of a request: its chat, and the message that the reply goes on with, unless that is too long."""
    if continued is None or len(msgspec.json.encode(continued)) > CONTINUED_BYTES:
        return {"chat": chat}
    return {"chat": chat, "continued": continued}


def chat_of(document: Any) -> str:
    """Return the chat of a document."""
    return str(document["chat"]) if isinstance(document, dict) else ""


def continued_message(document: Any) -> dict[str, Any] | None:
    """Return the message of a document that the reply goes on with, None if it is a new one."""
    found = document.get("continued") if isinstance(document, dict) else None
    return found if isinstance(found, dict) else None


class _ChatStream(Struct, frozen=True):
    stream: str
    key: str | None = None


class AiChatTable:
    """Knows the last stream of each chat of each owner, until its end was sent to a client.

    A chat has one running generation: a new one ends the one that still runs. A stream that ended without a reader is kept for
    the next one. What a restart of the server ended is told once more, too.
    """

    def __init__(self, generations: Generations, store: ApiStreamStore) -> None:
        self._generations = generations
        self._store = store
        self._streams: dict[tuple[str, str], _ChatStream] = {}
        self._locks: WeakValueDictionary[tuple[str, str], asyncio.Lock] = WeakValueDictionary()

    async def open(self, since: float) -> None:
        """Remember the streams since `since` (seconds since the epoch) that an earlier server did not complete.

        :raises StorageError: the database failed.
        """
        for stored in await self._store.failed_streams("ai", since, CHATS):
            if stored.error is not None and stored.error[0] == ServerStoppedError.code:
                self._remember(
                    (stored.owner, chat_of(stored.request)), _ChatStream(stored.id, stored.idempotency_key)
                )

    async def start(self, chat: str, call: Call) -> ResponseStream:
        """Start a generation in place of the one that runs in this chat. The same idempotency key attaches to the running one.

        :raises LegatoError: as `Generations.start` does.
        """
        name = (call.caller.user, chat)
        async with self._locks.setdefault(name, asyncio.Lock()):
            known = self._streams.get(name)
            if known is not None and (call.idempotency_key is None or known.key != call.idempotency_key):
                await self._end(name, known, RESTARTED)
            stream = await self._generations.start(call)
            self._remember(name, _ChatStream(stream.id, call.idempotency_key))
            return stream

    async def find(self, owner: str, chat: str) -> ResponseStream | None:
        """Return the stream of a chat. None: nothing runs, and the end of the last one was told; the same for a chat of another owner."""
        name = (owner, chat)
        known = self._streams.get(name)
        if known is None:
            return None
        try:
            return await self._generations.find(owner, known.stream)
        except NotFoundError:
            self._forget(name, known)
            return None

    def told(self, chat: str, stream: ResponseStream) -> None:
        """Forget a stream whose end was sent to somebody."""
        name = (stream.owner, chat)
        known = self._streams.get(name)
        if known is not None and known.stream == stream.id:
            del self._streams[name]

    async def stop(self, owner: str, chat: str) -> None:
        """End the generation of a chat, down to the engine, and forget it. If nothing runs there, do nothing."""
        name = (owner, chat)
        known = self._streams.get(name)
        if known is not None:
            await self._end(name, known, STOPPED)

    async def _end(self, name: tuple[str, str], known: _ChatStream, why: str) -> None:
        self._forget(name, known)
        try:
            await self._generations.cancel(name[0], known.stream, ChatStoppedError(why))
        except NotFoundError:
            return

    def _remember(self, name: tuple[str, str], stream: _ChatStream) -> None:
        self._streams.pop(name, None)
        self._streams[name] = stream
        while len(self._streams) > CHATS:
            del self._streams[next(iter(self._streams))]

    def _forget(self, name: tuple[str, str], known: _ChatStream) -> None:
        if self._streams.get(name) is known:
            del self._streams[name]
