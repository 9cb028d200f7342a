"""A file that a user uploaded."""

from datetime import datetime

from msgspec import Struct


class Attachment(Struct, frozen=True):
    """An uploaded file. Its bytes are stored beside the database under `digest` (SHA-256, hex).

    `media_type` is detected from the content, never taken from the sender. `size` is in bytes. `name` is the file
    name that the sender gave, if any.
    """

    id: str
    owner: str
    media_type: str
    size: int
    digest: str
    created_at: datetime
    name: str | None = None
