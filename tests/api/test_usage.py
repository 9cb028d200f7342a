"""Limits and usage of callers, on a real port: what is counted, what is refused, and what a restart keeps."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest
from tests.api.keys import SECRET, make_key
from tests.gateway.server import calling, serving, settings_for

from legato.api import usage_journal
from legato.api.call import Caller
from legato.api.usage_journal import COUNTED_MODELS, OTHER, PENDING, UsageJournal
from legato.errors import StorageError
from legato.gateway.auth import issue_token
from legato.gateway.server import Server
from legato.gateway.settings import Settings
from legato.storage.api_base import UsageRecord

MODEL = "demo:echo"
ASKED: Any = [{"role": "user", "content": "one two three"}]
ASSISTANTS = {
    "default": {"engine": "demo", "model": MODEL},
    "slow": {"engine": "demo", "model": MODEL, "options": {"tokens_per_second": 20}},
}


def settings_with(folder: Path, **api: Any) -> Settings:
    return settings_for(folder, auth={"jwt_secret": SECRET}, assistants=ASSISTANTS, api=api)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    async with serving(settings_with(tmp_path)) as server:
        yield server


def token(server: Server, user: str = "ann", scopes: str | None = None) -> str:
    return issue_token(server.settings.auth, user, 60, time.time(), scopes=scopes)


def sdk(server: Server, key: str) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{server.address}/v1", api_key=key, max_retries=0)


async def ask(server: Server, key: str, model: str = MODEL) -> int:
    async with sdk(server, key) as client:
        done = await client.chat.completions.create(model=model, messages=ASKED)
        assert done.usage is not None
        return done.usage.total_tokens


async def report(server: Server, key: str, query: str = "") -> dict[str, Any]:
    async with calling(server, key) as http, http.get(f"/api/usage{query}") as answer:
        assert answer.status == 200, await answer.text()
        found: dict[str, Any] = await answer.json()
        return found


async def test_requests_a_minute_are_limited_and_told_in_headers(server: Server) -> None:
    key = await make_key(server, limits={"requests_per_minute": 2})
    async with sdk(server, key) as client:
        raw = await client.chat.completions.with_raw_response.create(model=MODEL, messages=ASKED)
        assert raw.headers["x-ratelimit-limit-requests"] == "2"
        assert raw.headers["x-ratelimit-remaining-requests"] == "1"
        assert raw.headers["x-ratelimit-reset-requests"].endswith("s")
        with pytest.raises(openai.NotFoundError):
            await client.models.retrieve("none")
        with pytest.raises(openai.RateLimitError) as caught:
            await client.chat.completions.create(model=MODEL, messages=ASKED)
        assert caught.value.code == "rate_limit_exceeded"
        assert 1 <= int(caught.value.response.headers["retry-after"]) <= 30
        assert caught.value.response.headers["x-ratelimit-remaining-requests"] == "0"
    async with anthropic.AsyncAnthropic(base_url=server.address, api_key=key, max_retries=0) as claude:
        with pytest.raises(anthropic.RateLimitError) as refused:
            await claude.messages.create(model=MODEL, max_tokens=9, messages=ASKED)
        assert refused.value.response.headers["anthropic-ratelimit-requests-remaining"] == "0"
        assert refused.value.response.headers["anthropic-ratelimit-requests-reset"].endswith("Z")
    async with calling(server, key) as http, http.post("/api/chat", json={"model": MODEL}) as answer:
        assert (answer.status, list(await answer.json())) == (429, ["error"])
    other = await make_key(server, "other")
    assert await ask(server, other)


async def test_the_streams_of_a_key_are_limited(server: Server) -> None:
    key = await make_key(server, limits={"streams": 1})
    body = {"model": "slow", "stream": True, "messages": [{"role": "user", "content": "a b " * 400}]}
    async with calling(server, key) as http:
        async with http.post("/v1/chat/completions", json=body) as answer:
            await answer.content.readuntil(b"content")
            async with http.post("/v1/chat/completions", json=body) as refused:
                assert refused.status == 429
                assert "at once" in (await refused.json())["error"]["message"]
        # The first one was cancelled with its client.
        async with asyncio.timeout(10):
            while True:
                async with http.post("/v1/chat/completions", json={**body, "model": MODEL}) as again:
                    if again.status == 200:
                        break
                    assert again.status == 429
                await asyncio.sleep(0.02)


async def test_the_tokens_of_a_day_hold_over_a_restart(tmp_path: Path) -> None:
    async with serving(settings_with(tmp_path, tokens_per_day=5)) as server:
        key = await make_key(server)
        free = await make_key(server, "free", limits={"tokens_per_day": 0})
        used = await ask(server, key)
        assert used >= 5
        await ask(server, free)
        body = {"model": "slow", "stream": True, "messages": [{"role": "user", "content": "a b " * 400}]}
        async with calling(server, free) as http, http.post("/v1/chat/completions", json=body) as answer:
            await answer.content.readuntil(b"content")
            server.stop()
            server.stop()
            await answer.read()
    async with serving(settings_with(tmp_path, tokens_per_day=5)) as server:
        async with sdk(server, key) as client:
            with pytest.raises(openai.RateLimitError, match="tokens of this day") as caught:
                await client.chat.completions.create(model=MODEL, messages=ASKED)
            headers = caught.value.response.headers
            assert (headers["x-ratelimit-limit-tokens"], headers["x-ratelimit-remaining-tokens"]) == (
                "5",
                "0",
            )
            assert int(headers["retry-after"]) <= 86_400
            assert (await client.models.list()).data
        with pytest.raises(openai.RateLimitError):
            await ask(server, token(server))
        # What the end of the server cancelled is counted, too.
        assert (await report(server, free))["total"]["requests"] == 2
        assert await ask(server, free)
        assert await ask(server, token(server, "bob"))
    async with serving(settings_with(tmp_path, tokens_per_day=5 + 2 * used)) as server:
        # What a key without a limit used does not count for its user.
        async with sdk(server, key) as client:
            raw = await client.models.with_raw_response.list()
        assert raw.headers["x-ratelimit-remaining-tokens"] == str(5 + used)


async def test_usage_is_told_by_key_user_and_model(server: Server) -> None:
    keys = [await make_key(server, name, user) for name, user in (("a", "ann"), ("b", "ann"), ("c", "bob"))]
    used = [await ask(server, key) for key in keys]
    await ask(server, keys[0], "default:latest")
    await ask(server, token(server))
    mine = await report(server, keys[1])
    assert [(each["key"], each["model"], each["requests"]) for each in mine["data"]] == [("key_b", MODEL, 1)]
    assert mine["total"]["total_tokens"] == used[1]
    anns = await report(server, token(server), "?user=bob")
    assert anns["data"] == []
    anns = await report(server, token(server))
    assert {(each["key"], each["model"]) for each in anns["data"]} == {
        ("key_a", MODEL), ("key_a", "default"), ("key_b", MODEL), (None, MODEL)
    }  # fmt: skip
    everyones = await report(server, token(server, "root", "admin"), "?days=1")
    assert everyones["total"]["requests"] == 5
    assert everyones["since"] == everyones["until"]
    bobs = await report(server, token(server, "root", "chat admin"), "?user=bob")
    assert [each["key"] for each in bobs["data"]] == ["key_c"]
    async with calling(server, token(server)) as http, http.get("/api/usage?days=0") as answer:
        assert answer.status == 400
    async with calling(server) as http, http.get("/api/usage") as answer:
        assert answer.status == 401


async def test_usage_is_what_the_responses_tell_in_every_api(server: Server) -> None:
    key = await make_key(server)
    async with sdk(server, key) as client:
        texts = await client.completions.create(model=MODEL, prompt=["one two", "three"], n=2)
        vectors = await client.embeddings.create(model="demo:embed", input=["one", "two three"])
        answered = await client.responses.create(model=MODEL, input="one two three four", background=True)
        while answered.status != "completed":
            await asyncio.sleep(0.02)
            answered = await client.responses.retrieve(answered.id)
    async with anthropic.AsyncAnthropic(base_url=server.address, api_key=key) as claude:
        message = await claude.messages.create(model=MODEL, max_tokens=9, messages=ASKED)
    assert texts.usage is not None
    assert answered.usage is not None
    expected = {
        "demo:embed": vectors.usage.total_tokens,
        MODEL: texts.usage.total_tokens
        + answered.usage.total_tokens
        + message.usage.input_tokens
        + message.usage.output_tokens,
    }
    found = (await report(server, key))["data"]
    assert {each["model"]: each["total_tokens"] for each in found} == expected
    assert {each["model"]: each["requests"] for each in found} == {"demo:embed": 1, MODEL: 3}


async def test_a_cancelled_call_counts_what_it_used(server: Server) -> None:
    key = await make_key(server)
    body = {"model": "slow", "stream": True, "messages": [{"role": "user", "content": "a b " * 400}]}
    async with calling(server, key) as http, http.post("/v1/chat/completions", json=body) as answer:
        await answer.content.readuntil(b"content")
    async with asyncio.timeout(10):
        while not (await report(server, key))["data"]:
            await asyncio.sleep(0.02)
    (row,) = (await report(server, key))["data"]
    assert row["requests"] == 1
    assert 0 < row["completion_tokens"] < 800
    assert row["prompt_tokens"] >= 100


async def test_the_metrics_have_usage_by_model(server: Server) -> None:
    used = await ask(server, await make_key(server))
    async with calling(server, token(server, "root", "admin")) as http, http.get("/metrics") as answer:
        text = await answer.text()
    assert f'legato_api_requests_total{{model="{MODEL}"}} 1.0' in text
    numbers = [
        float(line.rpartition(" ")[2])
        for line in text.splitlines()
        if line.startswith("legato_api_tokens_total{")
    ]
    assert sum(numbers) == used
    assert 'legato_refused_total{kind="api_tokens"} 0.0' in text


class MemoryUsage:
    """A `UsageStore` whose database can fail."""

    def __init__(self) -> None:
        self.fails = False
        self.batches: list[list[UsageRecord]] = []

    async def add_usage(self, records: Any) -> None:
        await asyncio.sleep(0)
        if self.fails:
            raise StorageError("The database is away.")
        self.batches.append(list(records))

    async def usage(self, since: str, user: str | None = None) -> list[UsageRecord]:
        await asyncio.sleep(0)
        return []


async def test_usage_is_written_in_batches_and_survives_a_database_that_fails() -> None:
    store = MemoryUsage()
    journal = UsageJournal(store, now=lambda: 86_400.0)
    store.fails = True
    for _ in range(3):
        journal.add(Caller("ann", "k"), "m", 5, 7)
    with pytest.raises(StorageError):
        await journal.flush()
    store.fails = False
    journal.add(Caller("ann", "k"), "m", 1, 1)
    (seen,) = await journal.records("1970-01-01", "ann")
    assert seen == UsageRecord("1970-01-02", "ann", "k", "m", 4, 16, 22)
    assert await journal.records("1970-01-03") == await journal.records("1970-01-01", "bob") == []
    await journal.close()
    assert store.batches == [[seen]]


async def test_a_journal_that_is_closed_while_it_writes_stores_each_call_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(usage_journal, "FLUSH_SECONDS", 0)
    store, writes, goes_on = MemoryUsage(), asyncio.Event(), asyncio.Event()

    async def add_usage(records: Any) -> None:
        store.batches.append(list(records))
        writes.set()
        await goes_on.wait()

    monkeypatch.setattr(store, "add_usage", add_usage)
    journal = UsageJournal(store, now=lambda: 0.0)
    journal.add(Caller("ann"), "m", 1, 1)
    journal.start()
    await writes.wait()
    journal.add(Caller("ann"), "m", 2, 2)
    closing = asyncio.create_task(journal.close())
    await asyncio.sleep(0)
    goes_on.set()
    await closing
    assert [[each.prompt_tokens for each in batch] for batch in store.batches] == [[1], [2]]


async def test_what_waits_for_a_database_and_what_metrics_name_is_bounded() -> None:
    store = MemoryUsage()
    journal = UsageJournal(store, now=lambda: 0.0)
    for number in range(PENDING + 5):
        journal.add(Caller(str(number)), str(number), 1, 1)
    await journal.flush()
    assert [len(batch) for batch in store.batches] == [PENDING]
    assert len(journal.models) == COUNTED_MODELS + 1
    assert journal.models[OTHER].requests == PENDING + 5 - COUNTED_MODELS
