"""The formats of responses by name, so that a stored response can be ended by a server that did not begin it."""

from collections.abc import Callable, Mapping
from typing import Any

from legato.api.ai.ui_message_codec import UiMessageCodec
from legato.api.anthropic.messages_codec import MessageCodec, MessageEventsCodec
from legato.api.codec import ResponseCodec
from legato.api.ollama.reply_codec import ReplyLinesCodec, ReplyObjectCodec
from legato.api.openai.chat_codec import ChatChunkCodec, ChatCompletionCodec
from legato.api.openai.completion_codec import TextChunkCodec, TextCompletionCodec
from legato.api.openai.responses_codec import ResponsesCodec

MakeCodec = Callable[..., ResponseCodec]
"""Makes the codec of one response from its id, its time in seconds since the epoch, the name of the model that the client asked
for, and keywords: JSON values that the call chose, which are stored with the response.
"""

FORMATS: Mapping[str, MakeCodec] = {
    "ai.chat.stream": UiMessageCodec,
    "anthropic.messages": MessageCodec,
    "anthropic.messages.stream": MessageEventsCodec,
    "ollama.reply": ReplyObjectCodec,
    "ollama.reply.stream": ReplyLinesCodec,
    "openai.chat": ChatCompletionCodec,
    "openai.chat.stream": ChatChunkCodec,
    "openai.responses": ResponsesCodec,
    "openai.completion": TextCompletionCodec,
    "openai.completion.stream": TextChunkCodec,
}


def make_codec(
    name: str, stream_id: str, created: float, model: str, options: Mapping[str, Any]
) -> ResponseCodec:
    """Return a codec of the format `name`.

    :raises KeyError: there is no such format.
    """
    return FORMATS[name](stream_id, created, model, **options)
