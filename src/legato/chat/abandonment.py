"""What becomes of a running reply when nobody watches any more: its assistant says."""

import asyncio

from legato.chat.running_replies import RunningReplies
from legato.chat.watchers import Watchers

ARRIVAL_SECONDS = 5.0
"""How long, where a reply is cancelled that nobody watches, whoever asked for it has to come and watch. Who sends a
message by HTTP follows its reply in a second request."""

RETURN_SECONDS = 60.0
"""How long they have to come back to a server that was started again: clients try every 30 s."""


class Abandonment:
    """Cancels at once, after a while of grace, or never."""

    def __init__(self, audience: Watchers, replies: RunningReplies) -> None:
        self._audience = audience
        self._replies = replies
        self._graces: dict[str, asyncio.TimerHandle] = {}
        self._draining = False
        self._closed = False

    def drain(self) -> None:
        """Ignore viewers who leave from now on: it is the server that leaves, and they come back to the next."""
        self._draining = True

    def begin(self, conversation: str) -> None:
        """The last one who watched has left."""
        if self._draining:
            return
        for reply in self._replies.of(conversation):
            config = reply.assistant.config
            if config.on_unwatched == "cancel":
                reply.end("unwatched")
            elif config.on_unwatched == "grace" and conversation not in self._graces:
                self._start(conversation, config.grace_seconds)

    def expect(self, conversation: str, *, back: bool = False) -> None:
        """A reply begins that nobody watches yet; with `back` it goes on after a restart, and its viewers are to come back."""
        for reply in self._replies.of(conversation):
            config = reply.assistant.config
            if config.on_unwatched == "continue" or conversation in self._graces:
                continue
            seconds = config.grace_seconds if config.on_unwatched == "grace" else ARRIVAL_SECONDS
            if back:
                seconds = max(seconds, RETURN_SECONDS)
            self._start(conversation, seconds)

    def end(self, conversation: str) -> None:
        """Somebody watches again."""
        if (grace := self._graces.pop(conversation, None)) is not None:
            grace.cancel()

    def close(self) -> None:
        """End nothing any more."""
        self._closed = True
        for grace in self._graces.values():
            grace.cancel()

    def _start(self, conversation: str, seconds: float) -> None:
        if self._closed:
            return
        loop = asyncio.get_running_loop()
        self._graces[conversation] = loop.call_later(seconds, self._over, conversation)

    def _over(self, conversation: str) -> None:
        self._graces.pop(conversation, None)
        if not self._audience.watched(conversation):
            for reply in self._replies.of(conversation):
                if reply.assistant.config.on_unwatched != "continue":
                    reply.end("unwatched")
