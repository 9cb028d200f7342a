"""A conversation as text to keep."""

from datetime import UTC, datetime

from legato.chat.export import as_markdown
from legato.chat.message_tree import MessageTree
from legato.domain.conversation import Conversation
from legato.domain.message import Message, TextPart
from legato.domain.participant import Participant

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def headings(tree: MessageTree, reader: str) -> list[str]:
    return [line[3:] for line in as_markdown(tree, reader).splitlines() if line.startswith("## ")]


def test_words_stand_below_whoever_said_them_and_you_is_who_reads() -> None:
    messages = [
        Message(
            str(number),
            "c",
            "user",
            "complete",
            (TextPart("x"),),
            NOW,
            str(number - 1) if number else None,
            author=who,
        )
        for number, who in enumerate(["ada", "bob", "eve", None])
    ]
    joined = [Participant("c", "bob", "member", NOW, "Bob B."), Participant("c", "eve", "member", NOW)]
    tree = MessageTree(Conversation("c", "ada", "", "default", NOW, NOW, head="3"), messages, joined)
    assert headings(tree, "ada") == ["You", "Bob B.", "eve", "You"]
    assert headings(tree, "bob") == ["ada", "You", "eve", "ada"]
