"""The formats of responses by name, so that a stored response can be ended by a server that did not begin it."""

from collections.abc import Callable, Mapping
from typing import Any

from legato.api.ai.ui_message_codec import UiMessageCodec
from legato.api.anthropic.messages_codec import MessageEventsCodec, message_codec
from legato.api.codec import ResponseCodec
from legato.api.ollama.reply_codec import ReplyLinesCodec, reply_object_codec
from legato.api.openai.chat_codec import ChatChunkCodec, chat_completion_codec
from legato.api.openai.completion_codec import TextChunkCodec, text_completion_codec
from legato.api.openai.responses_codec import ResponsesCodec

MakeCodec = Callable[..., ResponseCodec]
"""Makes the codec of one response from its id, its time in seconds since the epoch, the name of the model that the client asked
for, and keywords: JSON values that the call chose, which are stored with the response.
"""

FORMATS: Mapping[str, MakeCodec] = {
    "ai.chat.stream": UiMessageCodec,
    "anthropic.messages": message_codec,
    "anthropic.messages.stream": MessageEventsCodec,
    "ollama.reply": reply_object_codec,
    "ollama.reply.stream": ReplyLinesCodec,
    "openai.chat": chat_completion_codec,
    "openai.chat.stream": ChatChunkCodec,
    "openai.responses": ResponsesCodec,
    "openai.completion": text_completion_codec,
    "openai.completion.stream": TextChunkCodec,
}


def make_codec(
    name: str, stream_id: str, created: float, model: str, options: Mapping[str, Any]
) -> ResponseCodec:
    """Return a codec of the format `name`.

    :raises KeyError: there is no such format.
    """
    return FORMATS[name](stream_id, created, model, **options)
