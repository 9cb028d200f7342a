"""Export of a conversation as text."""

from collections.abc import Iterator

import msgspec

from legato.chat.message_tree import MessageTree
from legato.domain.message import AudioPart, FilePart, ImagePart, Part, TextPart, text_of

PIECE_CHARACTERS = 32 * 1024


def as_json(tree: MessageTree) -> str:
    """Return every message of every branch, in JSON."""
    conversation = tree.conversation
    messages = [
        {"text": text_of(message.parts), **msgspec.to_builtins(message)} for message in tree.messages.values()
    ]
    whole = {
        "id": conversation.id,
        "title": conversation.title,
        "assistant": conversation.assistant,
        "created_at": conversation.created_at,
        "updated_at": conversation.updated_at,
        "head": conversation.head,
        "messages": messages,
    }
    return msgspec.json.format(msgspec.json.encode(whole), indent=2).decode()


def as_markdown(tree: MessageTree, reader: str) -> str:
    """Return the shown branch in Markdown, with a heading for each message: "You" for those of the user `reader`, else the name of the writer."""
    return "".join(markdown_pieces(tree, reader))


def markdown_pieces(tree: MessageTree, reader: str) -> Iterator[str]:
    """Return what `as_markdown` does, in pieces of at most `PIECE_CHARACTERS` characters of a message."""
    yield f"# {tree.conversation.title or 'Conversation'}\n"
    for message in tree.path():
        match message.role:
            case "user":
                who = _writer(tree, message.author or tree.conversation.owner, reader)
            case "assistant":
                who = message.model or "Assistant"
            case role:
                who = role
        note = "" if message.status == "complete" else f" ({message.status})"
        yield f"\n## {who}{note}\n\n"
        text = _text(message.parts)
        for start in range(0, len(text), PIECE_CHARACTERS):
            yield text[start : start + PIECE_CHARACTERS]
        yield "\n"


def _writer(tree: MessageTree, user: str, reader: str) -> str:
    if user == reader:
        return "You"
    known = tree.participants.get(user)
    return known.name if known is not None and known.name else user


def _text(parts: tuple[Part, ...]) -> str:
    pieces: list[str] = []
    for part in parts:
        match part:
            case TextPart():
                pieces.append(part.text)
            case ImagePart():
                pieces.append("\n\n*(a picture)*\n\n")
            case FilePart():
                pieces.append(f"\n\n*(the file {part.name or part.attachment})*\n\n")
            case AudioPart(transcript=None):
                pieces.append("\n\n*(a recording)*\n\n")
            case AudioPart():
                pieces.append(f"\n\n*(a recording)* {part.transcript}\n\n")
    return "".join(pieces).strip("\n")
