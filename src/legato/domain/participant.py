"""A user's place in a conversation."""

from datetime import datetime
from typing import Literal

from msgspec import Struct

ParticipantRole = Literal["owner", "member", "viewer"]
"""What a participant may do: the owner everything, members write, viewers read."""

READ_ONLY = "You can read this conversation, but not write in it. Its owner can change that."
"""The sentence for a viewer who tries to write."""

NOT_FOUND = "There is no such conversation."
"""The sentence for a user who takes no part in a conversation, and for one that does not exist."""

OWNER_ONLY = "Only the owner of this conversation can do that."

OWNER_STAYS = "This conversation is yours. Make somebody else in it the owner first, or delete it."
"""The sentence for an owner who leaves."""

Needs = Literal["nothing", "read", "write", "own"]
"""What a user must be allowed to do in a conversation."""

MAX_PARTICIPANTS = 500
"""Maximum participants of a conversation beside its owner. The limit exists because each is notified of all others."""


class Participant(Struct, frozen=True):
    """A user who takes part in a conversation. `name` is the display name, None if it is unknown."""

    conversation: str
    user: str
    role: ParticipantRole
    joined_at: datetime
    name: str | None = None
