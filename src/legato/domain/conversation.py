"""A conversation and the settings that its participants change."""

from datetime import datetime
from typing import Literal

from msgspec import Struct


class ConversationSettings(Struct, frozen=True, omit_defaults=True):
    """What was set for one conversation.

    `model` answers in place of the assistant's model. `system` is an additional system prompt, read after the
    assistant's own. `cleared` is the id of a message: the model reads neither it nor any message before it.
    """

    model: str | None = None
    system: str | None = None
    cleared: str | None = None


SettingName = Literal["model", "system", "cleared"]


class Conversation(Struct, frozen=True):
    """A tree of messages with an owner.

    `head` is the last message of the branch that is shown. `revision` counts every change of the conversation or of
    one of its messages. Times are UTC.
    """

    id: str
    owner: str
    title: str
    assistant: str
    created_at: datetime
    updated_at: datetime
    revision: int = 0
    head: str | None = None
    settings: ConversationSettings = ConversationSettings()
