"""What becomes of a running reply when nobody watches any more: its assistant says."""

import asyncio

from legato.chat.audience import Audience
from legato.chat.replies import Replies


class Unwatched:
    """Cancels at once, after a while of grace, or never."""

    def __init__(self, audience: Audience, replies: Replies) -> None:
        self._audience = audience
        self._replies = replies
        self._graces: dict[str, asyncio.TimerHandle] = {}

    def begin(self, conversation: str) -> None:
        """The last one who watched has left."""
        for reply in self._replies.of(conversation):
            assistant = reply.speaker.assistant
            if assistant.on_unwatched == "cancel":
                reply.end("unwatched")
            elif assistant.on_unwatched == "grace" and conversation not in self._graces:
                self._graces[conversation] = asyncio.get_running_loop().call_later(
                    assistant.grace_seconds, self._over, conversation
                )

    def end(self, conversation: str) -> None:
        """Somebody watches again."""
        if (grace := self._graces.pop(conversation, None)) is not None:
            grace.cancel()

    def close(self) -> None:
        for grace in self._graces.values():
            grace.cancel()

    def _over(self, conversation: str) -> None:
        self._graces.pop(conversation, None)
        if not self._audience.watched(conversation):
            for reply in self._replies.of(conversation):
                reply.end("unwatched")
