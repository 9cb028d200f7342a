"""Who may do what: tokens that are none, things that are somebody else's, pages of other sites, and names that were turned."""

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp
import jwt
import pytest
import websockets
from tests.gateway.server import calling
from tests.unbroken.process import ServerProcess
from websockets.asyncio.client import ClientConnection

from legato.gateway.server import Server
from legato.protocol.messages import PROTOCOL
from legato.storage.sql.sqlite import SqliteDatabase
from legato.storage.sql.store import SqlStorage
from legato.testing.engine import ScriptedEngine

from .conftest import connected

SECRET = "a secret that nobody guesses, since it is this long"

AUDIENCE = "legato here"


def token(user: str, secret: str = SECRET, algorithm: str = "HS256", **claims: object) -> str:
    said = {"sub": user, "exp": time.time() + 600, "aud": AUDIENCE, **claims}
    return jwt.encode({name: value for name, value in said.items() if value is not None}, secret, algorithm)


def unsigned(**header: object) -> str:
    said = {"sub": "ada", "exp": time.time() + 600, "aud": AUDIENCE}
    parts = [base64.urlsafe_b64encode(json.dumps(each).encode()).rstrip(b"=") for each in (header, said)]
    return b".".join([*parts, b""]).decode()


@pytest.fixture
async def server(serve: Callable[..., Any]) -> AsyncIterator[Server]:
    async with serve(auth={"jwt_secret": SECRET, "audience": AUDIENCE}) as server:
        yield server


async def told(socket: ClientConnection) -> AsyncIterator[str]:
    """Every frame until the socket is closed, in whatever way."""
    with suppress(websockets.ConnectionClosed):
        while True:
            yield str(await socket.recv())


def bad_tokens() -> dict[str, str]:
    good = token("ada")
    head, _, signature = good.split(".")
    return {
        "none": unsigned(alg="none"),
        "None": unsigned(alg="None"),
        "none with a signature": unsigned(alg="none") + signature,
        "no alg": unsigned(typ="JWT"),
        "alg a list": unsigned(alg=["HS256"]),
        "another alg": token("ada", SECRET * 3, "HS512"),
        "another secret": token("ada", "x" * 40),
        "expired": token("ada", exp=time.time() - 3600),
        "no exp": token("ada", exp=None),
        "exp not a number": token("ada", exp="soon"),
        "not yet": token("ada", nbf=time.time() + 3600),
        "wrong aud": token("ada", aud="another service"),
        "no aud": token("ada", aud=None),
        "no sub": token("ada", sub=None),
        "empty sub": token(""),
        "nul in sub": token("a\0da"),
        "half a pair in sub": token("a\ud800"),
        "long sub": token("a" * 129),
        "sub a list": token("ada", sub=["ada"]),
        "no scope": token("ada", scope=""),
        "cut": good[:-3],
        "swapped body": ".".join([head, token("bob").split(".")[1], signature]),
        "no parts": "onepart",
        "dots": "..",
        "huge": "x" * 30_000,
        "bytes": "\u00e9\u00ff",
    }


@pytest.mark.parametrize("name", bad_tokens())
async def test_a_token_that_is_none_opens_nothing(server: Server, name: str) -> None:
    bad = bad_tokens()[name]
    url = server.address.replace("http", "ws", 1) + "/ws"
    async with websockets.connect(url, subprotocols=[websockets.Subprotocol(PROTOCOL)]) as socket:
        await socket.send(json.dumps({"type": "hello", "token": bad}))
        frames = [json.loads(raw) async for raw in told(socket)]
        assert {frame["type"] for frame in frames} == {"error"}
        assert all(bad not in frame["message"] for frame in frames)
        assert socket.close_code == (4003 if name == "no scope" else 4001)
        assert bad not in str(socket.close_reason)
    async with calling(server) as http:
        sent = {"authorization": f"Bearer {bad}"}
        async with http.get("/api/conversations", headers=sent) as response:
            assert response.status in (401, 403)
            assert bad not in await response.text()
        async with http.get("/api/conversations", params={"ticket": bad}) as response:
            assert response.status in (401, 403, 431)
        async with http.get("/api/conversations", params={"token": token("ada")}) as response:
            assert response.status == 401


class NeverAsked:
    """In place of a method that must not be called."""

    def __call__(self, *_: object) -> None:
        raise AssertionError("messages of somebody else were loaded")


