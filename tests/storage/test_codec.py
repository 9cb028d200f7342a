from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from legato.domain.conversation import Conversation
from legato.domain.message import ImagePart, Message, Part, TextPart, ToolCallPart, ToolResultPart
from legato.domain.validation import check_storable
from legato.errors import InvalidError
from legato.storage.base import JournalEntry
from legato.storage.sql import codec
from legato.stream import (
    Event,
    Failed,
    Finished,
    Reasoning,
    Rewound,
    State,
    Text,
    Timings,
    ToolFinished,
    ToolStarted,
    Usage,
)

TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
ANY_TEXTS = st.text(st.characters(exclude_categories=()), max_size=20)
COUNTS = st.none() | st.integers(0, 2**53)
AMOUNTS = st.none() | st.floats(allow_nan=False, allow_infinity=False)
MOMENTS = st.datetimes(timezones=st.just(UTC))
USAGES = st.builds(Usage, COUNTS, COUNTS)
TIMINGS = st.builds(Timings, AMOUNTS, AMOUNTS, AMOUNTS, AMOUNTS, AMOUNTS)


def parts(texts: st.SearchStrategy[str]) -> st.SearchStrategy[tuple[Part, ...]]:
    part: st.SearchStrategy[Part] = st.one_of(
        st.builds(TextPart, texts),
        st.builds(ImagePart, texts),
        st.builds(ToolCallPart, texts, texts, texts),
        st.builds(ToolResultPart, texts, texts, texts, st.booleans()),
    )
    return st.lists(part, max_size=4).map(tuple)


def events(texts: st.SearchStrategy[str]) -> st.SearchStrategy[Event]:
    return st.one_of(
        st.builds(Text, texts),
        st.builds(Reasoning, texts),
        st.builds(ToolStarted, texts, texts, texts),
        st.builds(ToolFinished, texts, texts, st.booleans()),
        st.builds(State, st.sampled_from(["queued", "answering"]), texts, texts, COUNTS, AMOUNTS, texts),
        st.builds(Rewound, st.integers(0, 2**53), texts, texts),
        st.builds(Finished, st.sampled_from(["stop", "length"]), st.none() | USAGES, st.none() | TIMINGS),
        st.builds(Failed, texts, texts),
    )


def entries(texts: st.SearchStrategy[str]) -> st.SearchStrategy[list[JournalEntry]]:
    return st.lists(
        st.builds(JournalEntry, texts, st.lists(events(texts), max_size=4), st.booleans()), max_size=4
    )


MESSAGES = st.builds(
    Message,
    id=TEXTS,
    conversation=TEXTS,
    role=st.sampled_from(["system", "user", "assistant", "tool"]),
    status=st.sampled_from(["streaming", "complete", "stopped", "interrupted"]),
    parts=parts(TEXTS),
    created_at=MOMENTS,
    parent=st.none() | TEXTS,
    revision=st.integers(0, 2**63 - 1),
    author=st.none() | TEXTS,
    reasoning=TEXTS,
    model=st.none() | TEXTS,
    detail=st.none() | TEXTS,
    usage=st.none() | USAGES,
    timings=st.none() | TIMINGS,
)


@given(MESSAGES)
def test_messages_round_trip(message: Message) -> None:
    assert codec.message_of(codec.message_row(message)) == message


@given(
    st.builds(Conversation, TEXTS, TEXTS, TEXTS, TEXTS, MOMENTS, MOMENTS, st.integers(0), st.none() | TEXTS)
)
def test_conversations_round_trip(conversation: Conversation) -> None:
    assert codec.conversation_of(codec.conversation_row(conversation)) == conversation


@given(entries(TEXTS))
def test_journal_entries_round_trip(given: list[JournalEntry]) -> None:
    assert codec.from_blob(codec.to_blob(given)) == given


@given(entries(ANY_TEXTS))
def test_journal_entries_of_any_text_can_be_decoded(given: list[JournalEntry]) -> None:
    back = codec.from_blob(codec.to_blob(given))
    assert back is not None
    assert [(each.whole, len(each.events)) for each in back] == [
        (each.whole, len(each.events)) for each in given
    ]


@given(st.binary())
def test_any_bytes_decode_to_entries_or_none(blob: bytes) -> None:
    assert codec.from_blob(blob) is None or b"[" in blob


@given(st.lists(st.sampled_from(["\\", "u0000", "\0", '"', "é", "u000", "0"])).map("".join))
def test_nul_is_distinguished_from_text_that_looks_like_its_escape(text: str) -> None:
    if "\0" in text:
        with pytest.raises(InvalidError):
            codec.to_json(text)
    else:
        assert "\0" not in codec.to_json(text)


@given(ANY_TEXTS)
def test_exactly_storable_text_passes_the_check(text: str) -> None:
    keepable = "\0" not in text and not any("\ud800" <= character <= "\udfff" for character in text)
    if keepable:
        check_storable(text)
        return
    with pytest.raises(InvalidError):
        check_storable(text)


@given(MOMENTS)
def test_times_round_trip_exactly(moment: datetime) -> None:
    assert codec.moment(codec.micros(moment)) == moment


def test_a_time_without_a_time_zone_is_refused() -> None:
    with pytest.raises(TypeError):
        codec.micros(datetime(2026, 1, 1))  # noqa: DTZ001
