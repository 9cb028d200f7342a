"""API keys and anonymous networks: the official SDKs on a real port, and keys made beside the running server."""

import asyncio
import base64
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import anthropic
import ollama
import openai
import pytest
from tests.api.keys import SECRET, make_key, revoke
from tests.gateway.server import calling, serving, settings_for

from legato.api.call import Caller
from legato.api.catalog import ModelCatalog
from legato.chat.assistant import Assistant
from legato.chat.reply import ResolvedAssistant
from legato.errors import ModelNotFoundError, OverLimitError
from legato.gateway.auth import issue_token
from legato.gateway.callers import FAILURES_PER_MINUTE, FailedKeyLimiter
from legato.gateway.server import Server
from legato.testing.engine import ScriptedEngine

MODEL = "demo:echo"
ASKED: Any = [{"role": "user", "content": "one two"}]
ASSISTANTS = {
    "default": {"engine": "demo", "model": MODEL},
    "slow": {"engine": "demo", "model": MODEL, "options": {"tokens_per_second": 1}},
}


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    settings = settings_for(
        tmp_path,
        auth={"jwt_secret": SECRET},
        assistants=ASSISTANTS,
        aliases={"gpt-4o": MODEL, "plain:latest": MODEL},
    )
    async with serving(settings) as server:
        yield server


def sdk(server: Server, key: str) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{server.address}/v1", api_key=key, max_retries=0)


@asynccontextmanager
async def llama_of(server: Server, key: str | None = None) -> AsyncIterator[ollama.AsyncClient]:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    async with ollama.AsyncClient(server.address, headers=headers) as client:
        yield client


async def status(server: Server, path: str = "/v1/models", **headers: str) -> int:
    async with calling(server) as http, http.get(path, headers=headers) as answer:
        return answer.status


async def test_a_key_made_beside_the_server_works_at_once_in_every_sdk(server: Server) -> None:
    key = await make_key(server)
    async with sdk(server, key) as client:
        done = await client.chat.completions.create(model=MODEL, messages=ASKED)
        assert done.choices[0].message.content == "one two"
    async with anthropic.AsyncAnthropic(base_url=server.address, api_key=key) as claude:
        message = await claude.messages.create(model=MODEL, max_tokens=9, messages=ASKED)
        assert message.content
    async with llama_of(server, key) as llama:
        assert (await llama.chat(MODEL, ASKED)).message.content == "one two"


async def test_a_wrong_key_is_refused_in_the_shape_of_each_api(server: Server) -> None:
    for key in ("sk-" + "0" * 48, "none"):
        async with sdk(server, key) as client:
            with pytest.raises(openai.AuthenticationError):
                await client.chat.completions.create(model=MODEL, messages=ASKED)
        async with anthropic.AsyncAnthropic(base_url=server.address, api_key=key, max_retries=0) as claude:
            with pytest.raises(anthropic.AuthenticationError):
                await claude.messages.create(model=MODEL, max_tokens=9, messages=ASKED)
        async with llama_of(server, key) as llama:
            with pytest.raises(ollama.ResponseError) as caught:
                await llama.chat(MODEL, ASKED)
        assert caught.value.status_code == 401


async def test_a_key_is_taken_in_the_ways_of_all_clients(server: Server) -> None:
    key = await make_key(server)

    def basic(text: str) -> str:
        return "Basic " + base64.b64encode(text.encode()).decode()

    for headers in (
        {"Authorization": f"bearer  {key} "},
        {"X-Api-Key": key},
        {"api-key": key},
        {"Authorization": basic(f"me:{key}")},
        {"Authorization": basic(f"{key}:")},
        {"Authorization": basic("proxy:password"), "X-Api-Key": key},
        {"Authorization": "Bearer ", "X-Api-Key": key},
    ):
        assert await status(server, **headers) == 200, headers
    for headers in ({}, {"Authorization": basic("me:other")}, {"Authorization": "Basic %%%"}):
        assert await status(server, **headers) == 401, headers
    token = issue_token(server.settings.auth, "ann", 60, time.time())
    assert await status(server, Authorization=f"Bearer {token}") == 200


async def test_a_key_is_for_the_apis_alone(server: Server) -> None:
    key = await make_key(server)
    async with calling(server, key) as http:
        async with http.get("/api/conversations") as answer:
            assert answer.status == 401
            assert "API key" in (await answer.json())["error"]["message"]
        with pytest.raises(aiohttp.WSServerHandshakeError):
            async with http.ws_connect("/ws/tokens"):
                pass


async def test_a_revoked_key_stops_with_its_streams(server: Server) -> None:
    key = await make_key(server)
    other = await make_key(server, "other")
    body = {"model": "slow", "stream": True, "messages": [{"role": "user", "content": "a b " * 40}]}
    async with (
        calling(server, key) as http,
        calling(server, other) as unharmed,
        unharmed.post("/v1/chat/completions", json=body) as going_on,
        http.post("/v1/chat/completions", json=body) as answer,
    ):
        await answer.content.readuntil(b"content")
        await going_on.content.readuntil(b"content")
        await revoke(server)
        async with asyncio.timeout(10):
            rest = await answer.read()
        assert b"revoked" in rest
        assert b"[DONE]" not in rest
        async with http.get("/v1/models") as refused:
            assert refused.status == 401
            assert "revoked" in (await refused.json())["error"]["message"]
        await going_on.content.readuntil(b"content")


