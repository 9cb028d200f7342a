"""The assistants of a server, by name."""

import copy
from collections.abc import Mapping

from msgspec.structs import replace

from legato.chat.reply import ResolvedAssistant
from legato.domain.conversation import Conversation, ConversationSettings
from legato.engines.fallback import FallbackEngine
from legato.errors import InvalidError

DEFAULT = "default"
"""The assistant of a conversation that names none. It is always set up."""


class Assistants:
    """Finds the assistant of a conversation."""

    def __init__(self, assistants: Mapping[str, ResolvedAssistant]) -> None:
        self.all = assistants

    def named(self, name: str | None) -> ResolvedAssistant:
        """Return the assistant for a new conversation; the default one for None.

        :raises InvalidError: there is no such assistant.
        """
        name = name if name is not None else DEFAULT
        if name not in self.all:
            known = ", ".join(sorted(self.all))
            raise InvalidError(f"There is no assistant called {name[:80]!r}. There is: {known}.")
        return self.all[name]

    def of(self, conversation: Conversation) -> ResolvedAssistant:
        """Return the assistant of a conversation, with the conversation's settings.

        It is the default assistant if the conversation's own is no longer set up.
        """
        return self.configured(conversation) or with_settings(self.all[DEFAULT], conversation.settings)

    def configured(self, conversation: Conversation) -> ResolvedAssistant | None:
        """Return the same, or None if the conversation's own assistant is no longer set up."""
        assistant = self.all.get(conversation.assistant)
        return with_settings(assistant, conversation.settings) if assistant is not None else None


def with_settings(assistant: ResolvedAssistant, settings: ConversationSettings) -> ResolvedAssistant:
    """Return the assistant of one conversation. The conversation's system prompt comes behind the assistant's own, never in place of it."""
    if settings.model is None and settings.system is None:
        return assistant
    other = copy.copy(assistant)
    if settings.model is not None:
        other.model = settings.model
        if isinstance(assistant.engine, FallbackEngine):
            other.engine = assistant.engine.with_model(settings.model)
    if settings.system is not None:
        system = "\n\n".join(filter(None, (assistant.config.system, settings.system)))
        other.config = replace(assistant.config, system=system)
    return other
