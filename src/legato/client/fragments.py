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
        self._characters = 0

    def add(self, fragment: Fragment) -> ServerMessage | None:
        """Return the message whose last fragment this is.

        :raises msgspec.DecodeError: the joined text is not a message.
        """
        texts = self._texts.setdefault(fragment.group, [])
        if self._characters + len(fragment.text) <= MAX_CHARACTERS:
            texts.append(fragment.text)
            self._characters += len(fragment.text)
        if fragment.more:
            return None
        del self._texts[fragment.group]
        self._characters -= sum(map(len, texts))
        message: ServerMessage = _decode("".join(texts))
        return message
