"""The JSON of messages in pieces of bounded size, however long a message is."""

from collections.abc import Callable, Iterable, Iterator
from secrets import token_hex

import msgspec
from msgspec.structs import replace

from legato.dialects.serializers import message_view
from legato.domain.message import AudioPart, Message, Part, TextPart, ToolCallPart, ToolResultPart

PIECE_CHARACTERS = 32 * 1024
"""Characters of text that are encoded at once. A longer text is encoded in several pieces."""

_encode = msgspec.json.Encoder().encode


def encoded_messages(messages: Iterable[Message], current: Callable[[Message], Message]) -> Iterator[bytes]:
    """Return the JSON list of messages in pieces. `current` returns a message as it is when its turn comes."""
    opening = b"["
    for message in messages:
        yield opening
        yield from encoded_message(current(message))
        opening = b","
    yield b"[]" if opening == b"[" else b"]"


def encoded_message(message: Message) -> Iterator[bytes]:
    """Return the JSON of a message, as clients see it, in pieces. No piece is a copy of a long text as a whole."""
    long = _LongTexts()
    view = message_view(replace(message, parts=tuple(long.shortened(part) for part in message.parts)))
    texts = [part.text for part in message.parts if isinstance(part, TextPart)]
    view = replace(view, text=long.taken(*texts), reasoning=long.taken(message.reasoning))
    yield from long.put_back(_encode(view))


class _LongTexts:
    """The long texts of one message. In its JSON, marks that no other text has stand for them."""

    def __init__(self) -> None:
        self._secret = token_hex(16)
        self._texts: dict[str, tuple[str, ...]] = {}

    def taken(self, *texts: str) -> str:
        """Return the joined texts if they are short, or else a mark that stands for them."""
        if sum(map(len, texts)) <= PIECE_CHARACTERS:
            return "".join(texts)
        mark = f"{self._secret}{len(self._texts):08}"
        self._texts[mark] = texts
        return mark

    def shortened(self, part: Part) -> Part:
        match part:
            case TextPart(text):
                return replace(part, text=self.taken(text))
            case AudioPart(transcript=str(text)):
                return replace(part, transcript=self.taken(text))
            case ToolCallPart(arguments=text):
                return replace(part, arguments=self.taken(text))
            case ToolResultPart(output=text):
                return replace(part, output=self.taken(text))
            case _:
                return part

    def put_back(self, encoded: bytes) -> Iterator[bytes]:
        start, *rest = encoded.split(self._secret.encode())
        yield start
        for each in rest:
            yield from self._pieces(self._texts[self._secret + each[:8].decode()])
            yield each[8:]

    @staticmethod
    def _pieces(texts: tuple[str, ...]) -> Iterator[bytes]:
        for text in texts:
            for start in range(0, len(text), PIECE_CHARACTERS):
                yield _encode(text[start : start + PIECE_CHARACTERS])[1:-1]
