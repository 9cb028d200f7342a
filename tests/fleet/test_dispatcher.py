"""How often people and agents are told, where every one of many things that happen would be something to tell; and of whom."""

import asyncio
from typing import Any

from legato.stream import State
from legato.testing.engine import Recorder


class Waiting(Recorder):
    """Somebody in the line, and the places that they were told."""

    def __init__(self) -> None:
        super().__init__()
        self.places: list[int] = []
        self.news = asyncio.Event()

    def state(self, state: State) -> None:
        super().state(state)
        if state.place is not None:
            self.places.append(state.place)
            self.news.set()

    async def told(self, place: int) -> None:
        async with asyncio.timeout(10):
            while self.places[-1:] != [place]:
                self.news.clear()
                await self.news.wait()


async def test_many_moves_in_the_line_are_told_as_one(fleet: Any) -> None:
    agent = fleet.agent()
    await fleet.ask()
    ahead = [await fleet.ask() for _ in range(3)]
    last = Waiting()
    task, _ = await fleet.ask(out=last)
    await last.told(4)
    for _ in ahead:
        agent.write("x")
        agent.end()
    await last.told(1)
    assert last.places == [4, 1]
    for _ in range(2):
        agent.write("y")
        agent.end()
    await task
    assert last.said == "y"


async def test_one_who_has_their_turn_is_told_no_place_any_more(fleet: Any) -> None:
    agent = fleet.agent()
    await fleet.ask()
    first, second, third = Waiting(), Waiting(), Waiting()
    for out in (first, second, third):
        await fleet.ask(out=out)
    agent.write("x")
    agent.end()
    await third.told(2)
    assert second.places[-1] == 1
    assert first.states[-1].phase == "reading"
    for _ in range(3):
        agent.write("y")
        agent.end()


async def test_events_of_a_link_are_acknowledged_together_and_at_last(fleet: Any) -> None:
    agent = fleet.agent()
    task, _ = await fleet.ask()
    for word in ("one", "two", "three"):
        agent.write(word)
    assert agent.of("ack") == []
    agent.end()
    await task
    assert [ack["offset"] for ack in agent.of("ack")] == [4]


async def test_an_agent_is_called_by_one_line(fleet: Any) -> None:
    for said, name in (
        ("gpu\nWARNING legato: root\x1b[2K\u202e signed in", "gpu WARNING legato: root [2K signed in"),
        ("Grüße 1", "Grüße 1"),
    ):
        fleet.agent(name=said)
        assert fleet.engine.view().agents[-1].name == name
    fleet.agent(name="\n\x00 ")
    assert fleet.engine.view().agents[-1].name.startswith("agent ")
