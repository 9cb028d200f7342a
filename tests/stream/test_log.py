"""The log: offsets, batches, rewinds, compaction, and an end that is the end."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from legato.stream import (
    Batch,
    Event,
    Failed,
    Finished,
    Log,
    LogClosedError,
    Reasoning,
    ReplySnapshot,
    Rewound,
    State,
    Terminal,
    Text,
    ToolFinished,
    ToolStarted,
)

from .drawn import Book, ordinary, page_of, terminals


def log_of(*events: Event) -> Log:
    log = Log("stream", "epoch")
    for event in events:
        log.append(event)
    return log


class TestAppending:
    def test_offsets_count_from_zero(self) -> None:
        log = Log("stream", "epoch")
        assert [log.append(Text("a")), log.append(State("answering")), log.append(Text("b"))] == [0, 1, 2]
        assert log.next == 3

    @pytest.mark.parametrize("end", [Finished("stop"), Failed("engine", "It broke.")])
    def test_one_terminal_event_closes_it(self, end: Terminal) -> None:
        log = log_of(Text("a"))
        assert (log.closed, log.end) == (False, None)
        assert log.append(end) == 1
        assert (log.closed, log.end) == (True, end)
        for late in (Text("b"), Finished("stop"), Failed("x", "y"), State("answering")):
            with pytest.raises(LogClosedError):
                log.append(late)
        with pytest.raises(LogClosedError):
            log.rewind(0)
        assert log.next == 2
        assert log.end == end

    def test_the_end_is_known_after_everything_was_compacted(self) -> None:
        log = log_of(Text("a"), Finished("stop"))
        log.compact(2)
        assert log.end == Finished("stop")

    def test_listeners_hear_of_each_event_in_their_order(self) -> None:
        log, heard = Log("stream", "epoch"), list[tuple[str, int]]()

        def first() -> None:
            heard.append(("first", log.next))

        def second() -> None:
            heard.append(("second", log.next))

        log.subscribe(first)
        log.subscribe(second)
        log.append(Text("a"))
        log.unsubscribe(first)
        log.unsubscribe(first)
        log.append(Finished("stop"))
        assert heard == [("first", 1), ("second", 1), ("second", 2)]


class TestReading:
    def test_neighbours_are_joined_and_kinds_are_not_mixed(self) -> None:
        log = log_of(
            Text("a"), Text("b"), Reasoning("c"), Reasoning("d"), Text("e"), State("answering"), Text("f")
        )
        assert log.since(0) == Batch(
            0, 7, [Text("ab"), Reasoning("cd"), Text("e"), State("answering"), Text("f")]
        )
        assert log.since(1) == Batch(
            1, 7, [Text("b"), Reasoning("cd"), Text("e"), State("answering"), Text("f")]
        )

    def test_a_batch_can_be_taken_apart_again(self) -> None:
        log = log_of(Text("a"), Text("b"), State("answering"), Text("c"))
        assert log.single(log.since(1)) == Batch(1, 4, [Text("b"), State("answering"), Text("c")])
        assert log.single(log.since(0)).events == [Text("a"), Text("b"), State("answering"), Text("c")]
        log.compact(2)
        assert log.single(log.since(0)) == log.since(0)
        assert log.single(log.since(2)) == Batch(2, 4, [State("answering"), Text("c")])

    def test_at_the_end_there_is_nothing(self) -> None:
        assert log_of(Text("a")).since(1) == Batch(1, 1, [])
        assert log_of().since(0) == Batch(0, 0, [])

    @pytest.mark.parametrize("offset", [-1, 2])
    def test_no_cursor_stands_outside(self, offset: int) -> None:
        log = log_of(Text("a"))
        assert not log.readable(offset)
        with pytest.raises(ValueError, match="stream"):
            log.since(offset)
        with pytest.raises(ValueError, match="stream"):
            log.text_at(offset)
        with pytest.raises(ValueError, match="stream"):
            log.state_at(offset)

    def test_a_batch_is_the_readers_own(self) -> None:
        log = log_of(Text("a"), State("answering"))
        log.since(0).events.clear()
        log.compact(2)
        log.since(0).events.clear()
        assert log.since(0).events == [Text("a"), State("answering")]

    @given(st.lists(ordinary, max_size=12), st.lists(st.integers(0, 12)))
    def test_the_text_at_an_offset_does_not_depend_on_what_was_asked_before(
        self, events: list[Event], offsets: list[int]
    ) -> None:
        log = log_of(*events)
        for offset in offsets:
            if offset <= log.next:
                assert log.text_at(offset) == ReplySnapshot(events[:offset]).text
                assert log.state_at(offset) == ReplySnapshot(events[:offset]).state

    def test_the_text_is_right_after_what_was_asked_for_was_compacted(self) -> None:
        log = log_of(*map(Text, "abcdef"))
        assert log.text_at(2) == "ab"
        log.compact(4)
        assert [log.text_at(offset) for offset in (0, 4, 6, 5)] == ["", "abcd", "abcdef", "abcde"]


class TestLimits:
    def test_many_small_events_come_in_pieces_below_the_limit(self) -> None:
        log = log_of(*[Text("0123456789")] * 1000)
        sizes, cursor = list[int](), 0
        while cursor < log.next:
            batch = log.since(cursor, 1000)
            sizes.append(sum(len(event.text) for event in batch.events if isinstance(event, Text)))
            cursor = batch.next
        assert sum(sizes) == 10_000
        assert max(sizes) <= 1000
        assert len(sizes) < 12

    def test_a_long_event_comes_whole_and_alone(self) -> None:
        log = log_of(Text("a"), Text("b" * 5000), Text("c"))
        assert log.since(0, 1000) == Batch(0, 1, [Text("a")])
        assert log.since(1, 1000) == Batch(1, 2, [Text("b" * 5000)])
        assert log.since(2, 1000) == Batch(2, 3, [Text("c")])

    @pytest.mark.parametrize(
        "event",
        [
            Reasoning("x" * 600),
            ToolStarted("1", "a", "x" * 600),
            ToolFinished("1", "x" * 600),
        ],
    )
    def test_every_kind_of_text_counts(self, event: Event) -> None:
        assert log_of(event, event, event).since(0, 1000).next == 1

    def test_a_rewind_counts_with_what_it_keeps(self) -> None:
        log = log_of(Text("x" * 300), Reasoning("x" * 300))
        log.rewind(2)
        log.rewind(2)
        assert log.since(2, 1000).next == 3

    def test_events_without_text_count_too(self) -> None:
        assert log_of(*[State("loading")] * 1000).since(0, 1000).next < 20
        blanks: list[Event] = [Text(""), Reasoning("")]
        assert log_of(*blanks * 1000).since(0, 1000).next < 20

    def test_what_was_compacted_comes_whole(self) -> None:
        log = log_of(*[Text("0123456789")] * 1000)
        log.compact(900)
        assert log.since(0, 1000) == Batch(0, 900, [Text("0123456789" * 900)])
        assert log.since(900, 500).next < 950

    @given(st.lists(ordinary, min_size=1), st.integers(1, 300))
    def test_there_is_always_progress(self, events: list[Event], limit: int) -> None:
        log = log_of(*events)
        cursor = 0
        while cursor < log.next:
            batch = log.since(cursor, limit)
            assert batch.next > cursor
            cursor = batch.next


class TestRewinding:
    def test_it_says_what_is_kept(self) -> None:
        log = log_of(Text("a"), Reasoning("b"), Text("c"), Reasoning("d"))
        assert log.rewind(2) == 4
        assert log.since(4).events == [Rewound(2, "a", "b")]
        assert log.snapshot() == ReplySnapshot([Text("a"), Reasoning("b")])

    def test_it_may_go_back_behind_another_rewind(self) -> None:
        log = log_of(Text("a"), Text("b"))
        log.rewind(1)
        log.append(Text("c"))
        log.rewind(2)
        assert log.snapshot().text == "ab"

    def test_it_never_crosses_a_tool(self) -> None:
        log = log_of(Text("a"), ToolStarted("1", "clock", "{}"), ToolFinished("1", "noon"), Text("b"))
        for to in (0, 1, 2):
            with pytest.raises(ValueError, match="rewind"):
                log.rewind(to)
        log.rewind(3)
        assert log.snapshot().text == "a"

    @pytest.mark.parametrize("to", [-1, 3])
    def test_it_needs_an_offset_of_the_log(self, to: int) -> None:
        with pytest.raises(ValueError, match="rewind"):
            log_of(Text("a"), Text("b")).rewind(to)

    def test_it_can_go_back_to_an_anchor_in_what_was_compacted(self) -> None:
        log = log_of(Text("a"), Reasoning("b"))
        anchor = log.savepoint()
        log.append(Text("c"))
        log.append(Text("d"))
        log.compact(4)
        log.rewind(anchor)
        assert log.since(4).events == [Rewound(2, "a", "b")]

    def test_it_cannot_go_back_to_an_anchor_that_was_taken_back(self) -> None:
        log = log_of(Text("a"), Text("b"))
        anchor = log.savepoint()
        log.rewind(1)
        log.compact(3)
        with pytest.raises(ValueError, match="cannot rewind"):
            log.rewind(anchor)

    def test_it_cannot_go_back_into_what_was_compacted(self) -> None:
        log = log_of(Text("a"), Text("b"), Text("c"))
        log.compact(2)
        for to in (0, 1):
            with pytest.raises(ValueError, match="rewind"):
                log.rewind(to)
        log.rewind(2)
        assert log.snapshot().text == "ab"

    def test_it_is_written_by_the_log_alone(self) -> None:
        with pytest.raises(ValueError, match="rewind"):
            log_of(Text("a")).append(Rewound(0))


class TestCompacting:
    def test_what_was_taken_back_and_replaced_is_gone(self) -> None:
        log = log_of(State("queued"), Text("a"), Text("b"), State("answering"))
        log.rewind(2)
        log.append(Text("c"))
        log.compact(log.next)
        assert log.since(0) == Batch(0, 6, [Text("a"), State("answering"), Text("c")])

    def test_a_tool_keeps_its_place_behind_a_rewind(self) -> None:
        log = log_of(Text("abc"))
        log.rewind(0)
        log.append(Text("x"))
        log.append(ToolStarted("1", "clock", "{}"))
        log.append(Text("y"))
        log.rewind(4)
        before = log.snapshot()
        log.compact(log.next)
        assert log.snapshot() == before
        assert log.snapshot().tools[0].at == 1

    def test_its_middle_cannot_be_read(self) -> None:
        log = log_of(*[Text("a")] * 5)
        log.compact(3)
        assert [log.readable(offset) for offset in range(6)] == [True, False, False, True, True, True]
        with pytest.raises(ValueError, match="compacted"):
            log.since(2)
        with pytest.raises(ValueError, match="offset"):
            log.text_at(2)

    def test_it_stops_at_the_end_and_never_goes_back(self) -> None:
        log = log_of(Text("a"), Text("b"))
        with pytest.raises(ValueError, match="offset"):
            log.compact(3)
        log.compact(2)
        log.compact(1)
        assert log.base == 2

    def test_it_leaves_what_a_cursor_has_not_read(self) -> None:
        class Reader:
            cursor = 2

        def listener() -> None:
            pass

        log, reader = log_of(*[Text("a")] * 5), Reader()
        log.subscribe(listener, reader)
        log.compact(4)
        assert log.base == 2
        reader.cursor = 3
        log.compact(5)
        assert log.base == 3
        log.unsubscribe(listener)
        log.compact(5)
        assert log.base == 5

    def test_a_cursor_that_has_read_nothing_is_not_in_the_way(self) -> None:
        class Reader:
            cursor = 0

        log = log_of(Text("a"), Text("b"))
        log.subscribe(list[int]().clear, Reader())
        log.compact(2)
        assert log.base == 2


class Writing(RuleBasedStateMachine):
    """However a log is written, rewound and compacted, it says what a log says that does none of this by cleverness."""

    def __init__(self) -> None:
        super().__init__()
        self.log = Log("stream", "epoch")
        self.book = Book()
        self.anchors: set[int] = set()

    @precondition(lambda self: not self.log.closed)
    @rule(event=ordinary)
    def append(self, event: Event) -> None:
        assert self.log.append(event) == self.book.next
        self.book.write(event)

    @precondition(lambda self: not self.log.closed)
    @rule(data=st.data())
    def rewind(self, data: st.DataObject) -> None:
        low = max(self.log.base, self.book.last_tool)
        anchors = [each for each in self.anchors if self.book.last_tool <= each]
        to = data.draw(st.sampled_from([*range(low, self.book.next + 1), *sorted(anchors)]))
        self.log.rewind(to)
        self.book.rewind(to)
        self.anchors = {each for each in self.anchors if each <= to}

    @rule()
    def anchor(self) -> None:
        self.anchors.add(self.log.savepoint())

    @precondition(lambda self: not self.log.closed and self.book.next > 3)
    @rule(event=terminals)
    def end(self, event: Terminal) -> None:
        self.log.append(event)
        self.book.write(event)

    @rule(data=st.data())
    def compact(self, data: st.DataObject) -> None:
        self.log.compact(data.draw(st.integers(0, self.book.next)))

    @rule(data=st.data(), limit=st.integers(0, 300))
    def read(self, data: st.DataObject, limit: int) -> None:
        offset = data.draw(st.sampled_from([0, *range(self.log.base, self.log.next + 1)]))
        batch = self.log.since(offset, limit)
        assert batch.first == offset
        assert batch.next == self.log.next or limit
        if offset == 0:
            assert page_of(ReplySnapshot(batch.events)) == self.book.pages[batch.next]

    @rule(data=st.data())
    def look_back(self, data: st.DataObject) -> None:
        offset = data.draw(st.sampled_from([0, *range(self.log.base, self.log.next + 1)]))
        assert self.log.text_at(offset) == self.book.pages[offset].text
        assert self.log.state_at(offset) == self.book.pages[offset].state

    @invariant()
    def it_says_the_same(self) -> None:
        assert self.log.next == self.book.next
        assert self.log.closed == (self.book.last.end is not None)
        assert self.log.end == self.book.last.end
        assert page_of(self.log.snapshot()) == self.book.last

    @invariant()
    def what_is_compacted_is_short(self) -> None:
        events = self.log._compacted
        assert not any(isinstance(event, Rewound) for event in events)
        assert sum(isinstance(event, State) for event in events) <= 2 + len(ReplySnapshot(events).spans)
        for left, right in itertools.pairwise(events):
            assert type(left) is not type(right) or not isinstance(left, Text | Reasoning)


TestWriting = Writing.TestCase
