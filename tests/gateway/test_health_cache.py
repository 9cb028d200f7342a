"""The engines are asked how they are once a second at most, however many want to know."""

import asyncio
from pathlib import Path

import pytest

from legato.engines.base import Health
from legato.gateway.health_cache import HealthCache
from legato.testing.engine import ScriptedEngine

from .server import calling, serving, settings_for
from .test_http import SECRET, token


class Patient(ScriptedEngine):
    """An engine that says how it is once it is let."""

    def __init__(self) -> None:
        super().__init__("patient")
        self.asked = 0
        self.let = asyncio.Event()

    async def health(self) -> Health:
        self.asked += 1
        await self.let.wait()
        return Health(True, f"look {self.asked}")


async def test_an_answer_holds_for_a_second() -> None:
    engine, now = Patient(), 5.0
    engine.let.set()
    pulse = HealthCache({"patient": engine}, lambda: now)
    first = await pulse()
    assert first == {"patient": Health(True, "look 1")}
    now = 5.9
    assert await pulse() == first
    now = 6.0
    assert (await pulse())["patient"].detail == "look 2"


async def test_all_who_ask_at_the_same_time_share_one_answer_though_one_of_them_leaves() -> None:
    engine, now = Patient(), 0.0
    pulse = HealthCache({"patient": engine}, lambda: now)
    asking = [asyncio.create_task(pulse()) for _ in range(3)]
    await asyncio.sleep(0)
    now = 4.0
    asking.append(asyncio.create_task(pulse()))
    asking.pop(0).cancel()
    await asyncio.sleep(0)
    engine.let.set()
    assert await asyncio.gather(*asking) == [{"patient": Health(True, "look 1")}] * 3


@pytest.mark.parametrize("shown", ["nothing", "nonsense", "a token to chat"])
async def test_strangers_get_only_whether_each_engine_is_ok(tmp_path: Path, shown: str) -> None:
    what = {"nothing": None, "nonsense": "x", "a token to chat": token("ada")}[shown]
    async with serving(settings_for(tmp_path, auth={"jwt_secret": SECRET})) as server:
        async with calling(server, what) as http, http.get("/ready") as response:
            assert response.status == 200
            assert (await response.json())["engines"] == {"demo": {"ok": True}}
        (tmp_path / "legato.db").rename(tmp_path / "away.db")
        async with calling(server, what) as http, http.get("/ready") as response:
            assert response.status == 503
            assert str(tmp_path) not in await response.text()


async def test_who_runs_the_server_hears_all(tmp_path: Path) -> None:
    async with serving(settings_for(tmp_path, auth={"jwt_secret": SECRET})) as server:
        async with calling(server, token("ops", scope="admin")) as http, http.get("/ready") as response:
            assert (await response.json())["engines"]["demo"]["detail"]
        async with calling(server) as http, http.get("/ready") as response:
            assert "detail" not in (await response.json())["engines"]["demo"]
