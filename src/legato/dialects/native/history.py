"""The history of a conversation in frames of bounded size."""

from legato.domain.message import ImagePart, Part, TextPart, ToolCallPart, ToolResultPart
from legato.protocol.messages import MessageView

PAGE_CHARACTERS = 100_000
"""Characters of a page, about. Each page is sent when the socket is writable."""


def pages_of(messages: list[MessageView]) -> list[list[MessageView]]:
    """Return the messages in pages of about `PAGE_CHARACTERS`; at least one page."""
    pages: list[list[MessageView]] = [[]]
    size = 0
    for message in messages:
        parts = sum(map(_weight, message.parts))
        length = len(message.text) + len(message.reasoning) + parts + 500
        if size and size + length > PAGE_CHARACTERS:
            pages.append([])
            size = 0
        pages[-1].append(message)
        size += length
    return pages


def _weight(part: Part) -> int:
    """Return about how many characters a part has."""
    match part:
        case TextPart(text=text) | ToolCallPart(arguments=text) | ToolResultPart(output=text):
            return len(text)
        case ImagePart(data=data):
            return len(data)
        case _:
            return 0
