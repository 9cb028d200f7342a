"""Stored responses of OpenAI's Responses across the end of a server: stopped, killed, and started again on the same database."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import openai
import pytest
from tests.gateway.server import serving, settings_for

from legato.api import generations
from legato.api.stream_journal import StreamJournal
from legato.domain.message import TextPart
from legato.engines.base import Turn
from legato.storage.api_base import ApiStreamStore
from legato.testing.engine import ScriptedEngine


@pytest.fixture
def journals(monkeypatch: pytest.MonkeyPatch) -> list[StreamJournal]:
    """The journals of the servers that were started."""
    made: list[StreamJournal] = []

    class Listed(StreamJournal):
        def __init__(self, store: ApiStreamStore) -> None:
            super().__init__(store)
            made.append(self)

    monkeypatch.setattr(generations, "StreamJournal", Listed)
    return made


@asynccontextmanager
async def client_of(folder: Path) -> AsyncIterator[openai.AsyncOpenAI]:
    async with (
        serving(settings_for(folder)) as server,
        openai.AsyncOpenAI(base_url=f"{server.address}/v1", api_key="none", max_retries=0) as client,
    ):
        yield client


async def events_of(client: openai.AsyncOpenAI, name: str, after: int | None = None) -> list[Any]:
    given = {} if after is None else {"starting_after": after}
    return [event async for event in await client.responses.retrieve(name, stream=True, **given)]


async def test_a_killed_server_leaves_a_failed_response_and_never_a_splice(
    engine: ScriptedEngine, journals: list[StreamJournal], tmp_path: Path
) -> None:
    told: list[Any] = []
    async with client_of(tmp_path) as client:
        stream = await client.responses.create(model="default", input="hi", background=True, stream=True)
        run = await engine.asked()
        run.say("kept ")
        async for event in stream:
            told.append(event)
            if event.type == "response.output_text.delta":
                break
        name = told[0].response.id
        await journals[0].write()
        # What follows is lost, as if the server was killed now.
        journals[0].forget(name.removeprefix("resp_"))
        kept = len(told)
        run.say("lost ", "lost")
        run.finish()
        told += [event async for event in stream]
    assert told[-1].type == "response.completed"
    for _ in range(2):
        async with client_of(tmp_path) as client:
            failed = await client.responses.retrieve(name)
            assert (failed.status, failed.output_text) == ("failed", "kept ")
            assert failed.output[0].status == "incomplete"
            assert failed.error is not None
            assert failed.error.code == "server_error"
            events = await events_of(client, name)
            assert events[:kept] == told[:kept]
            assert [event.type for event in events[kept:]] == ["response.failed"]
            assert [event.sequence_number for event in events] == list(range(kept + 1))
            for number in range(kept):
                assert await events_of(client, name, number) == events[number + 1 :]
            for lost in range(kept, len(told)):
                with pytest.raises(openai.APIStatusError) as caught:
                    await events_of(client, name, lost)
                assert caught.value.status_code == 410
            assert await client.responses.cancel(name) == failed


@pytest.mark.parametrize("background", [True, False])
async def test_a_response_without_a_word_is_ended_too(
    engine: ScriptedEngine, journals: list[StreamJournal], tmp_path: Path, background: bool
) -> None:
    async with client_of(tmp_path) as client:
        asking = asyncio.create_task(
            client.responses.create(model="default", input="hi", background=background)
        )
        run = await engine.asked()
        (stream,) = journals[0].open_ids
        journals[0].forget(stream)
        run.finish()
        await asking
    async with client_of(tmp_path) as client:
        failed = await client.responses.retrieve(f"resp_{stream}")
        assert (failed.status, failed.output) == ("failed", [])
        kinds = [event.type for event in await events_of(client, failed.id)]
        assert kinds == [
            "response.created", "response.queued" if background else "response.in_progress", "response.failed",
        ]  # fmt: skip


async def test_a_stopped_server_ends_what_runs_as_failed(engine: ScriptedEngine, tmp_path: Path) -> None:
    async with client_of(tmp_path) as client:
        begun = await client.responses.create(model="default", input="hi", background=True)
        run = await engine.asked()
        run.say("so far")
    assert run.cancelled
    async with client_of(tmp_path) as client:
        failed = await client.responses.retrieve(begun.id)
        assert (failed.status, failed.output_text) == ("failed", "so far")


async def test_a_conversation_goes_on_after_a_restart(
    engine: ScriptedEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[str] = []
    original = generations.Generations.keep

    async def keep(self: generations.Generations, stream_ids: list[str]) -> None:
        kept.extend(stream_ids)
        await original(self, stream_ids)

    monkeypatch.setattr(generations.Generations, "keep", keep)
    previous, events = None, []
    for question in ("one", "two", "three"):
        async with client_of(tmp_path) as client:
            if previous is not None:
                assert await events_of(client, previous) == events
            asking = asyncio.create_task(
                client.responses.create(
                    model="default", input=question, previous_response_id=previous, stream=True
                )
            )
            run = await engine.asked()
            run.say(f"{question}!")
            run.finish()
            events = [event async for event in await asking]
            previous = events[-1].response.id
    assert engine.requests[-1].turns == tuple(
        Turn(role, (TextPart(text),))
        for role, text in (
            ("user", "one"), ("assistant", "one!"), ("user", "two"), ("assistant", "two!"), ("user", "three"),
        )
    )  # fmt: skip
    assert len(kept) == 3
