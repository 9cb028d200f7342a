"""Generations of the APIs: who ends them, who finds them again, and what a restart leaves."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from tests.storage.made import opened

from legato.api.call import CANCEL, CONTINUE, Call, Caller, DisconnectPolicy
from legato.api.generations import Generations
from legato.api.response_stream import ResponseStream
from legato.domain.message import TextPart
from legato.engines.base import Request, Turn
from legato.errors import ConflictError, GoneError, InvalidError, NotFoundError
from legato.storage.sql.api_store import SqlApiStore
from legato.testing.engine import ScriptedEngine

ASKED = Request("scripted", (Turn("user", (TextPart("hi"),)),))


def call(engine: ScriptedEngine, policy: DisconnectPolicy = CANCEL, **fields: Any) -> Call:
    return Call(
        "openai",
        "openai.chat.stream",
        "scripted",
        engine,
        ASKED,
        Caller("ann"),
        on_disconnect=policy,
        **fields,
    )


def text(stream: ResponseStream) -> bytes:
    return b"".join(stream.log.frames(0, 10**9))


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/legato.db"


@asynccontextmanager
async def generating(url: str, now: Callable[[], float] = lambda: 1000.0) -> AsyncIterator[Generations]:
    async with opened(url) as storage:
        generations = Generations(SqlApiStore(storage.database), now=now)
        await generations.open()
        yield generations
        await generations.close()


async def test_the_last_reader_who_leaves_ends_it_down_to_the_engine(url: str) -> None:
    engine = ScriptedEngine()
    async with generating(url) as generations:
        stream = await generations.start(call(engine))
        leave, other = generations.read(stream), generations.read(stream)
        run = await engine.asked()
        run.say("one")
        leave()
        await asyncio.sleep(0)
        assert not run.cancelled
        other()
        await stream.done.wait()
        assert run.cancelled
        assert stream.error is not None
        assert b"[DONE]" not in text(stream)


async def test_the_engine_is_told_who_calls(url: str) -> None:
    engine = ScriptedEngine()
    async with generating(url) as generations:
        asked = replace(call(engine), caller=Caller("ann", "key-1"))
        stream = await generations.start(asked)
        (await engine.asked()).finish()
        await stream.done.wait()
        (request,) = engine.requests
        assert (request.user, request.key, request.conversation) == ("ann", "key-1", "")


async def test_one_that_is_ended_before_it_began_has_an_end(url: str) -> None:
    engine = ScriptedEngine()
    async with generating(url) as generations:
        for asked in (call(engine), call(engine, idempotency_key="k")):
            stream = await generations.start(asked)
            generations.read(stream)()
            await asyncio.wait_for(stream.done.wait(), 30)
            assert stream.error is not None
        assert not engine.requests
        assert not generations.running


async def test_one_that_is_to_go_on_goes_on(url: str) -> None:
    engine = ScriptedEngine()
    async with generating(url) as generations:
        stream = await generations.start(call(engine, CONTINUE))
        generations.read(stream)()
        run = await engine.asked()
        run.say("one")
        run.finish()
        await stream.done.wait()
        assert text(stream).endswith(b"data: [DONE]\n\n")


async def test_with_grace_a_reader_who_comes_back_keeps_it(url: str) -> None:
    engine = ScriptedEngine()
    async with generating(url) as generations:
        stream = await generations.start(call(engine, DisconnectPolicy(0.05)))
        generations.read(stream)()
        back = generations.read(await generations.find("ann", stream.id))
        run = await engine.asked()
        await asyncio.sleep(0.1)
        assert not run.cancelled
        back()
        await stream.done.wait()
        assert run.cancelled


@pytest.mark.parametrize("header", ["cancel", "grace=30", "Continue", "grace=0.5"])
def test_the_three_forms_of_the_header(header: str) -> None:
    expected = {"cancel": 0.0, "grace=30": 30.0, "Continue": None, "grace=0.5": 0.5}[header]
    assert DisconnectPolicy.parse(header, CANCEL).grace == expected


@pytest.mark.parametrize("header", ["", "grace", "grace=-1", "grace=9999", "grace=1e3", "keep"])
def test_other_forms_are_refused(header: str) -> None:
    with pytest.raises(InvalidError):
        DisconnectPolicy.parse(header, CANCEL)


async def test_the_stream_of_another_is_not_found(url: str) -> None:
    engine = ScriptedEngine()
    async with generating(url) as generations:
        stream = await generations.start(call(engine, CONTINUE))
        for owner, name in (("bob", stream.id), ("ann", "none")):
            with pytest.raises(NotFoundError) as caught:
                await generations.find(owner, name)
            assert str(caught.value) == "There is no such stream. It may have ended some time ago."
        await generations.cancel("ann", stream.id)


async def test_one_key_is_one_generation_also_after_a_restart(url: str) -> None:
    engine = ScriptedEngine()
    async with generating(url) as generations:
        first, second = await asyncio.gather(
            *[generations.start(call(engine, idempotency_key="k", fingerprint="f")) for _ in range(2)]
        )
        assert first is second
        run = await engine.asked()
        run.say("once")
        run.finish()
        await first.done.wait()
    async with generating(url) as generations:
        third = await generations.start(call(engine, idempotency_key="k", fingerprint="f"))
        assert (third.id, text(third), third.done.is_set()) == (first.id, text(first), True)
        with pytest.raises(ConflictError):
            await generations.start(call(engine, idempotency_key="k", fingerprint="g"))


async def test_what_a_killed_server_left_ends_with_an_error(url: str) -> None:
    engine = ScriptedEngine()
    async with opened(url) as storage:
        store = SqlApiStore(storage.database)
        killed = Generations(store, now=lambda: 1000.0)
        await killed.open()
        stream = await killed.start(call(engine, CONTINUE))
        run = await engine.asked()
        run.say("kept ")
        while not await store.frames(stream.id):
            await asyncio.sleep(0.01)
        kept = str(stream.log.end)
        run.say("lost ")
        lost = str(stream.log.end)
        before = b"".join(stream.log.frames(0, 10**9))
        async with generating(url) as generations:
            again = await generations.find("ann", stream.id)
            after = text(again)
            assert before.startswith(after[: again.log.position(kept)])
            assert b"lost" not in after
            assert b'"error"' in after[again.log.position(kept) :]
            assert b"[DONE]" not in after
            assert again.error is not None
            with pytest.raises(GoneError):
                again.log.position(lost)
            await killed.close()
            assert text(await generations.find("ann", stream.id)) == after
        assert b"".join(await store.frames(stream.id)) == after


async def test_a_stored_response_expires(url: str) -> None:
    engine, now = ScriptedEngine(), [1000.0]
    async with generating(url, lambda: now[0]) as generations:
        stream = await generations.start(call(engine, CONTINUE))
        run = await engine.asked()
        run.finish()
        await stream.done.wait()
    now[0] += 25 * 3600
    async with generating(url, lambda: now[0]) as generations:
        with pytest.raises(NotFoundError):
            await generations.find("ann", stream.id)


async def test_a_deleted_response_is_gone(url: str) -> None:
    engine = ScriptedEngine()
    async with generating(url) as generations:
        stream = await generations.start(call(engine, CONTINUE))
        run = await engine.asked()
        run.say("x")
        await generations.delete("ann", stream.id)
        assert run.cancelled
        with pytest.raises(NotFoundError):
            await generations.find("ann", stream.id)


async def test_the_end_is_stored_before_it_is_shown(url: str) -> None:
    engine = ScriptedEngine()
    async with opened(url) as storage:
        store = SqlApiStore(storage.database)
        generations = Generations(store, now=lambda: 1000.0)
        await generations.open()
        stream = await generations.start(call(engine, CONTINUE))
        run = await engine.asked()
        run.say("x")
        ended_when_shown: list[asyncio.Task[Any]] = []

        def look() -> None:
            if text(stream).endswith(b"data: [DONE]\n\n"):
                ended_when_shown.append(asyncio.ensure_future(store.stream(stream.id)))

        stream.log.listen(look)
        run.finish()
        await stream.done.wait()
        (stored,) = await asyncio.gather(*ended_when_shown)
        assert stored.ended
        assert b"".join(await store.frames(stream.id)) == text(stream)
        await generations.close()