async def test_everything_of_somebody_else_is_answered_as_what_is_not(
    server: Server, engine: ScriptedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every command and every route, with the ids of another and with ids of nobody: not a byte differs, and neither does
    what is read from the database. Nothing of the conversation is loaded.
    """
    bearer = {name: {"Authorization": f"Bearer {token(name)}"} for name in ("ada", "bob")}
    async with (
        connected(server, **bearer["ada"]) as ada,
        connected(server, **bearer["bob"]) as bob,
        aiohttp.ClientSession(server.address, headers=bearer["bob"]) as http,
    ):
        ack = await ada.ask("send", client_message_id="k", text="A secret")
        run = await engine.asked()
        run.say("Another")
        mine = {"c": ack["conversation"], "q": ack["message"], "r": ack["reply"]}
        async with http.post(
            f"/api/conversations/{mine['c']}/invitations", headers=bearer["ada"], json={}
        ) as response:
            mine["i"] = (await response.json())["id"]
        nobodys = {name: "00000000-0000-4000-8000-00000000000" + name for name in "cqri"}

        async def tried(of: dict[str, str]) -> list[str]:
            position = {"stream": of["r"], "epoch": "e", "offset": 1}
            commands: list[dict[str, Any]] = [
                {"type": "follow", "conversation": of["c"]},
                {"type": "follow", "conversation": of["c"], "since": 1, "positions": [position]},
                {"type": "unfollow", "conversation": of["c"]},
                {"type": "send", "client_message_id": "b", "conversation": of["c"], "text": "x"},
                {"type": "send", "client_message_id": "b", "parent": of["q"], "text": "x"},
                {"type": "regenerate", "conversation": of["c"], "message": of["r"]},
                {"type": "edit", "conversation": of["c"], "message": of["q"], "text": "x"},
                {"type": "show", "conversation": of["c"], "message": of["r"]},
                {"type": "stop", "conversation": of["c"]},
                {"type": "stop", "conversation": of["c"], "message": of["r"]},
                {"type": "approve", "conversation": of["c"], "message": of["r"], "call": "c"},
                {"type": "typing", "conversation": of["c"]},
                {"type": "typing", "conversation": of["c"], "typing": False},
            ]
            routes = [
                ("GET", "/api/conversations/{c}", None),
                ("GET", "/api/conversations/{c}?branches=all", None),
                ("PATCH", "/api/conversations/{c}", {"title": "Mine"}),
                ("PATCH", "/api/conversations/{c}", {"head": of["q"]}),
                ("DELETE", "/api/conversations/{c}", None),
                ("GET", "/api/conversations/{c}/messages", None),
                ("POST", "/api/conversations/{c}/messages", {"text": "x", "client_message_id": "z"}),
                ("POST", "/api/conversations/{c}/stop", {}),
                ("GET", "/api/conversations/{c}/export", None),
                ("GET", "/api/conversations/{c}/export?format=markdown", None),
                ("GET", "/api/conversations/{c}/participants", None),
                ("PATCH", "/api/conversations/{c}/participants/ada", {"standing": "viewer"}),
                ("PATCH", "/api/conversations/{c}/participants/bob", {"standing": "owner"}),
                ("DELETE", "/api/conversations/{c}/participants/ada", None),
                ("DELETE", "/api/conversations/{c}/participants/bob", None),
                ("GET", "/api/conversations/{c}/invitations", None),
                ("POST", "/api/conversations/{c}/invitations", {}),
                ("POST", "/api/conversations/{c}/invitations", {"standing": "viewer", "expires_in": 60}),
                ("DELETE", "/api/conversations/{c}/invitations/{i}", None),
                ("POST", "/api/invitations/{i}", None),
                ("GET", "/api/streams/{r}", None),
                ("GET", "/api/streams/{r}?position=e:1", None),
                ("GET", "/api/streams/{q}", None),
                ("GET", "/api/conversations?q=secret", None),
                ("HEAD", "/api/conversations/{c}", None),
                ("OPTIONS", "/api/conversations/{c}", None),
                ("PUT", "/api/conversations/{c}", {}),
            ]
            answers = [json.dumps(await bob.ask(command.pop("type"), **command)) for command in commands]
            answers = [json.dumps({**json.loads(each), "re": ""}) for each in answers]
            for method, path, body in routes:
                async with http.request(method, path.format(**of), json=body) as response:
                    head = {k: v for k, v in response.headers.items() if k.lower() != "date"}
                    answers.append(f"{method} {path} {response.status} {head} {await response.text()}")
            masked = json.dumps(answers)
            for name, value in of.items():
                masked = masked.replace(value, name)
            return json.loads(masked)  # type: ignore[no-any-return]

        reads = 0
        read = SqliteDatabase.read

        async def counted(database: SqliteDatabase, work: Callable[..., Any]) -> Any:
            nonlocal reads
            reads += 1
            return await read(database, work)

        monkeypatch.setattr(SqliteDatabase, "read", counted)

        async def answers_and_reads(of: dict[str, str]) -> tuple[list[str], int]:
            before = reads
            return await tried(of), reads - before

        assert await answers_and_reads(mine) == await answers_and_reads(nobodys)
        run.finish()
        assert (await ada.text(ack["reply"]))[0] == "Another"
        # The same of a conversation that is not in memory: nothing of it is loaded.
        monkeypatch.setattr("legato.chat.conversation_cache.TREES", 1)
        async with http.post("/api/conversations", headers=bearer["ada"], json={}) as response:
            other = (await response.json())["id"]
        async with http.get(f"/api/conversations/{other}", headers=bearer["ada"]) as response:
            assert response.status == 200
        monkeypatch.setattr(SqlStorage, "messages", NeverAsked())
        monkeypatch.setattr(SqlStorage, "message", NeverAsked())
        assert await answers_and_reads(mine) == await answers_and_reads(nobodys)


async def test_two_persons_may_use_the_same_key(server: Server, engine: ScriptedEngine) -> None:
    acks = []
    for name in ("ada", "bob"):
        async with connected(server, Authorization=f"Bearer {token(name)}") as client:
            acks.append(await client.ask("send", client_message_id="k", text=f"I am {name}"))
            (await engine.asked()).finish()
    assert not any(ack.get("duplicate") for ack in acks)
    assert acks[0]["conversation"] != acks[1]["conversation"]


HOSTS = {
    "127.0.0.1:{port}": True,
    "localhost:{port}": True,
    "LOCALHOST:{port}": True,
    "localhost.:{port}": True,
    "[::1]:{port}": True,
    "127.0.0.1": True,
    "10.1.2.3:{port}": True,
    "evil.example:{port}": False,
    "evil.example": False,
    "localhost.evil.example:{port}": False,
    "127.0.0.1.evil.example:{port}": False,
    "127.0.0.1:{port}@evil.example": False,
    "evil.example#127.0.0.1": False,
    "": False,
    "2130706433:{port}": False,
}


@pytest.mark.parametrize("host", HOSTS)
async def test_a_name_that_was_turned_to_this_machine_does_not_open_it(
    serve: Callable[..., Any], host: str
) -> None:
    """DNS rebinding: a page of evil.example, whose name now is 127.0.0.1, is of the same site as this server."""
    async with serve() as server, calling(server) as http:
        port = server.address.rpartition(":")[2]
        name = host.format(port=port)
        for method in ("GET", "POST"):
            async with http.request(method, "/api/conversations", headers={"Host": name}, json={}) as answer:
                assert (answer.status < 300) is HOSTS[host], await answer.text()
        wants = (
            f"GET /ws HTTP/1.1\r\nHost: {name}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {'A' * 22}==\r\n\r\n"
        )
        reader, writer = await asyncio.open_connection("127.0.0.1", int(port))
        writer.write(wants.encode())
        status = await reader.readline()
        assert (b" 101 " in status) is HOSTS[host], status
        writer.close()
        await writer.wait_closed()


FOREIGN = ["https://evil.example", "null", "http://127.0.0.1:1", "file://", "http://127.0.0.1.evil.example"]


@pytest.mark.parametrize("origin", FOREIGN)
async def test_a_foreign_page_changes_nothing_and_opens_no_socket(
    serve: Callable[..., Any], origin: str
) -> None:
    async with serve() as server, calling(server) as http:
        headers = {"Origin": origin}
        for method, path in (("POST", "/api/conversations"), ("DELETE", "/api/conversations/x")):
            async with http.request(method, path, headers=headers, json={}) as answer:
                assert answer.status == 403
                assert "access-control-allow-origin" not in answer.headers
        async with http.get("/api/conversations", headers=headers) as answer:
            assert "access-control-allow-origin" not in answer.headers
        preflight = {**headers, "Access-Control-Request-Method": "POST"}
        async with http.options("/api/conversations", headers=preflight) as answer:
            assert "access-control-allow-origin" not in answer.headers
        url = server.address.replace("http", "ws", 1) + "/ws"
        with pytest.raises(websockets.InvalidStatus) as refused:
            await websockets.connect(url, additional_headers=headers)
        assert refused.value.response.status_code == 403


async def test_a_site_that_was_named_may_call_and_no_other(serve: Callable[..., Any]) -> None:
    friend = "https://friend.example"
    async with serve(server={"cors_origins": [friend]}) as server, calling(server) as http:
        for origin, may in ((friend, True), ("https://evil.example", False), (friend + ".evil", False)):
            preflight = {
                "Origin": origin,
                "Access-Control-Request-Method": "PATCH",
                "Access-Control-Request-Headers": "authorization,content-type",
            }
            async with http.options("/api/conversations/x", headers=preflight) as answer:
                assert (answer.headers.get("access-control-allow-origin") == origin) is may
            async with http.post("/api/conversations", headers={"Origin": origin}, json={}) as answer:
                assert (answer.status == 201) is may
                assert (answer.headers.get("access-control-allow-origin") == origin) is may
                assert "access-control-allow-credentials" not in answer.headers


def frames_with(text: str) -> list[str | bytes]:
    """A token in every place of a frame, and at last a frame that ends the connection."""
    return [
        text,
        "\\" + text,
        json.dumps({"type": "ping", "id": text}),
        json.dumps({"type": "hello", "token": text, "ticket": text}),
        json.dumps({"type": "send", "client_message_id": "k", "text": "word-of-a-person"}),
        b"\xff" + text.encode(),
    ]


async def test_no_token_and_no_word_is_in_what_the_server_writes(tmp_path: Path) -> None:
    """Tokens in every place in which they may stand, and in some in which they may not; then what the process wrote is read."""
    config = f'[auth]\njwt_secret = "{SECRET}"\n[assistants.default]\nengine = "demo"\nmodel = "demo:echo"\n'
    server = ServerProcess(tmp_path, config=config)
    await server.start()
    good, bad = token("ada", aud=None), token("ada", "x" * 40, aud=None)
    hidden = [good, bad, "word-of-a-person", SECRET]
    try:
        async with aiohttp.ClientSession(server.address) as http:
            ticket = ""
            for text in (good, bad):
                for headers in (
                    {"Authorization": f"Bearer {text}"},
                    {"Authorization": f"Basic {text}"},
                    {"Cookie": f"token={text}"},
                    {"Last-Event-ID": text, "Authorization": f"Bearer {good}"},
                    {"Host": text},
                ):
                    for path in (
                        f"/api/conversations?token={text}&ticket={text}",
                        f"/api/conversations/{text}",
                        f"/api/streams/{text}?position={text}",
                        f"/{text}",
                        "/health",
                    ):
                        async with http.get(path, headers=headers) as answer:
                            assert text not in await answer.text()
                    async with http.post("/api/conversations", headers=headers, data=text) as answer:
                        assert text not in await answer.text()
            async with http.post("/api/tickets", headers={"Authorization": f"Bearer {good}"}) as answer:
                ticket = (await answer.json())["ticket"]
            hidden.append(ticket)
            for _ in range(2):
                async with http.get("/api/conversations", params={"ticket": ticket}) as answer:
                    assert ticket not in await answer.text()
        for text in (good, bad):
            for path, headers in (
                (f"?token={text}", {}),
                ("", {"Authorization": f"Bearer {text}"}),
                ("", {"Cookie": f"token={text}"}),
                (f"/{text}", {}),
            ):
                refused = ""
                try:
                    async with websockets.connect(server.socket + path, additional_headers=headers) as socket:
                        with suppress(websockets.ConnectionClosed):
                            for frame in frames_with(text):
                                await socket.send(frame)
                        heard = [json.loads(raw) async for raw in told(socket)]
                        assert all(text not in frame.get("message", "") for frame in heard)
                        assert text not in str(socket.close_reason)
                except websockets.InvalidStatus as error:
                    refused = str(error.response.body)
                assert text not in refused
    finally:
        assert await server.stop() == 0
    written = (tmp_path / "stderr").read_text()
    assert written
    for each in hidden:
        assert each not in written
        assert each.rpartition(".")[2] not in written
