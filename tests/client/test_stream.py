import pytest

from legato.client.stream import DeltaFit, StreamState, terminal_event
from legato.protocol.messages import Delta, MessageView, Where
from legato.stream import Event, Failed, Finished, Reasoning, Text, Timings, Usage


def delta(first: int, following: int, text: str = "", epoch: str = "e") -> Delta:
    return Delta("s", epoch, first, following, [Text(text)] if text else [])


def whole(text: str, status: str = "complete", reasoning: str = "") -> MessageView:
    return MessageView(
        "s",
        "v",
        "assistant",
        status,  # type: ignore[arg-type]
        "2031-05-06T07:08:09Z",
        text=text,
        reasoning=reasoning,
        usage=Usage(1, 2),
        timings=Timings(total_ms=3.0),
    )


@pytest.fixture
def stream() -> StreamState:
    stream = StreamState("s", "v")
    stream.apply(delta(0, 4, "abcd"))
    return stream


@pytest.mark.parametrize(
    ("told", "fit"),
    [
        (delta(4, 5, "e"), DeltaFit.NEXT),
        (delta(2, 4, "cd"), DeltaFit.KNOWN),
        (delta(3, 4, "d"), DeltaFit.KNOWN),
        (delta(2, 5, "cde"), DeltaFit.GAP),
        (delta(5, 6, "f"), DeltaFit.GAP),
        (delta(4, 5, "e", "other"), DeltaFit.GAP),
        (delta(2, 3, "c", "other"), DeltaFit.GAP),
        (delta(0, 2, "ab"), DeltaFit.RESTART),
        (delta(0, 9, "other", "other"), DeltaFit.RESTART),
    ],
)
def test_only_a_delta_that_joins_is_added(stream: StreamState, told: Delta, fit: DeltaFit) -> None:
    assert stream.fit(told) is fit
    taken = stream.apply(told)
    if fit in (DeltaFit.KNOWN, DeltaFit.GAP):
        assert taken == []
        assert stream.position == Where("s", "e", 4)
        assert stream.snapshot.text == "abcd"
    else:
        assert taken == told.events
        assert stream.position == Where("s", told.epoch, told.to)


def test_a_stream_begins_at_offset_0_only() -> None:
    stream = StreamState("s", None)
    assert stream.position is None
    assert stream.fit(delta(1, 2, "b")) is DeltaFit.GAP
    assert stream.fit(delta(0, 2, "ab")) is DeltaFit.NEXT


def test_deltas_after_the_end_are_ignored(stream: StreamState) -> None:
    stream.apply(Delta("s", "e", 4, 5, [Finished("stop")]))
    assert stream.end == Finished("stop")
    assert stream.position is None
    assert stream.fit(delta(0, 3, "xyz")) is DeltaFit.KNOWN


@pytest.mark.parametrize(
    ("message", "anew", "events"),
    [
        (whole("abcdef"), False, [Text("ef")]),
        (whole("abcd"), False, []),
        (whole("abcd", reasoning="hm"), False, [Reasoning("hm")]),
        (whole("xy"), True, [Text("xy")]),
        (whole(""), True, []),
    ],
)
def test_a_stored_message_completes_a_stream(
    stream: StreamState, message: MessageView, anew: bool, events: list[Event]
) -> None:
    assert stream.complete(message) == (anew, [*events, terminal_event(message)])
    assert stream.snapshot.text == message.text
    assert stream.end == Finished("stop", Usage(1, 2), Timings(total_ms=3.0))


def test_the_terminal_event_is_made_from_the_message() -> None:
    assert isinstance(terminal_event(whole("", "stopped")), Finished)
    assert terminal_event(whole("", "stopped")) == Finished("stopped", Usage(1, 2), Timings(total_ms=3.0))
    assert isinstance(terminal_event(whole("", "interrupted")), Failed)
