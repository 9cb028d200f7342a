"""What a model is given for a reply: decided here before an engine is asked."""

from collections.abc import Mapping, Sequence

from msgspec.structs import replace

from legato.chat.context_window import ContextWindow, Prompt, assemble
from legato.chat.conversation_cache import ConversationCache
from legato.chat.disclaimer import without_disclaimer
from legato.chat.media_input import MediaInput
from legato.chat.message_tree import utf8_length
from legato.chat.reply import Reply
from legato.chat.tool_calls import before_and_tail
from legato.domain.message import AudioPart, ImagePart, Message
from legato.engines.base import Capabilities, Request
from legato.tools.base import Tool

SHORT = 4000
"""Bytes of history below which no model's context needs to be asked for."""


class PromptHistory:
    """Reads the history of a reply and prepares it for the reply's model."""

    def __init__(self, cache: ConversationCache, media_input: MediaInput) -> None:
        self._cache = cache
        self._media_input = media_input

    async def read(self, reply: Reply) -> list[Message]:
        """Return the branch that the reply stands behind, first message first, as its model takes it.

        :raises LegatoError: the history cannot be read, or the last message is nothing but what the model cannot perceive.
        """
        tree = await self._cache.get(reply.message.conversation)
        if tree is None:
            return []
        branch = after_cleared(tree.path(reply.message.parent), tree.conversation.settings.cleared)
        disclaimer = reply.assistant.config.disclaimer
        if disclaimer:
            branch = [without_disclaimer(message, disclaimer) for message in branch]
        return await self._media_input.prepare(reply, branch)


def after_cleared(branch: list[Message], cleared: str | None) -> list[Message]:
    """Return what the model reads of a branch: what stands behind the message `cleared`, or all of it."""
    places = (place for place, message in enumerate(branch) if message.id == cleared)
    return branch[next(places, -1) + 1 :]


async def make_request(
    reply: Reply, history: Sequence[Message], tools: Mapping[str, Tool], window: ContextWindow
) -> tuple[Request, Prompt]:
    """Return the next request to the engine, and its prompt: as much of the history as fits into the window, what the reply
    says so far, and the tools.

    :raises EngineError: the engine cannot be asked for the size of the model's context.
    """
    assistant, config = reply.assistant, reply.assistant.config
    done, prefix = before_and_tail(reply.written.snapshot())
    parts = [*(part for message in history for part in message.parts), *done]
    characters = sum(
        utf8_length(getattr(part, "text", "")) + utf8_length(getattr(part, "output", "")) for part in parts
    )
    media = any(isinstance(part, ImagePart | AudioPart) for part in parts)
    capabilities = Capabilities()
    if characters > SHORT or media:
        capabilities = await assistant.engine.capabilities(assistant.model)
    room = window.room(capabilities, config.options)
    prompt = assemble(history, config.system, config.history, room, done)
    request = Request(
        model=assistant.model,
        turns=prompt.turns,
        prefix=prefix,
        options=config.options,
        tools=tuple(replace(tool.spec, name=name) for name, tool in tools.items()),
        think=config.think,
        keep_alive=config.keep_alive,
        conversation=reply.message.conversation,
        user=reply.user,
    )
    return request, prompt
