"""The slots of an engine: people take turns, and nobody is lost in the queue."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from legato.engines.fair_slots import FairSlots, TurnQueue

USERS = st.lists(st.sampled_from("abcd"), max_size=40)


@given(USERS)
def test_users_take_turns_and_each_in_its_own_order(users: list[str]) -> None:
    queue: TurnQueue[tuple[str, int]] = TurnQueue()
    for number, user in enumerate(users):
        queue.put(user, (user, number))
    expected = queue.in_order()
    taken = [queue.take() for _ in users]
    assert taken == expected
    assert len(queue) == 0
    for user in set(users):
        own = [number for each, number in taken if each == user]
        assert own == sorted(own)
        # Before the n-th item of a user, no other user had more than n items.
        for served, (at, _) in enumerate((at, each) for at, each in enumerate(taken) if each[0] == user):
            before = [each for each, _ in taken[:at]]
            assert all(before.count(other) <= served + 1 for other in set(users))


@given(USERS, st.data())
def test_one_that_is_removed_is_never_taken(users: list[str], data: st.DataObject) -> None:
    queue: TurnQueue[int] = TurnQueue()
    for number, user in enumerate(users):
        queue.put(user, number)
    gone = data.draw(st.sets(st.sampled_from(range(len(users))))) if users else set()
    for number in gone:
        assert queue.remove(users[number], number)
        assert not queue.remove(users[number], number)
    assert {queue.take() for _ in range(len(queue))} == set(range(len(users))) - gone


async def test_another_person_comes_next_although_one_has_two_hundred() -> None:
    slots, order, places = FairSlots(1), list[str](), dict[str, list[int]]()
    go = asyncio.Event()

    async def reply(user: str) -> None:
        async with slots.hold(user, places.setdefault(user, []).append):
            await go.wait()
            order.append(user)

    tasks = [asyncio.create_task(reply("greedy")) for _ in range(200)]
    await asyncio.sleep(0)
    tasks.append(asyncio.create_task(reply("other")))
    await asyncio.sleep(0)
    assert places["other"] == [2]
    go.set()
    await asyncio.gather(*tasks)
    assert order.index("other") == 2
    assert slots.waiting == 0


async def test_one_who_leaves_the_queue_takes_no_slot() -> None:
    slots = FairSlots(1)
    held, release = asyncio.Event(), asyncio.Event()

    async def hold() -> None:
        async with slots.hold("a", lambda place: None):
            held.set()
            await release.wait()

    first = asyncio.create_task(hold())
    await held.wait()
    waiting = asyncio.create_task(hold())
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    release.set()
    await first
    async with asyncio.timeout(5), slots.hold("b", lambda place: None):
        assert slots.waiting == 0


async def test_without_a_number_of_slots_nobody_waits() -> None:
    slots = FairSlots(None)
    async with slots.hold("a", lambda place: None), slots.hold("a", lambda place: None):
        assert slots.waiting == 0