async def test_a_revoked_key_reads_no_stream_of_another_key(server: Server) -> None:
    writing, reading = await make_key(server, "writing"), await make_key(server)
    body = {"model": "slow", "messages": [{"role": "user", "content": "a b " * 40}]}

    async def ask(http: aiohttp.ClientSession, stream: bool) -> aiohttp.ClientResponse:
        once = {"idempotency-key": f"once {stream}"}
        return await http.post("/v1/chat/completions", json={**body, "stream": stream}, headers=once)

    async with calling(server, writing) as writer, calling(server, reading) as reader:
        waiting = asyncio.create_task(ask(writer, False))
        going_on, answer = await ask(writer, True), await ask(reader, True)
        asked = asyncio.create_task(ask(reader, False))
        await answer.content.readuntil(b"content")
        await revoke(server)
        async with asyncio.timeout(10):
            with pytest.raises(aiohttp.ClientPayloadError):
                await answer.read()
            refused = await asked
        assert refused.status == 401
        assert "revoked" in (await refused.json())["error"]["message"]
        await going_on.content.readuntil(b"content")
        assert not waiting.done()
        going_on.close()
        waiting.cancel()
        await asyncio.wait([waiting])


async def test_an_expired_key_is_refused(server: Server) -> None:
    key = await make_key(server, expires_at=time.time() - 1)
    async with sdk(server, key) as client:
        with pytest.raises(openai.AuthenticationError, match="expired"):
            await client.models.list()


async def test_other_models_do_not_exist_for_a_key_with_models(server: Server) -> None:
    key = await make_key(server, models=(MODEL,))
    async with sdk(server, key) as client:
        assert [each.id async for each in client.models.list()] == [MODEL]
        assert (await client.chat.completions.create(model=MODEL, messages=ASKED)).choices
        for name in ("default", "gpt-4o", "gpt-4o:latest", "plain", "demo:markdown", "none"):
            with pytest.raises(openai.NotFoundError) as caught:
                await client.chat.completions.create(model=name, messages=ASKED)
            assert repr(name) in caught.value.message
            with pytest.raises(openai.NotFoundError):
                await client.models.retrieve(name)
    async with llama_of(server, key) as llama:
        assert [each.model for each in (await llama.list()).models] == [MODEL]
        for name in ("default", "plain:latest"):
            with pytest.raises(ollama.ResponseError) as refused:
                await llama.show(name)
            assert refused.value.status_code == 404
    async with anthropic.AsyncAnthropic(base_url=server.address, api_key=key) as claude:
        with pytest.raises(anthropic.NotFoundError):
            await claude.messages.count_tokens(model="default", messages=ASKED)


async def test_a_key_may_name_an_alias_or_an_assistant_in_any_spelling(server: Server) -> None:
    key = await make_key(server, models=("plain", "default:latest"))
    async with sdk(server, key) as client:
        assert [each.id async for each in client.models.list()] == ["default", "plain:latest"]
        for name in ("plain", "plain:latest", "default", "default:latest"):
            done = await client.chat.completions.create(model=name, messages=ASKED)
            assert done.model == name
        with pytest.raises(openai.NotFoundError):
            await client.chat.completions.create(model=MODEL, messages=ASKED)


async def test_a_key_with_models_writes_in_no_conversation(server: Server) -> None:
    key = await make_key(server, models=(MODEL,))
    body = {"model": MODEL, "messages": ASKED}
    async with (
        calling(server, key) as http,
        http.post("/v1/chat/completions", json=body, headers={"legato-conversation": "c"}) as answer,
    ):
        assert answer.status == 403


async def test_a_key_does_only_what_its_scopes_say(server: Server) -> None:
    key = await make_key(server, scopes=("embed",))
    async with sdk(server, key) as client:
        assert (await client.models.list()).data
        with pytest.raises(openai.PermissionDeniedError, match="`chat`"):
            await client.chat.completions.create(model=MODEL, messages=ASKED)
        with pytest.raises(openai.PermissionDeniedError):
            await client.responses.retrieve("resp_x")


async def test_two_keys_of_one_user_share_streams_and_another_user_finds_none(server: Server) -> None:
    keys = [await make_key(server, name, user) for name, user in (("a", "ann"), ("b", "ann"), ("c", "bob"))]
    body = {"model": MODEL, "stream": True, "messages": ASKED}
    named = []
    for key in keys:
        async with (
            calling(server, key) as http,
            http.post("/v1/chat/completions", json=body, headers={"idempotency-key": "once"}) as answer,
        ):
            named.append(answer.headers["legato-stream"])
            await answer.read()
    assert named[0] == named[1] != named[2]


