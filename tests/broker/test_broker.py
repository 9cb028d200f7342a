"""What every broker guarantees to the gateways that share it. `make_broker` names the implementation under test."""

from collections.abc import Callable

import pytest

from legato.broker.base import (
    Broker,
    Connections,
    ConversationNoted,
    LogKey,
    Note,
    PresenceNoted,
    RemovalNoted,
)
from legato.broker.memory import MemoryBroker
from legato.errors import BusyError
from legato.stream import Finished, Log, Text

MakeGateway = Callable[[str], Broker]
CONVERSATION = "c1"


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def gateway(clock: Clock) -> MakeGateway:
    return MemoryBroker(clock).gateway


class Handler:
    def __init__(self) -> None:
        self.notes: list[tuple[str, Note]] = []
        self.doubts: list[str] = []

    def on_note(self, conversation: str, note: Note) -> None:
        self.notes.append((conversation, note))

    def on_doubt(self, conversation: str) -> None:
        self.doubts.append(conversation)


class TestLogs:
    async def test_the_shown_log_gains_every_event_once_and_in_order(self, gateway: MakeGateway) -> None:
        broker = gateway("a")
        written = Log("r1", "e1")
        shown = broker.logs.show(written, LogKey(CONVERSATION, "r1"), 1)
        for event in (Text("one "), Text("two"), Finished("stop")):
            written.append(event)
        await broker.logs.all_shown(written)
        assert (shown.stream, shown.epoch) == ("r1", "e1")
        assert shown.next == 3
        assert shown.snapshot().text == "one two"
        assert shown.closed

    async def test_of_a_log_that_was_never_shown_there_is_nothing_to_take(self, gateway: MakeGateway) -> None:
        assert await gateway("a").logs.take(LogKey(CONVERSATION, "r1"), 2) is None


class TestNotes:
    async def test_a_note_reaches_the_other_subscribed_gateways_in_order(self, gateway: MakeGateway) -> None:
        a, b, c = gateway("a"), gateway("b"), gateway("c")
        hears, idle, mine = Handler(), Handler(), Handler()
        await a.notes.subscribe(CONVERSATION, mine)
        await b.notes.subscribe(CONVERSATION, hears)
        await c.notes.subscribe("another", idle)
        notes: list[Note] = [ConversationNoted(7), RemovalNoted("ann"), PresenceNoted()]
        for note in notes:
            a.notes.publish(CONVERSATION, note)
        assert hears.notes == [(CONVERSATION, note) for note in notes]
        assert idle.notes == mine.notes == []

    async def test_the_first_subscription_is_a_reason_to_read(self, gateway: MakeGateway) -> None:
        handler = Handler()
        await gateway("a").notes.subscribe(CONVERSATION, handler)
        assert handler.doubts == [CONVERSATION]

    async def test_it_knows_how_many_other_gateways_are_subscribed(self, gateway: MakeGateway) -> None:
        a, b = gateway("a"), gateway("b")
        await a.notes.subscribe(CONVERSATION, Handler())
        assert await a.notes.subscribed_elsewhere(CONVERSATION) == 0
        await b.notes.subscribe(CONVERSATION, Handler())
        assert await a.notes.subscribed_elsewhere(CONVERSATION) == 1
        b.notes.unsubscribe(CONVERSATION)
        b.notes.unsubscribe(CONVERSATION)
        assert await a.notes.subscribed_elsewhere(CONVERSATION) == 0

    async def test_a_gateway_that_left_receives_nothing(self, gateway: MakeGateway) -> None:
        a, b = gateway("a"), gateway("b")
        handler = Handler()
        await b.notes.subscribe(CONVERSATION, handler)
        await b.close()
        a.notes.publish(CONVERSATION, ConversationNoted(1))
        assert handler.notes == []


