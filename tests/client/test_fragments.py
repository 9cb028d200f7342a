"""Frames that came in fragments, joined."""

import pytest

from legato.client import fragments
from legato.client.fragments import FragmentJoiner
from legato.client.state import ClientState
from legato.protocol.messages import Fragment, Pong, Welcome


def test_groups_are_joined_apart() -> None:
    joiner = FragmentJoiner()
    assert joiner.add(Fragment("a", '{"type":"po', more=True)) is None
    assert joiner.add(Fragment("b", '{"type":"pong","re":"b"}')) == Pong(re="b")
    assert joiner.add(Fragment("a", 'ng","re":"a"}')) == Pong(re="a")


def test_a_message_that_is_too_long_is_dropped_and_the_next_one_is_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fragments, "MAX_CHARACTERS", 30)
    joiner = FragmentJoiner()
    assert joiner.add(Fragment("a", "x" * 20, more=True)) is None
    assert joiner.add(Fragment("a", "x" * 20, more=True)) is None
    assert joiner.add(Fragment("a", "x")) is None
    assert joiner.add(Fragment("b", '{"type":"pong"}')) == Pong()


def test_the_client_takes_a_message_in_fragments_and_forgets_those_of_a_lost_connection() -> None:
    state = ClientState()
    state.connected()
    text = '{"type":"welcome","user":"ada","server":"1"}'
    state.receive(Fragment("1", text[:9], more=True))
    assert state.welcome is None
    state.disconnected()
    state.connected()
    state.receive(Fragment("1", text))
    assert state.welcome == Welcome(user="ada", server="1")
