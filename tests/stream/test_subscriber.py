"""Whatever happens to a viewer, it has the fold of the log: nothing twice, nothing missing."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from legato.protocol.messages import Delta
from legato.stream import (
    Batch,
    Continue,
    Event,
    Finished,
    Flusher,
    Log,
    Position,
    ReplySnapshot,
    Reset,
    Subscriber,
    Terminal,
    Text,
    resume,
    subscriber,
)
from legato.testing.sink import ManualLoop, StallingSink, decode, encode

from .drawn import Book, ordinary, page_of, terminals


class Stage:
    """A log, a flusher and a loop for one test."""

    def __init__(self) -> None:
        self.turns = ManualLoop()
        self.flusher = Flusher(self.turns)
        self.log = Log("stream", "epoch")

    def say(self, *words: str) -> None:
        for word in words:
            self.log.append(Text(word))


@pytest.fixture
def stage() -> Stage:
    return Stage()


def spans(sink: StallingSink) -> list[tuple[int, int]]:
    return [(delta.from_, delta.to) for delta in sink.deltas()]


class TestPace:
    def test_what_is_said_in_one_turn_leaves_as_one_frame(self, stage: Stage) -> None:
        sink = StallingSink()
        sink.watch(stage.log, 0, stage.flusher)
        stage.say("a", "b")
        assert sink.written == []
        stage.turns.turn()
        assert sink.deltas() == [Delta("stream", "epoch", 0, 2, [Text("ab")])]
        stage.say("c")
        stage.turns.turn()
        assert spans(sink) == [(0, 2), (2, 3)]
        assert (sink.flushes, stage.turns.idle) == (2, True)

    def test_a_stalled_one_gets_a_longer_frame_later_and_slows_nobody(self, stage: Stage) -> None:
        slow, quick = StallingSink(), StallingSink()
        slow.watch(stage.log, 0, stage.flusher)
        quick.watch(stage.log, 0, stage.flusher)
        slow.stall()
        for word in "abc":
            stage.say(word)
            stage.turns.turn()
        assert (spans(slow), spans(quick)) == ([], [(0, 1), (1, 2), (2, 3)])
        slow.resume()
        stage.turns.settle()
        assert spans(slow) == [(0, 3)]

    def test_one_that_stalls_by_itself_goes_on_where_it_stopped(
        self, stage: Stage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(subscriber, "FRAME_CHARACTERS", 1000)
        sink = StallingSink(room=1)
        sink.watch(stage.log, 0, stage.flusher)
        stage.say(*["0123456789"] * 400)
        stage.turns.settle()
        assert len(sink.written) == 1
        while not stage.turns.idle or spans(sink)[-1][1] < 400:
            sink.drain()
            stage.turns.settle()
        assert (
            ReplySnapshot(event for delta in sink.deltas() for event in delta.events).text
            == "0123456789" * 400
        )

    def test_a_frame_is_bounded(self, stage: Stage) -> None:
        sink = StallingSink()
        stage.say(*["0123456789"] * 20_000)
        sink.watch(stage.log, 0, stage.flusher)
        stage.turns.settle()
        assert max(map(len, sink.written)) < subscriber.FRAME_CHARACTERS + 1000
        assert len(sink.written) <= 4

    def test_a_sink_of_many_viewers_flushes_once_a_turn(self, stage: Stage) -> None:
        sink, other = StallingSink(), Log("other", "epoch")
        sink.watch(stage.log, 0, stage.flusher)
        sink.watch(other, 0, stage.flusher)
        stage.say("a")
        other.append(Text("b"))
        stage.turns.turn()
        assert (len(sink.written), sink.flushes, sink.sent) == (2, 1, sink.written)


class TestBeginningAndEnd:
    def test_one_that_comes_later_is_told_everything_from_its_offset(self, stage: Stage) -> None:
        stage.say("a", "b", "c")
        sink = StallingSink()
        sink.watch(stage.log, 1, stage.flusher)
        stage.turns.turn()
        assert sink.deltas() == [Delta("stream", "epoch", 1, 3, [Text("bc")])]

    def test_one_that_has_seen_all_waits(self, stage: Stage) -> None:
        stage.say("a")
        sink = StallingSink()
        sink.watch(stage.log, 1, stage.flusher)
        assert stage.turns.idle

    @pytest.mark.parametrize("offset", [-1, 1, 4])
    def test_none_stands_where_a_cursor_cannot(self, stage: Stage, offset: int) -> None:
        stage.say("a", "b", "c")
        stage.log.compact(2)
        with pytest.raises(ValueError, match="cursor"):
            StallingSink().watch(stage.log, offset, stage.flusher)

    def test_the_end_is_told_once_and_after_it_was_written(self, stage: Stage) -> None:
        sink, ended = StallingSink(), list[int]()
        sink.watch(stage.log, 0, stage.flusher, ended=lambda viewer: ended.append(len(sink.written)))
        stage.say("a")
        stage.turns.turn()
        sink.stall()
        stage.log.append(Finished("stop"))
        stage.turns.settle()
        assert ended == []
        sink.resume()
        stage.turns.settle()
        sink.resume()
        stage.turns.settle()
        assert ended == [2]

    def test_one_that_comes_after_the_end_is_told_of_it(self, stage: Stage) -> None:
        stage.say("a")
        stage.log.append(Finished("stop"))
        sink, ended = StallingSink(), list[Subscriber]()
        late = sink.watch(stage.log, 2, stage.flusher, ended=ended.append)
        assert ended == []
        stage.turns.settle()
        assert ended == [late]
        assert not late.attached
        assert sink.written == []

    def test_a_detached_one_sees_nothing_more(self, stage: Stage) -> None:
        sink = StallingSink()
        watching = sink.watch(stage.log, 0, stage.flusher)
        stage.say("a")
        watching.detach()
        watching.detach()
        stage.say("b")
        watching.mark()
        stage.turns.settle()
        assert sink.written == []

    def test_a_sink_that_closes_while_it_is_written_gets_nothing_more(
        self, stage: Stage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(subscriber, "FRAME_CHARACTERS", 10)

        class Closing(StallingSink):
            def write(self, data: bytes) -> None:
                super().write(data)
                watching.detach()

        sink = Closing()
        watching = sink.watch(stage.log, 0, stage.flusher)
        stage.say(*["0123456789"] * 10)
        stage.log.append(Finished("stop"))
        stage.turns.settle()
        assert len(sink.written) == 1


class TestSharing:
    def test_a_batch_is_encoded_once_for_all(self, stage: Stage) -> None:
        encoded = list[Batch]()

        def counted(log: Log, batch: Batch) -> bytes:
            encoded.append(batch)
            return encode(log, batch)

        sinks = [StallingSink() for _ in range(10)]
        for sink in sinks:
            sink.watch(stage.log, 0, stage.flusher, encoding=counted)
        for word in "abc":
            stage.say(word)
            stage.turns.turn()
        assert len(encoded) == 3
        assert all(sink.written == sinks[0].written for sink in sinks)

    def test_encodings_do_not_mix(self, stage: Stage) -> None:
        one, two = StallingSink(), StallingSink()
        one.watch(stage.log, 0, stage.flusher)
        two.watch(stage.log, 0, stage.flusher, encoding=lambda log, batch: b"other")
        stage.say("a")
        stage.turns.turn()
        assert (spans(one), two.written) == ([(0, 1)], [b"other"])

    def test_the_bytes_are_let_go_with_the_last_viewer(self, stage: Stage) -> None:
        sink = StallingSink()
        sink.watch(stage.log, 0, stage.flusher)
        stage.say("a")
        stage.turns.turn()
        assert stage.log.encoded_cache
        stage.log.append(Finished("stop"))
        stage.turns.turn()
        assert not stage.log.encoded_cache

    def test_bytes_that_end_inside_what_was_compacted_are_not_used(self, stage: Stage) -> None:
        early, steady, late = StallingSink(), StallingSink(), StallingSink()
        watching = early.watch(stage.log, 0, stage.flusher)
        steady.watch(stage.log, 0, stage.flusher, encoding=lambda log, batch: b"other")
        stage.say("a")
        stage.turns.turn()
        watching.detach()
        stage.say("b", "c")
        stage.turns.turn()
        stage.log.compact(3)
        late.watch(stage.log, 0, stage.flusher)
        stage.turns.turn()
        assert late.deltas() == [Delta("stream", "epoch", 0, 3, [Text("abc")])]

    def test_one_that_raises_does_not_silence_the_others(self, stage: Stage) -> None:
        def broken(log: Log, batch: Batch) -> bytes:
            raise UnicodeError("not mine")

        sinks = [StallingSink() for _ in range(3)]
        sinks[0].watch(stage.log, 0, stage.flusher)
        sinks[1].watch(stage.log, 0, stage.flusher, encoding=broken)
        sinks[2].watch(stage.log, 0, stage.flusher)
        stage.say("a")
        with pytest.raises(UnicodeError):
            stage.turns.turn()
        stage.turns.settle()
        assert [len(sink.sent) for sink in sinks] == [1, 0, 1]


class Client:
    """What is at the other end of a socket: it adds up what it gets, and keeps its position."""

    def __init__(self, epoch: str, offset: int, fold: ReplySnapshot) -> None:
        self.epoch = epoch
        self.offset = offset
        self.fold = fold
        self.sink = StallingSink()
        self.viewer: Subscriber | None = None
        self.ended = 0

    def read(self, frames: int) -> None:
        """Take up to so many frames off the wire. Each must go on exactly where the last one stopped."""
        for delta in map(decode, self.sink.take(frames)):
            assert (delta.epoch, delta.from_) == (self.epoch, self.offset)
            assert delta.to > delta.from_
            for event in delta.events:
                self.fold.apply(event)
            self.offset = delta.to

    def cut(self) -> None:
        """The socket is gone, with everything on it that was not read."""
        if self.viewer is not None:
            self.viewer.detach()
        self.viewer = None
        self.sink = StallingSink()


class Watching(RuleBasedStateMachine):
    """Any interleaving of writing, watching, stalling, cutting, coming back, compacting and losing the log."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        self.turns = ManualLoop()
        self.flusher = Flusher(self.turns)
        self.epochs = 0
        self.clients: list[Client] = []
        self.books: dict[str, Book] = {}
        self.lose()

    @initialize(characters=st.sampled_from([80, 300, subscriber.FRAME_CHARACTERS]))
    def frames(self, characters: int) -> None:
        self.patch.setattr(subscriber, "FRAME_CHARACTERS", characters)

    @property
    def book(self) -> Book:
        return self.books[self.log.epoch]

    def readable(self) -> st.SearchStrategy[int]:
        return st.sampled_from([0, *range(self.log.base, self.log.next + 1)])

    def some_client(self, data: st.DataObject) -> Client:
        return data.draw(st.sampled_from(self.clients))

    @rule(events=st.lists(ordinary, min_size=1, max_size=8))
    def write(self, events: list[Event]) -> None:
        if not self.log.closed:
            for event in events:
                self.log.append(event)
                self.book.write(event)

    @precondition(lambda self: not self.log.closed)
    @rule(data=st.data())
    def rewind(self, data: st.DataObject) -> None:
        to = data.draw(st.integers(max(self.log.base, self.book.last_tool), self.log.next))
        self.log.rewind(to)
        self.book.rewind(to)

    @precondition(lambda self: not self.log.closed and self.log.next > 5)
    @rule(event=terminals)
    def end(self, event: Terminal) -> None:
        self.log.append(event)
        self.book.write(event)

    @rule(data=st.data())
    def compact(self, data: st.DataObject) -> None:
        self.log.compact(data.draw(st.integers(0, self.log.next)))

    @precondition(lambda self: self.epochs < 4)
    @rule()
    def lose(self) -> None:
        """The server dies; it comes back with a log of a new epoch."""
        for client in self.clients:
            client.cut()
        self.epochs += 1
        self.log = Log("stream", f"epoch {self.epochs}")
        self.books[self.log.epoch] = Book()

    @precondition(lambda self: len(self.clients) < 6)
    @rule(data=st.data())
    def come(self, data: st.DataObject) -> None:
        """A client that knows everything before some offset, as one would that was told by another way."""
        offset = data.draw(self.readable())
        known = self.log.since(0).events if offset == self.log.next else []
        if offset == self.log.base:
            known = self.log._compacted
        if offset not in (0, self.log.base, self.log.next):
            known = self.log._prefix(offset)
        client = Client(self.log.epoch, offset, ReplySnapshot(known))
        self.clients.append(client)
        self.attach(client)

    def attach(self, client: Client) -> None:
        def ended(viewer: Subscriber) -> None:
            client.ended += 1

        client.ended = 0
        client.viewer = client.sink.watch(self.log, client.offset, self.flusher, ended=ended)

    @precondition(lambda self: self.clients)
    @rule(data=st.data(), frames=st.integers(0, 3))
    def read(self, data: st.DataObject, frames: int) -> None:
        self.some_client(data).read(frames)

    @precondition(lambda self: self.clients)
    @rule(data=st.data())
    def stall(self, data: st.DataObject) -> None:
        self.some_client(data).sink.stall()

    @precondition(lambda self: self.clients)
    @rule(data=st.data())
    def take_again(self, data: st.DataObject) -> None:
        self.some_client(data).sink.resume()

    @precondition(lambda self: self.clients)
    @rule(data=st.data())
    def cut(self, data: st.DataObject) -> None:
        self.some_client(data).cut()

    @precondition(lambda self: self.clients)
    @rule(data=st.data())
    def come_back(self, data: st.DataObject) -> None:
        client = self.some_client(data)
        client.cut()
        match resume(self.log, Position("stream", client.epoch, client.offset)):
            case Continue(offset):
                assert (client.epoch, client.offset) == (self.log.epoch, offset)
            case Reset(reason):
                assert reason == ("epoch" if client.epoch != self.log.epoch else "trimmed")
                client.epoch, client.offset, client.fold = self.log.epoch, 0, ReplySnapshot()
        self.attach(client)

    @rule(offset=st.integers(1, 2**40))
    def come_from_the_future(self, offset: int) -> None:
        assert resume(self.log, Position("stream", self.log.epoch, self.log.next + offset)) == Reset("future")

    @rule()
    def turn(self) -> None:
        self.turns.turn()

    @invariant()
    def each_has_the_fold_of_what_it_has_read(self) -> None:
        for client in self.clients:
            assert page_of(client.fold) == self.books[client.epoch].pages[client.offset]

    def teardown(self) -> None:
        for client in self.clients:
            client.sink.resume()
            if client.viewer is None:
                data = resume(self.log, Position("stream", client.epoch, client.offset))
                if isinstance(data, Reset):
                    client.epoch, client.offset, client.fold = self.log.epoch, 0, ReplySnapshot()
                self.attach(client)
        self.turns.settle()
        for client in self.clients:
            client.read(len(client.sink.written))
            assert client.offset == self.log.next
            assert page_of(client.fold) == self.book.last
            assert client.ended == self.log.closed
            assert client.sink.written == []
        self.patch.undo()


TestWatching = Watching.TestCase
TestWatching.settings = settings(stateful_step_count=60, max_examples=150)