class TestPresence:
    def test_connections_through_other_gateways_add_up(self, gateway: MakeGateway) -> None:
        a, b, c = gateway("a"), gateway("b"), gateway("c")
        a.presence.set(CONVERSATION, "ann", 1, "Ann")
        b.presence.set(CONVERSATION, "ann", 2, "Ann")
        c.presence.set(CONVERSATION, "ann", 1)
        c.presence.set(CONVERSATION, "bob", 1)
        assert a.presence.elsewhere(CONVERSATION) == {
            "ann": Connections("Ann", 3),
            "bob": Connections(None, 1),
        }

    def test_no_connection_left_is_no_entry(self, gateway: MakeGateway) -> None:
        a, b = gateway("a"), gateway("b")
        b.presence.set(CONVERSATION, "ann", 1)
        b.presence.set(CONVERSATION, "ann", 0)
        b.presence.set(CONVERSATION, "ann", 0)
        assert a.presence.elsewhere(CONVERSATION) == {}

    async def test_the_entries_of_a_gateway_end_with_it(self, gateway: MakeGateway) -> None:
        a, b = gateway("a"), gateway("b")
        b.presence.set(CONVERSATION, "ann", 1)
        await b.close()
        assert a.presence.elsewhere(CONVERSATION) == {}


class TestOneTimeValues:
    async def test_one_of_all_who_ask_takes_it_on_whichever_gateway(self, gateway: MakeGateway) -> None:
        a, b = gateway("a"), gateway("b")
        await a.once.put("ticket", "t", b"ann", 30, owner="ann", per_owner=2)
        assert [await b.once.take("ticket", "t"), await a.once.take("ticket", "t")] == [b"ann", None]

    async def test_kinds_do_not_mix(self, gateway: MakeGateway) -> None:
        a = gateway("a")
        await a.once.put("ticket", "t", b"ann", 30, owner="ann", per_owner=2)
        assert await a.once.take("other", "t") is None

    async def test_it_expires(self, gateway: MakeGateway, clock: Clock) -> None:
        a = gateway("a")
        await a.once.put("ticket", "t", b"ann", 30, owner="ann", per_owner=2)
        clock.now = 30.0
        assert await a.once.take("ticket", "t") is None

    async def test_one_more_than_an_owner_may_have_replaces_their_oldest(self, gateway: MakeGateway) -> None:
        a = gateway("a")
        for name in ("t1", "t2", "t3"):
            await a.once.put("ticket", name, name.encode(), 30, owner="ann", per_owner=2)
        assert [await a.once.take("ticket", name) for name in ("t1", "t2", "t3")] == [None, b"t2", b"t3"]

    async def test_there_is_a_bound_for_all_together(self, clock: Clock) -> None:
        a = MemoryBroker(clock).gateway("a")
        for number in range(10_000):
            await a.once.put("ticket", str(number), b"", 30, owner=str(number), per_owner=2)
        with pytest.raises(BusyError):
            await a.once.put("ticket", "more", b"", 30, owner="more", per_owner=2)
        clock.now = 30.0
        await a.once.put("ticket", "more", b"", 30, owner="more", per_owner=2)


class TestRateLimits:
    async def test_a_limit_is_one_for_all_gateways_and_each_users_own(self, gateway: MakeGateway) -> None:
        a, b = gateway("a"), gateway("b")
        assert [await each.limits.allow("send", "ann", 1.0, 2.0) for each in (a, b)] == [0.0, 0.0]
        assert await b.limits.allow("send", "ann", 1.0, 2.0) > 0.0
        assert await b.limits.allow("send", "bob", 1.0, 2.0) == 0.0
        assert await b.limits.allow("search", "ann", 1.0, 2.0) == 0.0

    async def test_the_wait_that_it_names_is_long_enough(self, gateway: MakeGateway, clock: Clock) -> None:
        limits = gateway("a").limits
        assert await limits.allow("send", "ann", 0.5, 2.0) == 0.0
        seconds = await limits.allow("send", "ann", 0.5, 2.0)
        assert seconds == pytest.approx(2.0)
        clock.now += seconds
        assert await limits.allow("send", "ann", 0.5, 2.0) == 0.0