async def test_a_server_without_authentication_takes_any_key_but_no_revoked_one(tmp_path: Path) -> None:
    async with serving(settings_for(tmp_path)) as server:
        key = await make_key(server, models=("default",))
        async with sdk(server, key) as client:
            assert [each.id async for each in client.models.list()] == ["default"]
        async with sdk(server, "sk-anything") as client:
            for _ in range(FAILURES_PER_MINUTE + 2):
                assert len((await client.models.list()).data) > 1
        await revoke(server)
        async with asyncio.timeout(10):
            while await status(server, authorization=f"Bearer {key}") == 200:
                await asyncio.sleep(0.05)


async def test_a_key_of_an_open_server_is_refused_when_it_asks_for_authentication(server: Server) -> None:
    key = await make_key(server, user="local")
    assert await status(server, **{"x-api-key": key}) == 401


async def test_clients_of_an_anonymous_network_need_no_key(tmp_path: Path) -> None:
    auth = {"jwt_secret": SECRET, "anonymous_networks": ["127.0.0.0/8"]}
    origins = {"cors_origins": ["*", "https://known.example"]}
    async with serving(settings_for(tmp_path, auth=auth, server=origins)) as server:
        async with llama_of(server) as llama:
            assert (await llama.chat(MODEL, ASKED)).message.content == "one two"
        assert await status(server) == 200
        assert await status(server, "/api/conversations") == 401
        assert await status(server, authorization="Bearer wrong") == 401
        assert await status(server, **{"x-api-key": "sk-wrong"}) == 401
        # Uvicorn trusts proxies on this machine: the address of the client counts.
        assert await status(server, **{"x-forwarded-for": "203.0.113.7"}) == 401
        assert await status(server, **{"x-forwarded-for": "127.0.0.9"}) == 200
        # The address behind these is not known.
        assert await status(server, **{"x-real-ip": "127.0.0.9"}) == 401
        assert await status(server, forwarded="for=127.0.0.9") == 401
        # Pages of web sites, also of those that point their own name here.
        assert await status(server, host="evil.example") == 401
        assert await status(server, host="legato.local") == 200
        assert await status(server, origin="https://evil.example") == 401
        assert await status(server, origin="https://known.example") == 200


async def test_other_networks_need_a_key(tmp_path: Path) -> None:
    auth = {"jwt_secret": SECRET, "anonymous_networks": ["10.0.0.0/8", "::1"]}
    async with serving(settings_for(tmp_path, auth=auth)) as server:
        assert await status(server) == 401
        assert await status(server, **{"x-forwarded-for": "::ffff:10.1.2.3"}) == 200


async def test_an_address_tries_few_wrong_keys(server: Server) -> None:
    key = await make_key(server)
    assert await status(server, **{"x-api-key": key}) == 200
    statuses = [await status(server, **{"x-api-key": f"sk-{number}"}) for number in range(62)]
    assert statuses[0] == 401
    assert statuses[-1] == 429
    assert await status(server, **{"x-api-key": key}) == 200
    token = issue_token(server.settings.auth, "ann", 60, time.time())
    assert await status(server, authorization=f"Bearer {token}") == 200


def test_wrong_keys_are_counted_by_address_and_forgiven() -> None:
    now = 1000.0
    limiter = FailedKeyLimiter(lambda: now, per_minute=3)
    for _ in range(3):
        limiter.count("a")
    with pytest.raises(OverLimitError) as caught:
        limiter.check("a")
    assert caught.value.retry_after == pytest.approx(20)
    limiter.check("b")
    now += 20
    limiter.check("a")


async def test_a_name_that_is_shadowed_stays_so_for_a_key_with_models() -> None:
    """An assistant `x` and a model `x:latest`: both spellings mean the assistant, for every caller."""
    engine = ScriptedEngine("e", models=("x:latest", "y", "z:latest"))
    assistants = {"x": ResolvedAssistant(Assistant(name="x"), engine, "y")}
    catalog = ModelCatalog(
        assistants, {"e": engine}, {"a": "z", "b": "x"}, lambda engine, model: engine, clock=lambda: 0.0
    )

    async def found(caller: Caller, name: str) -> str | None:
        try:
            resolved = await catalog.resolve(name, caller)
            assert (await catalog.find(name, caller)).name in {
                each.name for each in await catalog.models(caller)
            }
        except ModelNotFoundError:
            with pytest.raises(ModelNotFoundError):
                await catalog.find(name, caller)
            return None
        return "x" if resolved.assistant is not None else resolved.model

    names = ("x", "x:latest", "y", "y:latest", "z", "a", "a:latest", "b", "n")
    everything = ["x", "x", "y", "y", "z:latest", "z:latest", "z:latest", "x", None]
    assert [await found(Caller("u"), name) for name in names] == everything
    limited = {"x:latest": "x", "y": "y", "z": "z:latest", "a:latest": "z:latest", "b": "x", "n": None}
    for key, meant in limited.items():
        caller = Caller("u", "k", (key,))
        spellings = {key, key.removesuffix(":latest"), f"{key}:latest"}
        expected = [meant if name in spellings else None for name in names]
        assert [await found(caller, name) for name in names] == expected, key
        assert len(await catalog.models(caller)) == (meant is not None)
