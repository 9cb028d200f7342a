"""A fleet without sockets: agents by hand, in virtual time."""

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from legato.domain.message import TextPart
from legato.engines.base import Outcome, Request, Turn
from legato.fleet.decisions import SchedulerConfig
from legato.fleet.engine import FleetEngine
from legato.testing.clock import VirtualLoop
from legato.testing.engine import Recorder


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> dict[str, Any]:
    """No socket is in here, so no time has to pass: a lease ends when nothing else is left to happen, however busy the machine."""
    return {"virtual": VirtualLoop}


class ScriptedAgent:
    """An agent that a test controls: `heard` are the gateway's frames, `say` sends one."""

    def __init__(self, fleet: FleetEngine, version: int = 2, owner: str = "") -> None:
        self.fleet = fleet
        self.version = version
        self.heard: list[dict[str, Any]] = []
        self.closed: tuple[int, str] | None = None
        self.connection = fleet.dispatcher.connect(self._hear, self._close, owner=owner)

    def _hear(self, frame: bytes) -> None:
        self.heard.append(msgspec.json.decode(frame))

    def _close(self, code: int, reason: str) -> None:
        self.closed = (code, reason)

    def say(self, type_: str, **fields: Any) -> None:
        self.fleet.dispatcher.received(self.connection, msgspec.json.encode({"type": type_, **fields}))

    def register(self, *models: str, slots: int = 1, continues: bool = True, **more: Any) -> "ScriptedAgent":
        names = list(models or ("m",))
        if self.version == 1:
            self.say("register", models=names, **more)
        else:
            facts = [{"name": name, "can": {"continues": continues}} for name in names]
            self.say("register", models=names, protocol=2, slots=slots, facts=facts, **more)
        return self

    def disconnect(self) -> None:
        self.fleet.dispatcher.disconnected(self.connection)

    def of(self, type_: str) -> list[dict[str, Any]]:
        return [each for each in self.heard if each["type"] == type_]

    @property
    def job(self) -> dict[str, Any]:
        """The last job that it was given."""
        return self.of("job")[-1]

    def write(self, *words: str, begin: int | None = None) -> None:
        job = self.job
        if self.version == 1:
            for word in words:
                self.say("token", jobId=job["jobId"], token=word, done=False)
            return
        attempt = self.connection.attempts.get(job["jobId"])
        start = begin if begin is not None else attempt.received if attempt is not None else 0
        events = [{"type": "text", "text": word} for word in words]
        self.say("events", jobId=job["jobId"], attempt=job["attempt"], **{"from": start}, events=events)

    def end(self, reason: str = "stop") -> None:
        job = self.job
        if self.version == 1:
            self.say("job_complete", jobId=job["jobId"])
            return
        attempt = self.connection.attempts[job["jobId"]]
        events = [{"type": "ended", "reason": reason, "model": job["model"]}]
        self.say(
            "events", jobId=job["jobId"], attempt=job["attempt"], **{"from": attempt.received}, events=events
        )

    def fail(self, code: str, message: str) -> None:
        job = self.job
        attempt = self.connection.attempts[job["jobId"]]
        events = [{"type": "broke", "code": code, "message": message}]
        self.say(
            "events", jobId=job["jobId"], attempt=job["attempt"], **{"from": attempt.received}, events=events
        )


class Unforgiving(Recorder):
    """An `Out` whose reader cannot unread."""

    def rewind(self, to: int = 0) -> bool:
        return False


class ManualFleet:
    """The fleet, its agents, and the replies that are wanted."""

    def __init__(self, *, settled: bool = True, **config: Any) -> None:
        self.engine = FleetEngine(
            SchedulerConfig(**{"grace": 0.02, "lease": 0.3, **config}), clock=asyncio.get_running_loop().time
        )

        if settled:
            self.engine._settled = 0.0

    def agent(self, *models: str, version: int = 2, **register: Any) -> ScriptedAgent:
        return ScriptedAgent(self.engine, version).register(*models, **register)

    async def ask(
        self, text: str = "Hello", out: Recorder | None = None, **fields: Any
    ) -> tuple["asyncio.Task[Outcome]", Recorder]:
        """A reply that is wanted; when this returns, the agent has its job."""
        out = out or Recorder()
        request = Request(fields.pop("model", "m"), (Turn("user", (TextPart(text),)),), **fields)
        task = asyncio.create_task(self.engine.generate(request, out))
        await asyncio.sleep(0)
        return task, out

    async def until(self, condition: Callable[[], Any]) -> None:
        news = asyncio.Event()
        stop = self.engine.listen(news.set)
        try:
            async with asyncio.timeout(10):
                while not condition():
                    news.clear()
                    await news.wait()
        finally:
            stop()


@pytest.fixture
async def build() -> Any:
    fleets: list[ManualFleet] = []

    def one(**config: Any) -> ManualFleet:
        fleets.append(ManualFleet(**config))
        return fleets[-1]

    yield one
    for fleet in fleets:
        await fleet.engine.close()


@pytest.fixture
async def fleet(build: Callable[..., ManualFleet]) -> ManualFleet:
    return build()


@pytest.fixture
def unforgiving() -> Unforgiving:
    return Unforgiving()
