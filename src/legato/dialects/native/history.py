"""The history of a conversation in frames of bounded size."""

from legato.domain.message import ImagePart
from legato.protocol.messages import MessageView

PAGE_CHARACTERS = 100_000
"""Characters of a page, about. Each page is sent when the socket is writable."""


def pages_of(messages: list[MessageView]) -> list[list[MessageView]]:
    """Return the messages in pages of about `PAGE_CHARACTERS`; at least one page."""
    pages: list[list[MessageView]] = [[]]
    size = 0
    for message in messages:
        images = sum(len(part.data) for part in message.parts if isinstance(part, ImagePart))
        length = 2 * len(message.text) + len(message.reasoning) + images + 500
        if size and size + length > PAGE_CHARACTERS:
            pages.append([])
            size = 0
        pages[-1].append(message)
        size += length
    return pages
