import asyncio
import json
from typing import Any

import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

from legato.errors import BusyError
from legato.gateway.jwks import (
    MAX_AGE_SECONDS,
    MAX_BYTES,
    MIN_INTERVAL_SECONDS,
    REFRESH_SECONDS,
    KeySet,
    fetch,
)


def public(name: str) -> dict[str, Any]:
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    return {**ECAlgorithm.to_jwk(key, as_dict=True), "kid": name}


class Issuer:
    """Keys that change, at an address that may be down, seen through a clock that stands."""

    def __init__(self, *names: str) -> None:
        self.now = 1000.0
        self.down = False
        self.asked = 0
        self.gate: asyncio.Event | None = None
        self.publish(*names)
        self.keys = KeySet("https://issuer/jwks", self.get, lambda: self.now)

    def publish(self, *names: str) -> None:
        self.body = json.dumps({"keys": [public(name) for name in names]}).encode()

    async def get(self, url: str) -> bytes:
        self.asked += 1
        if self.gate is not None:
            await self.gate.wait()
        if self.down:
            raise OSError("no route")
        return self.body

    async def has(self, name: str | None) -> bool:
        return await self.keys.find(name, "ES256") is not None


async def test_they_are_fetched_once_and_kept() -> None:
    issuer = Issuer("a", "b")
    assert await issuer.has("a")
    assert await issuer.has("b")
    assert issuer.asked == 1


async def test_all_who_wait_wait_for_one_fetch() -> None:
    issuer = Issuer("a")
    issuer.gate = asyncio.Event()
    waiting = [asyncio.create_task(issuer.has("a")) for _ in range(50)]
    quitter = asyncio.create_task(issuer.has("a"))
    await asyncio.sleep(0)
    quitter.cancel()
    issuer.gate.set()
    assert await asyncio.gather(*waiting) == [True] * 50
    assert issuer.asked == 1


async def test_a_new_key_is_found_and_invented_ones_cost_one_fetch_in_a_while() -> None:
    issuer = Issuer("a")
    assert await issuer.has("a")
    issuer.publish("a", "b")
    issuer.now += MIN_INTERVAL_SECONDS
    assert await issuer.has("b")
    for number in range(100):
        assert not await issuer.has(f"invented-{number}")
    assert issuer.asked == 2


async def test_a_key_that_was_withdrawn_is_gone_after_the_next_fetch() -> None:
    issuer = Issuer("a")
    assert await issuer.has("a")
    issuer.publish("b")
    issuer.now += MIN_INTERVAL_SECONDS
    assert await issuer.has("b")
    assert not await issuer.has("a")


async def test_old_keys_are_used_while_new_ones_are_fetched_beside() -> None:
    issuer = Issuer("a")
    assert await issuer.has("a")
    issuer.now += REFRESH_SECONDS + 1
    issuer.gate = asyncio.Event()
    assert await issuer.has("a")
    issuer.gate.set()
    issuer.publish("b")
    assert await issuer.has("b")
    assert issuer.asked == 2


async def test_while_the_issuer_is_down_its_keys_are_used_but_not_for_ever(
    caplog: pytest.LogCaptureFixture,
) -> None:
    issuer = Issuer("a")
    assert await issuer.has("a")
    issuer.down = True
    issuer.now += MAX_AGE_SECONDS - 1
    assert await issuer.has("a")
    issuer.now += MIN_INTERVAL_SECONDS
    with pytest.raises(BusyError):
        await issuer.has("a")
    assert "no route" in caplog.text


async def test_without_any_keys_no_one_is_refused_for_good() -> None:
    issuer = Issuer("a")
    issuer.down = True
    for _ in range(3):
        with pytest.raises(BusyError):
            await issuer.has("a")
    assert issuer.asked == 1
    issuer.down = False
    issuer.now += MIN_INTERVAL_SECONDS
    assert await issuer.has("a")


async def test_a_token_without_a_key_name_needs_a_set_of_one() -> None:
    assert await Issuer("a").has(None)
    assert not await Issuer("a", "b").has(None)


@pytest.mark.parametrize(
    "body",
    [b"", b"nonsense", b"[]", b'{"keys": 3}', b'{"keys": []}', b"[" * 100_000, b'{"keys": [{"kty": "EC"}]}'],
)
async def test_what_is_no_key_set_is_no_key_set(body: bytes) -> None:
    issuer = Issuer("a")
    issuer.body = body
    with pytest.raises(BusyError):
        await issuer.has("a")


async def test_a_shared_secret_among_public_keys_is_never_used() -> None:
    issuer = Issuer("a")
    secret = {"kty": "oct", "k": "c2VjcmV0", "kid": "s", "alg": "HS256"}
    issuer.body = json.dumps({"keys": [secret, public("a")]}).encode()
    assert await issuer.has("a")
    assert await issuer.keys.find("s", "HS256") is None


async def test_close_ends_a_fetch() -> None:
    issuer = Issuer("a")
    issuer.gate = asyncio.Event()
    waiting = asyncio.create_task(issuer.has("a"))
    while not issuer.asked:
        await asyncio.sleep(0)
    await issuer.keys.close()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_fetch_speaks_http_and_reads_no_more_than_it_must() -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        match request.path:
            case "/jwks":
                return web.Response(body=b'{"keys": []}')
            case "/long":
                return web.Response(body=b"x" * (MAX_BYTES + 1))
        return web.Response(status=500)

    app = web.Application()
    app.router.add_get("/{any:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    try:
        assert await fetch(f"http://{host}:{port}/jwks") == b'{"keys": []}'
        for path, reason in (("long", "too long"), ("broken", "500")):
            with pytest.raises(OSError, match=reason):
                await fetch(f"http://{host}:{port}/{path}")
    finally:
        await runner.cleanup()
    with pytest.raises(OSError, match=host):
        await fetch(f"http://{host}:{port}/jwks")
