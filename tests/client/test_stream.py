import pytest

from legato.client.stream import Fit, Stream, ending
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
def stream() -> Stream:
    stream = Stream("s", "v")
    stream.take(delta(0, 4, "abcd"))
    return stream


@pytest.mark.parametrize(
    ("told", "fit"),
    [
        (delta(4, 5, "e"), Fit.NEXT),
        (delta(2, 4, "cd"), Fit.KNOWN),
        (delta(3, 4, "d"), Fit.KNOWN),
        (delta(2, 5, "cde"), Fit.GAP),
        (delta(5, 6, "f"), Fit.GAP),
        (delta(4, 5, "e", "other"), Fit.GAP),
        (delta(2, 3, "c", "other"), Fit.GAP),
        (delta(0, 2, "ab"), Fit.ANEW),
        (delta(0, 9, "other", "other"), Fit.ANEW),
    ],
)
def test_only_what_joins_on_is_added(stream: Stream, told: Delta, fit: Fit) -> None:
    assert stream.fit(told) is fit
    taken = stream.take(told)
    if fit in (Fit.KNOWN, Fit.GAP):
        assert taken == []
        assert stream.position == Where("s", "e", 4)
        assert stream.fold.text == "abcd"
    else:
        assert taken == told.events
        assert stream.position == Where("s", told.epoch, told.to)


def test_it_can_only_begin_at_the_beginning() -> None:
    stream = Stream("s", None)
    assert stream.position is None
    assert stream.fit(delta(1, 2, "b")) is Fit.GAP
    assert stream.fit(delta(0, 2, "ab")) is Fit.NEXT


def test_behind_its_end_nothing_counts(stream: Stream) -> None:
    stream.take(Delta("s", "e", 4, 5, [Finished("stop")]))
    assert stream.end == Finished("stop")
    assert stream.position is None
    assert stream.fit(delta(0, 3, "xyz")) is Fit.KNOWN


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
def test_a_message_told_whole_completes_it(
    stream: Stream, message: MessageView, anew: bool, events: list[Event]
) -> None:
    assert stream.complete(message) == (anew, [*events, ending(message)])
    assert stream.fold.text == message.text
    assert stream.end == Finished("stop", Usage(1, 2), Timings(total_ms=3.0))


def test_how_it_ended_is_in_the_message() -> None:
    assert isinstance(ending(whole("", "stopped")), Finished)
    assert ending(whole("", "stopped")) == Finished("stopped", Usage(1, 2), Timings(total_ms=3.0))
    assert isinstance(ending(whole("", "interrupted")), Failed)
