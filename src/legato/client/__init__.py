"""The Python client of the native protocol.

    async with Client("http://127.0.0.1:8000") as client:
        reply = await client.send("Hello")
        async for event in reply:
            ...

It needs no server's code, and may be used by programs of others.
"""

from legato.client.connection import Client, ClientConnected, Disconnected
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
from legato.client.reply import ClientReply, ConversationSubscription

__all__ = [
    "Client",
    "ClientConnected",
    "ClientEvent",
    "ClientReply",
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
