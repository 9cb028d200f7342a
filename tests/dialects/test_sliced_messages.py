"""Messages in pieces: the same JSON as at once, and no piece of any length."""

from datetime import UTC, datetime

import msgspec
import pytest

from legato.dialects.serializers import message_view
from legato.dialects.sliced_messages import PIECE_CHARACTERS, encoded_message, encoded_messages
from legato.domain.message import AudioPart, ImagePart, Message, Part, TextPart, ToolCallPart, ToolResultPart

NOW = datetime(2026, 3, 14, tzinfo=UTC)
LONG = '"\\\n\x01é漢🎵' * PIECE_CHARACTERS
SHORT = '"short"\n'


def message(*parts: Part, reasoning: str = "") -> Message:
    return Message("m", "c", "assistant", "complete", parts, NOW, reasoning=reasoning, model="m")


@pytest.mark.parametrize(
    "made",
    [
        message(),
        message(TextPart(SHORT)),
        message(TextPart(LONG)),
        message(TextPart(LONG), TextPart(SHORT), TextPart(LONG), reasoning=LONG),
        message(
            ToolCallPart("1", "add", LONG), ToolResultPart("1", "add", LONG, failed=True), TextPart(SHORT)
        ),
        message(AudioPart(attachment="a", transcript=LONG), ImagePart(attachment="b")),
        message(*(TextPart(SHORT * 1000) for _ in range(100))),
    ],
)
def test_pieces_are_the_json_of_the_message(made: Message) -> None:
    pieces = list(encoded_message(made))
    assert msgspec.json.decode(b"".join(pieces)) == msgspec.json.decode(
        msgspec.json.encode(message_view(made))
    )


def test_no_piece_is_longer_than_its_bound() -> None:
    made = message(TextPart(LONG), TextPart(LONG), reasoning=LONG)
    assert max(map(len, encoded_message(made))) <= 6 * PIECE_CHARACTERS


def test_a_list_is_made_while_it_is_read() -> None:
    asked: list[Message] = []

    def current(each: Message) -> Message:
        asked.append(each)
        return each

    pieces = encoded_messages([message(TextPart(LONG))] * 3, current)
    first = [next(pieces) for _ in range(3)]
    assert len(asked) == 1
    whole = msgspec.json.decode(b"".join([*first, *pieces]))
    assert len(whole) == len(asked) == 3
    assert msgspec.json.decode(b"".join(encoded_messages([], current))) == []
