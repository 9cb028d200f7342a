"""What is counted of replies."""

from legato.chat.counters import Counters
from legato.stream import Failed, Finished, Usage


def test_a_reply_counts_by_its_end() -> None:
    tally = Counters()
    for end in (Finished("stop"), Finished("stop"), Finished("stopped"), Failed("timeout", "Too slow.")):
        tally.ended("ada", end, 1)
    tally.ended("bob", Finished("length"), 1)
    assert tally.replies == {
        ("ada", "stop"): 2,
        ("ada", "stopped"): 1,
        ("ada", "failed"): 1,
        ("bob", "length"): 1,
    }


def test_tokens_are_the_engines_where_it_counts_them() -> None:
    tally = Counters()
    tally.ended("ada", Finished("stop", Usage(10, 7)), 3)
    tally.ended("ada", Finished("stop", Usage(10, None)), 3)
    tally.ended("ada", Failed("timeout", "Too slow."), 2)
    assert tally.tokens == {"ada": 12}
