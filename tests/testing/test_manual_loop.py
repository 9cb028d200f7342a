"""A socket under the hand of a test."""

from legato.stream import Flusher, Log, Text
from legato.testing.sink import ManualLoop, StallingSink, decode


def test_turns_are_taken_by_hand_and_what_they_schedule_waits_for_the_next() -> None:
    turns, heard = ManualLoop(), list[str]()

    def first() -> None:
        heard.append("first")
        turns(lambda: heard.append("second"))

    turns(first)
    assert heard == []
    turns.turn()
    assert (heard, turns.idle) == (["first"], False)
    turns.settle()
    assert (heard, turns.idle) == (["first", "second"], True)


def test_what_was_written_leaves_with_the_flush() -> None:
    sink = StallingSink()
    sink.write(b"one")
    assert (sink.written, sink.sent, sink.take(9)) == ([b"one"], [], [])
    sink.flush()
    sink.write(b"two")
    assert (sink.sent, sink.take(9)) == ([b"one"], [b"one"])
    assert (sink.written, sink.held) == ([b"two"], 3)


def test_a_full_room_stalls_until_the_client_reads() -> None:
    turns, sink, log = ManualLoop(), StallingSink(room=1), Log("stream", "epoch")
    sink.watch(log, 0, Flusher(turns))
    log.append(Text("a"))
    turns.settle()
    log.append(Text("b"))
    turns.settle()
    assert not sink.writable
    assert [decode(data).to for data in sink.take(1)] == [1]
    turns.settle()
    log.append(Text("c"))
    turns.settle()
    sink.drain()
    turns.settle()
    assert [delta.events for delta in sink.deltas()] == [[Text("b")], [Text("c")]]
