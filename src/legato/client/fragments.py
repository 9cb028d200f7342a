"""Joins the fragments of frames that were too long for one. Pure values."""

import msgspec

from legato.protocol.messages import Fragment, ServerMessage

MAX_CHARACTERS = 64 * 1024 * 1024
"""The longest frame, joined. The fragments of a longer one are dropped."""

_decode = msgspec.json.Decoder(ServerMessage).decode


class FragmentJoiner:
    """Collects the fragments of one connection."""

    def __init__(self) -> None:
        self._texts: dict[str, list[str]] = {}
        self._dropped: set[str] = set()
        self._characters = 0

    def add(self, fragment: Fragment) -> ServerMessage | None:
        """Return the message whose last fragment this is; None for any other one, and for a message that is too long.

        :raises msgspec.DecodeError: the joined text is not a message.
        """
        texts = self._texts.setdefault(fragment.group, [])
        if self._characters + len(fragment.text) <= MAX_CHARACTERS:
            texts.append(fragment.text)
            self._characters += len(fragment.text)
        else:
            self._dropped.add(fragment.group)
        if fragment.more:
            return None
        del self._texts[fragment.group]
        self._characters -= sum(map(len, texts))
        if fragment.group in self._dropped:
            self._dropped.discard(fragment.group)
            return None
        message: ServerMessage = _decode("".join(texts))
        return message
