"""The results of commands as data, beside the sentence for the user. A client shows these and never parses a sentence."""

from datetime import datetime
from typing import Literal

from msgspec import Struct

from legato.domain.participant import ParticipantRole

ExportFormat = Literal["markdown", "json"]


class InvitationData(Struct, frozen=True, tag="invitation", tag_field="type"):
    """A new invitation. `path` goes behind the address of the server; it is told this once. `seconds` is how long it is valid."""

    invitation: str
    path: str
    standing: ParticipantRole
    expires_at: datetime
    seconds: float


class ExportData(Struct, frozen=True, tag="export", tag_field="type", omit_defaults=True):
    """An export: its `content`, or the `path` to fetch it from if it is too long for an answer."""

    format: ExportFormat
    content: str | None = None
    path: str | None = None


class ModelChoice(Struct, frozen=True):
    """A model that can be chosen. `detail` is a sentence about it."""

    name: str
    detail: str | None


class ModelData(Struct, frozen=True, tag="model", tag_field="type"):
    """The model that answers from the next message on (empty: one of the engine's choice), and the others to choose from.

    `others` is None if it was not asked for or is not known now.
    """

    model: str
    others: tuple[ModelChoice, ...] | None = None


class ParticipantEntry(Struct, frozen=True):
    """A participant. `connections` is through how many they are here."""

    user: str
    name: str | None
    standing: ParticipantRole
    connections: int
    typing: bool


class ParticipantsData(Struct, frozen=True, tag="participants", tag_field="type"):
    """Who takes part in the conversation."""

    participants: tuple[ParticipantEntry, ...]


class StoppedData(Struct, frozen=True, tag="stopped", tag_field="type"):
    """The ids of the replies that were stopped."""

    messages: tuple[str, ...]


class ReplyData(Struct, frozen=True, tag="reply", tag_field="type"):
    """The id of the reply that the command started."""

    message: str


class ConversationData(Struct, frozen=True, tag="conversation", tag_field="type"):
    """A conversation that the command created or changed."""

    conversation: str
    title: str
    assistant: str


class SystemPromptData(Struct, frozen=True, tag="system_prompt", tag_field="type"):
    """The conversation's own instructions to the model, or None."""

    text: str | None


class AssistantEntry(Struct, frozen=True):
    """An assistant and its model (empty: one of the engine's choice)."""

    name: str
    model: str


class AssistantsData(Struct, frozen=True, tag="assistants", tag_field="type"):
    """The assistants of the server."""

    assistants: tuple[AssistantEntry, ...]


class ApprovalData(Struct, frozen=True, tag="approval", tag_field="type"):
    """A decision about a tool call."""

    message: str
    call: str
    tool: str
    allowed: bool


class CommandEntry(Struct, frozen=True):
    """A command: its name, how it is written with its arguments, and what it does."""

    name: str
    usage: str
    help: str
    aliases: tuple[str, ...]


class CommandsData(Struct, frozen=True, tag="commands", tag_field="type"):
    """Commands of the server."""

    commands: tuple[CommandEntry, ...]


class StatusData(Struct, frozen=True, tag="status", tag_field="type", kw_only=True):
    """How a conversation, its model and its engine are. Counts are 0 outside of a conversation."""

    conversation: str | None = None
    messages: int = 0
    running: int = 0
    participants: int = 0
    present: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    assistant: str
    model: str
    engine: str
    healthy: bool
    detail: str


CommandData = (
    InvitationData
    | ExportData
    | ModelData
    | ParticipantsData
    | StoppedData
    | ReplyData
    | ConversationData
    | SystemPromptData
    | AssistantsData
    | ApprovalData
    | CommandsData
    | StatusData
)
