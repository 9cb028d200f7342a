"""The Python client of the native protocol.

    async with Client("http://127.0.0.1:8000") as client:
        reply = await client.send("Hello")
        async for event in reply:
            ...

It imports nothing of the server, and is public: other programs may use it.
"""

from legato.client.client import Client
from legato.client.connection import ClientConnected, ConnectionChange, Disconnected
from legato.client.events import (
    ClientEvent,
    ConversationRemoved,
    ConversationUpdated,
    MessageUpdated,
    ParticipantsUpdated,
    StreamAdvanced,
    StreamRestarted,
    TypingUpdated,
)
from legato.client.reply import ClientReply
from legato.client.subscription import ConversationSubscription

__all__ = [
    "Client",
    "ClientConnected",
    "ClientEvent",
    "ClientReply",
    "ConnectionChange",
    "ConversationRemoved",
    "ConversationSubscription",
    "ConversationUpdated",
    "Disconnected",
    "MessageUpdated",
    "ParticipantsUpdated",
    "StreamAdvanced",
    "StreamRestarted",
    "TypingUpdated",
]
