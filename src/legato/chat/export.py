"""A conversation as text to keep."""

from legato.chat.conversation import Tree
from legato.message import text_of


def as_markdown(tree: Tree) -> str:
    """The branch that is shown, a heading for each message."""
    lines = [f"# {tree.conversation.title or 'Conversation'}", ""]
    for message in tree.path():
        who = {"user": "You", "assistant": message.model or "Assistant"}.get(message.role, message.role)
        note = "" if message.status == "complete" else f" ({message.status})"
        lines += [f"## {who}{note}", "", text_of(message.parts), ""]
    return "\n".join(lines)
