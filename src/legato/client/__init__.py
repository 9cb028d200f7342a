"""The Python client of the native protocol.

    async with Client("http://127.0.0.1:8000") as client:
        reply = await client.send("Hello")
        async for event in reply:
            ...

It needs no server's code, and may be used by programs of others.
"""

from legato.client.connection import Away, Client, Connected
from legato.client.happenings import (
    ConversationGone,
    ConversationTold,
    Happening,
    MessageTold,
    PeopleTold,
    StartedOver,
    Streamed,
    TypingTold,
)
from legato.client.reply import Reply, Watch

__all__ = [
    "Away",
    "Client",
    "Connected",
    "ConversationGone",
    "ConversationTold",
    "Happening",
    "MessageTold",
    "PeopleTold",
    "Reply",
    "StartedOver",
    "Streamed",
    "TypingTold",
    "Watch",
]
