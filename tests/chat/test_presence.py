"""ConnectionCounts and typing, held against the plainest account of both."""

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from legato.chat.presence import TYPING_SECONDS, ConnectionCounts, TypingTracker

CONVERSATIONS = st.sampled_from("cd")
USERS = st.sampled_from(["ada", "bob", "eve"])
Key = tuple[str, str]


class Here(RuleBasedStateMachine):
    """The account: a list of connections, and of each who types the last time they said so."""

    def __init__(self) -> None:
        super().__init__()
        self.presence, self.typing = ConnectionCounts(), TypingTracker()
        self.connections: list[Key] = []
        self.said: dict[Key, float] = {}
        self.now = 0.0

    @rule(conversation=CONVERSATIONS, user=USERS)
    def enter(self, conversation: str, user: str) -> None:
        self.presence.enter(conversation, user, user.title())
        self.connections.append((conversation, user))

    @rule(conversation=CONVERSATIONS, user=USERS)
    def leave(self, conversation: str, user: str) -> None:
        key = (conversation, user)
        was_here = key in self.connections
        if was_here:
            self.connections.remove(key)
        assert self.presence.leave(conversation, user) is (was_here and key not in self.connections)

    @rule(conversation=CONVERSATIONS, user=USERS)
    def type(self, conversation: str, user: str) -> None:
        key = (conversation, user)
        assert self.typing.begin(conversation, user, self.now) is (key not in self.said)
        self.said[key] = self.now

    @rule(conversation=CONVERSATIONS, user=USERS)
    def send(self, conversation: str, user: str) -> None:
        was = self.said.pop((conversation, user), None) is not None
        assert self.typing.end(conversation, user) is was

    @rule(seconds=st.sampled_from([0.0, 0.5, 2.0, TYPING_SECONDS, 60.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        over = {key for key, said in self.said.items() if said + TYPING_SECONDS <= self.now}
        assert set(self.typing.lapse(self.now)) == over
        for key in over:
            del self.said[key]

    @invariant()
    def agrees(self) -> None:
        for conversation in "cd":
            mine = [user for of, user in self.connections if of == conversation]
            assert self.presence.here(conversation) == {user: mine.count(user) for user in mine}
            for user in ("ada", "bob", "eve"):
                name = user.title() if user in mine else None
                assert self.presence.name(conversation, user) == name
                assert self.typing.typing(conversation, user) is ((conversation, user) in self.said)
        first = min(self.said.values(), default=None)
        assert self.typing.next == (None if first is None else first + TYPING_SECONDS)


TestHere = Here.TestCase


@pytest.mark.parametrize("first", [None, "Ada"])
def test_a_name_that_was_said_once_stays(first: str | None) -> None:
    presence = ConnectionCounts()
    presence.enter("c", "ada", first)
    presence.enter("c", "ada", None)
    assert presence.name("c", "ada") == first
