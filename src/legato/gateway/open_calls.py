"""Requests that are being answered under API keys. They end with their key, also those that only read a stream."""

import asyncio

from starlette.types import Message, Receive

DISCONNECT: Message = {"type": "http.disconnect"}


class OpenCall:
    """One request under a key. Once `ended` is true, the request is treated as one whose client has left."""

    def __init__(self, calls: "OpenCalls", key: str) -> None:
        self.key = key
        self.ended = False
        self._calls = calls
        self._receiving: asyncio.Future[Message] | None = None

    def end(self) -> None:
        """End the request, because its key is not valid any more."""
        self.ended = True
        if self._receiving is not None:
            self._receiving.cancel()

    def close(self) -> None:
        """Forget the request: it was answered."""
        self._calls.leave(self)

    async def receive(self, receive: Receive) -> Message:
        """Return the next message of the client, or that it has left if the request was ended."""
        if self.ended:
            return DISCONNECT
        self._receiving = asyncio.ensure_future(receive())
        try:
            return await self._receiving
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if not self.ended or (task is not None and task.cancelling()):
                raise
            return DISCONNECT
        finally:
            self._receiving = None


class OpenCalls:
    """The requests that are being answered, by their key."""

    def __init__(self) -> None:
        self._open: dict[str, set[OpenCall]] = {}

    @property
    def keys(self) -> set[str]:
        return set(self._open)

    def enter(self, key: str) -> OpenCall:
        """Add a request. `close` of the call removes it."""
        call = OpenCall(self, key)
        self._open.setdefault(key, set()).add(call)
        return call

    def leave(self, call: OpenCall) -> None:
        """Remove a request."""
        calls = self._open.get(call.key, set())
        calls.discard(call)
        if not calls:
            self._open.pop(call.key, None)

    def end(self, keys: set[str]) -> None:
        """End the requests of keys that are not valid any more."""
        for key in keys:
            for call in list(self._open.get(key, ())):
                call.end()
