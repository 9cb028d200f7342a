"""The messages of a conversation as a tree, and the part of it that a model reads. Pure values."""

from collections.abc import Iterable

from legato.domain.conversation import Conversation
from legato.domain.message import AudioPart, ImagePart, Message, Part, TextPart, ToolCallPart, ToolResultPart
from legato.domain.participant import Participant, ParticipantRole
from legato.engines.base import Capabilities, Turn

BYTES_PER_TOKEN = 3.0
"""A cautious estimate in bytes of UTF-8, by script: three ASCII letters, one and a half of Cyrillic or Arabic, and one
character of Chinese, Japanese, Korean, Hindi or Thai are a token. A model rarely reads more tokens than this says."""

TOKENS_PER_IMAGE = 1000
TOKENS_PER_RECORDING = 1000
TOKENS_PER_NOTE = 25
"""Tokens of the note about a picture or a recording that the model does not get."""

REPLY_SHARE = 0.25
"""Share of the context that is left for the answer if its length is not set."""


class MessageTree:
    """A conversation with all its messages and participants.

    Messages come in the order they were made; a later one of the same id replaces. `participants` are those who joined,
    by user, and are written by `Trees` alone.
    """

    __slots__ = ("characters", "conversation", "messages", "participants")

    def __init__(
        self,
        conversation: Conversation,
        messages: Iterable[Message] = (),
        participants: Iterable[Participant] = (),
    ) -> None:
        self.conversation = conversation
        self.participants = {each.user: each for each in participants}
        self.messages: dict[str, Message] = {}
        self.characters = 0
        for message in messages:
            self.put(message)

    def put(self, message: Message) -> None:
        """Add or replace a message. `characters` counts approximately what all messages hold."""
        before = self.messages.get(message.id)
        self.messages[message.id] = message
        self.characters += weight(message) - (weight(before) if before is not None else 0)

    def role(self, user: str) -> ParticipantRole | None:
        """Return the role of a user, or None if the user takes no part. Only the conversation says who its owner is."""
        if user == self.conversation.owner:
            return "owner"
        joined = self.participants.get(user)
        if joined is None:
            return None
        return "member" if joined.role == "owner" else joined.role

    def people(self) -> list[Participant]:
        """Return the owner, then those who joined, in the order in which they came."""
        mine = self.conversation
        known = self.participants.get(mine.owner)
        owner = Participant(mine.id, mine.owner, "owner", mine.created_at, known.name if known else None)
        return [owner, *(each for each in self.participants.values() if each.user != mine.owner)]

    def path(self, leaf: str | None = None) -> list[Message]:
        """Return the branch that ends in `leaf` (None: the shown one), first message first."""
        branch: list[Message] = []
        at = leaf if leaf is not None else self.conversation.head
        seen: set[str] = set()
        while at is not None and at not in seen and (message := self.messages.get(at)) is not None:
            seen.add(at)
            branch.append(message)
            at = message.parent
        branch.reverse()
        return branch

    def behind(self, message: str) -> list[Message] | None:
        """Return the messages of the shown branch that stand behind one of it; None if it is not in that branch."""
        path = self.path()
        place = next((n for n, each in enumerate(path) if each.id == message), None)
        return None if place is None else path[place + 1 :]


def weight(message: Message) -> int:
    """Return approximately how many characters a message holds."""
    total = len(message.reasoning)
    for part in message.parts:
        match part:
            case TextPart(text=text):
                total += len(text)
            case ImagePart(data=data):
                total += len(data)
            case AudioPart(data=data, transcript=text):
                total += len(data) + len(text or "")
            case ToolCallPart(arguments=text) | ToolResultPart(output=text):
                total += len(text)
    return total + 500


def utf8_length(text: str) -> int:
    """Return how many bytes a text has in UTF-8."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "replace"))


def size(parts: tuple[Part, ...]) -> float:
    """Return approximately how many tokens these parts are for a model."""
    total = 4.0
    for part in parts:
        match part:
            case TextPart(text=text):
                total += utf8_length(text) / BYTES_PER_TOKEN
            case ImagePart(data=data):
                total += TOKENS_PER_IMAGE if data else TOKENS_PER_NOTE
            case AudioPart(data=data):
                total += TOKENS_PER_RECORDING if data else TOKENS_PER_NOTE
            case ToolCallPart(arguments=text) | ToolResultPart(output=text):
                total += utf8_length(text) / BYTES_PER_TOKEN
    return total


def budget(capabilities: Capabilities, options: dict[str, object]) -> float | None:
    """Return how many tokens of history fit: the model's context, or a smaller `num_ctx`, less room for the answer. None: it is not known."""
    sizes = [capabilities.context, options.get("num_ctx")]
    known = [value for value in sizes if isinstance(value, int) and value > 0]
    if not known:
        return None
    context = min(known)
    length = options.get("num_predict", options.get("max_tokens"))
    room = length if isinstance(length, int) and 0 < length < context / 2 else context * REPLY_SHARE
    return context - room


def window(
    branch: list[Message], system: str | None, history: int, tokens: float | None = None
) -> tuple[Turn, ...]:
    """Return what a model is given: the system prompt, then the last `history` messages that fit into `tokens`.

    The last message is always in it, whatever its size. Replies without a word are left out.
    """
    turns: list[Turn] = []
    room = tokens - size((TextPart(system),)) if tokens is not None and system else tokens
    for message in reversed(branch):
        if not message.parts:
            continue
        if turns and len(turns) >= history:
            break
        cost = size(message.parts)
        if turns and room is not None and cost > room:
            break
        if room is not None:
            room -= cost
        turns.append(Turn(message.role, message.parts))
    if system:
        turns.append(Turn("system", (TextPart(system),)))
    turns.reverse()
    return tuple(turns)
