"""A client that comes back continues exactly, or resets: never something in between."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from legato.stream import Continue, Log, Position, Reset, Text, resume


def log_of(count: int, *, compacted: int = 0, epoch: str = "now") -> Log:
    log = Log("stream", epoch)
    for i in range(count):
        log.append(Text(str(i)))
    log.compact(compacted)
    return log


@pytest.mark.parametrize("offset", [0, 1, 4, 5])
def test_a_position_in_the_log_continues(offset: int) -> None:
    assert resume(log_of(5), Position("stream", "now", offset)) == Continue(offset)


@pytest.mark.parametrize("offset", [0, 3, 99])
def test_another_epoch_resets_whatever_the_offset(offset: int) -> None:
    assert resume(log_of(5), Position("stream", "before", offset)) == Reset("epoch")


@pytest.mark.parametrize("offset", [-1, 6, 2**70])
def test_an_offset_that_was_never_given_resets(offset: int) -> None:
    assert resume(log_of(5), Position("stream", "now", offset)) == Reset("future")


@pytest.mark.parametrize(
    ("offset", "answer"),
    [(0, Continue(0)), (1, Reset("trimmed")), (2, Reset("trimmed")), (3, Continue(3)), (5, Continue(5))],
)
def test_the_middle_of_what_was_compacted_resets(offset: int, answer: Continue | Reset) -> None:
    assert resume(log_of(5, compacted=3), Position("stream", "now", offset)) == answer


def test_a_position_of_another_stream_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="other"):
        resume(log_of(1), Position("other", "now", 0))


def test_a_log_made_anew_is_never_taken_for_the_old_one() -> None:
    """A client that saw 0, 1, 2 of a log that was lost would take 3 of the new one for a continuation."""
    seen = log_of(3, epoch="before").next
    assert resume(log_of(4, epoch="now"), Position("stream", "before", seen)) == Reset("epoch")


@given(st.integers(0, 8), st.integers(0, 8), st.integers(-3, 12), st.sampled_from(["now", "before"]))
def test_continue_means_that_everything_is_there(count: int, compacted: int, offset: int, epoch: str) -> None:
    log = log_of(count, compacted=min(compacted, count))
    match resume(log, Position("stream", epoch, offset)):
        case Continue(at):
            batch = log.since(at)
            assert (at, epoch) == (offset, "now")
            assert (batch.first, batch.next) == (offset, count)
            assert "".join(event.text for event in batch.events if isinstance(event, Text)) == "".join(
                map(str, range(offset, count))
            )
        case Reset(reason):
            assert reason == "epoch" or not log.readable(offset)
