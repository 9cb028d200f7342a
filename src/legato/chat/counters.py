"""Numbers of what happened since the server started."""

from collections import Counter
from typing import Literal

from legato.stream import Finished, Terminal

End = Literal["stop", "length", "stopped", "failed"]


class Counters:
    """Counted at the end of a reply, never at a token.

    `messages` are those that people sent, `replies` those that ended, by assistant and by how. `tokens` are those of ended
    replies, as the engine counts them; where it does not, the pieces in which they came.
    """

    def __init__(self) -> None:
        self.messages = 0
        self.replies: Counter[tuple[str, End]] = Counter()
        self.tokens: Counter[str] = Counter()

    def ended(self, assistant: str, end: Terminal, pieces: int) -> None:
        """Count a reply that ended and was stored."""
        usage = end.usage if isinstance(end, Finished) else None
        reason: End = end.reason if isinstance(end, Finished) else "failed"
        self.replies[assistant, reason] += 1
        self.tokens[assistant] += (usage.completion_tokens if usage is not None else None) or pieces
