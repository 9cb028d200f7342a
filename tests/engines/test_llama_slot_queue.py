import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st

from legato.engines.llama.slot_queue import SlotQueue


class Asking:
    """Somebody who asks for a place, holds it until told, and writes down what they hear."""

    def __init__(self, places):
        self.heard = []
        self.holds = False
        self._leave = asyncio.Event()
        self.task = asyncio.create_task(self._ask(places))

    async def _ask(self, places):
        async with places.hold(self.heard.append):
            self.holds = True
            try:
                await self._leave.wait()
            finally:
                self.holds = False

    def leave(self):
        self._leave.set()


async def settle():
    """Until every task that can run has run."""
    for _ in range(150):
        await asyncio.sleep(0)


async def asking(places, count):
    people = [Asking(places) for _ in range(count)]
    await settle()
    return people


async def finish(people):
    for person in people:
        person.task.cancel()
    await asyncio.gather(*(person.task for person in people), return_exceptions=True)


async def test_a_free_place_is_taken_without_waiting():
    [person] = people = await asking(SlotQueue(1), 1)
    assert person.holds
    assert person.heard == []
    await finish(people)


async def test_who_waits_hears_the_place_and_each_change_of_it():
    _holder, second, third = people = await asking(SlotQueue(1), 3)
    assert (second.heard, third.heard) == ([1], [2])
    people[0].leave()
    await settle()
    assert second.holds
    assert third.heard == [2, 1]
    await finish(people)


async def test_leaving_the_queue_moves_those_behind_and_no_one_before():
    _holder, second, third, fourth = people = await asking(SlotQueue(1), 4)
    third.task.cancel()
    await settle()
    assert second.heard == [1]
    assert fourth.heard == [3, 2]
    await finish(people)


async def test_a_newcomer_does_not_pass_those_who_wait():
    places = SlotQueue(1)
    holder, second = people = await asking(places, 2)
    holder.leave()
    newcomer = Asking(places)
    await settle()
    assert second.holds
    assert not newcomer.holds
    await finish([*people, newcomer])


async def test_a_place_given_to_a_cancelled_request_passes_to_the_next():
    holder, second, third = people = await asking(SlotQueue(1), 3)
    holder.leave()
    await asyncio.wait([holder.task])
    second.task.cancel()
    await settle()
    assert third.holds
    await finish(people)


async def test_a_place_is_not_given_to_a_request_that_is_being_cancelled():
    holder, second, third = people = await asking(SlotQueue(1), 3)
    second.task.cancel()
    holder.task.cancel()
    await settle()
    assert third.holds
    await finish(people)


@settings(max_examples=150, deadline=None)
@given(
    count=st.integers(1, 3),
    moves=st.lists(st.tuples(st.sampled_from("alcs"), st.integers(0, 9)), max_size=40),
)
def test_places_are_never_more_than_there_are_and_never_lost(count, moves):
    async def play():
        places = SlotQueue(count)
        people = []
        for move, which in moves:
            match move:
                case "a":
                    people.append(Asking(places))
                case "l" if people:
                    people[which % len(people)].leave()
                case "c" if people:
                    people[which % len(people)].task.cancel()
                case "s":
                    await settle()
            assert sum(person.holds for person in people) <= count
        await settle()
        waiting = [person for person in people if not person.task.done() and not person.holds]
        holding = sum(person.holds for person in people)
        assert not waiting or holding == count
        assert [person.heard[-1] for person in waiting] == list(range(1, len(waiting) + 1))
        await finish(people)
        everyone = await asking(places, count)
        assert all(person.holds for person in everyone)
        await finish(everyone)

    asyncio.run(play())
