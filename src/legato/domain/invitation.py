"""A link that lets users join a conversation."""

from datetime import datetime

from msgspec import Struct

from legato.domain.participant import ParticipantRole


class Invitation(Struct, frozen=True):
    """A link by which any user who has it joins a conversation with `role` (never as owner) until `expires_at`.

    `id` identifies it in lists and when it is revoked. Of its secret only `digest` is stored (SHA-256, hex).
    """

    id: str
    digest: str
    conversation: str
    role: ParticipantRole
    created_at: datetime
    expires_at: datetime
