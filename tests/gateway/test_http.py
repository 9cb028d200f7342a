"""The HTTP side of a whole server, by a plain client."""

import asyncio
import io
import json
import re
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import jwt
import pytest
import websockets
from yarl import URL

from legato.gateway.server import Server
from legato.gateway.web_page import FOLDER

from .server import calling, serving, settings_for

SECRET = "a secret that is long enough for everyone"


def token(user: str, **claims: object) -> str:
    return jwt.encode({"sub": user, "exp": time.time() + 600, **claims}, SECRET, "HS256")


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    async with serving(settings_for(tmp_path)) as server:
        yield server


@pytest.fixture
async def http(server: Server) -> AsyncIterator[aiohttp.ClientSession]:
    async with calling(server) as http:
        yield http


async def created(http: aiohttp.ClientSession, **body: object) -> dict[str, Any]:
    async with http.post("/api/conversations", json=body) as response:
        assert response.status == 201
        return await response.json()  # type: ignore[no-any-return]


async def said(http: aiohttp.ClientSession, conversation: str, text: str, **body: object) -> dict[str, Any]:
    async with http.post(
        f"/api/conversations/{conversation}/messages", json={"text": text, **body}
    ) as response:
        assert response.status in (200, 201), await response.text()
        return await response.json()  # type: ignore[no-any-return]


async def events(response: aiohttp.ClientResponse) -> AsyncIterator[tuple[str | None, dict[str, Any]]]:
    """The events of an SSE response: id and data."""
    last, data = None, None
    async for line in response.content:
        text = line.decode().rstrip("\n")
        if text.startswith("id: "):
            last = text[4:]
        elif text.startswith("data: "):
            data = json.loads(text[6:])
        elif not text and data is not None:
            yield last, data
            data = None


async def heard(http: aiohttp.ClientSession, stream: str, position: str | None = None) -> str:
    """The text of a stream from a position on, to its end."""
    headers = {"last-event-id": position} if position else {}
    text = ""
    async with http.get(f"/api/streams/{stream}", headers=headers) as response:
        assert response.status == 200
        assert response.headers["x-accel-buffering"] == "no"
        async for _, data in events(response):
            for event in data.get("events", []):
                text += event["text"] if event["type"] == "text" else ""
    return text


async def test_a_conversation_from_its_creation_to_its_end(http: aiohttp.ClientSession) -> None:
    conversation = (await created(http, title="Notes"))["id"]
    taken = await said(http, conversation, "one two three")
    assert await heard(http, taken["reply"]) == "one two three"
    async with http.get(f"/api/conversations/{conversation}") as response:
        whole = await response.json()
    assert whole["title"] == "Notes"
    assert [(m["role"], m["status"], m["text"]) for m in whole["messages"]] == [
        ("user", "complete", "one two three"),
        ("assistant", "complete", "one two three"),
    ]
    assert {"id", "role", "status", "parts", "text", "created_at"} <= whole["messages"][0].keys()
    async with http.patch(f"/api/conversations/{conversation}", json={"title": "Scales"}) as response:
        assert (await response.json())["title"] == "Scales"
    async with http.get("/api/conversations", params={"q": "thr", "limit": "200"}) as response:
        hits = (await response.json())["conversations"]
    assert [hit["id"] for hit in hits] == [conversation]
    async with http.delete(f"/api/conversations/{conversation}") as response:
        assert response.status == 204
    async with http.get(f"/api/conversations/{conversation}") as response:
        assert response.status == 404
        assert (await response.json())["error"]["code"] == "not_found"


async def test_the_list_comes_in_pages_last_changed_first(http: aiohttp.ClientSession) -> None:
    ids = [(await created(http, title=str(n)))["id"] for n in range(5)]
    found, cursor = [], None
    async with http.get(f"/api/conversations/{ids[0]}") as response:
        alone = await response.json()
        assert alone.pop("messages") == []
    while True:
        params = {"limit": "2"} | ({"before": cursor} if cursor else {})
        async with http.get("/api/conversations", params=params) as response:
            page = await response.json()
        found += [each["id"] for each in page["conversations"]]
        assert [each for each in page["conversations"] if each["id"] == alone["id"]] in ([], [alone])
        cursor = page["next"]
        if cursor is None:
            break
    assert sorted(found) == sorted(ids)
    assert len(found) == 5


async def test_a_reply_that_is_being_written_has_the_text_so_far(tmp_path: Path) -> None:
    slow = {"default": {"engine": "demo", "model": "demo:echo", "options": {"tokens_per_second": 50}}}
    async with serving(settings_for(tmp_path / "slow", assistants=slow)) as server, calling(server) as http:
        conversation = (await created(http))["id"]
        taken = await said(http, conversation, "word " * 200)
        async with http.get(f"/api/streams/{taken['reply']}") as response:
            async for _, data in events(response):
                if any(event["type"] == "text" for event in data["events"]):
                    break
            async with http.get(f"/api/conversations/{conversation}") as again:
                reply = (await again.json())["messages"][-1]
            assert reply["status"] == "streaming"
            assert reply["text"].startswith("word ")
        async with http.post(f"/api/conversations/{conversation}/stop", json={}) as response:
            assert (await response.json())["messages"] == [taken["reply"]]
        async with http.get(f"/api/conversations/{conversation}") as again:
            assert (await again.json())["messages"][-1]["status"] == "stopped"


async def test_an_sse_stream_continues_at_every_position(http: aiohttp.ClientSession) -> None:
    conversation = (await created(http))["id"]
    words = " ".join(f"w{n}" for n in range(40))
    taken = await said(http, conversation, words)
    assert await heard(http, taken["reply"]) == words
    async with http.get(f"/api/streams/{taken['reply']}") as response:
        positions = [position async for position, _ in events(response)]
    epoch, _, end = (positions[-1] or "").rpartition(":")
    whole = []
    for offset in range(int(end)):
        async with http.get(
            f"/api/streams/{taken['reply']}", params={"position": f"{epoch}:{offset}"}
        ) as response:
            _, first = await anext(events(response))
        assert first["from"] == offset
        whole.append(first["events"][0])
    assert "".join(event["text"] for event in whole if event["type"] == "text").startswith("w0")
    async with http.get(
        f"/api/streams/{taken['reply']}", headers={"last-event-id": f"{epoch}:{end}"}
    ) as response:
        assert response.status == 204


@pytest.mark.parametrize("position", ["x:1", "garbage", ":", "x:-1", "x:" + "9" * 40, "\u00e9:1"])
async def test_an_sse_position_that_was_never_ours_is_reset(
    http: aiohttp.ClientSession, position: str
) -> None:
    conversation = (await created(http))["id"]
    taken = await said(http, conversation, "hello")
    async with http.get(f"/api/streams/{taken['reply']}", params={"position": position}) as response:
        told = [data async for _, data in events(response)]
    assert told[0]["type"] == "reset"
    assert told[1]["from"] == 0


async def test_sent_twice_it_is_taken_once(http: aiohttp.ClientSession) -> None:
    conversation = (await created(http))["id"]
    first = await said(http, conversation, "hello", client_message_id="k")
    again = await said(http, conversation, "hello", client_message_id="k")
    assert again == {**first, "duplicate": True}
    body = {"text": "other", "client_message_id": "k"}
    async with http.post(f"/api/conversations/{conversation}/messages", json=body) as response:
        assert response.status == 409


@pytest.mark.parametrize(
    "body",
    [b"[", b"[]", b"nothing", b'{"text":5}', b'{"text":""}', b"[" * 100_000, b"\xff", b'{"text":"\\ud80"}'],
)
async def test_a_bad_body_is_answered_with_a_sentence(http: aiohttp.ClientSession, body: bytes) -> None:
    conversation = (await created(http))["id"]
    async with http.post(f"/api/conversations/{conversation}/messages", data=body) as response:
        assert response.status == 400
        error = (await response.json())["error"]
    assert error["code"] == "invalid"
    assert error["message"].endswith(".")
    async with http.get(f"/api/conversations/{conversation}") as response:
        assert (await response.json())["messages"] == []


async def test_a_body_that_is_too_large_is_refused(http: aiohttp.ClientSession) -> None:
    async with http.post("/api/conversations", data=io.BytesIO(b"x" * (5 * 1024 * 1024))) as response:
        assert response.status == 413
        assert (await response.json())["error"]["message"] == "A request can have 4 MiB at most."


async def test_a_page_of_another_site_changes_nothing(http: aiohttp.ClientSession) -> None:
    async with http.post(
        "/api/conversations", data=b"{}", headers={"origin": "https://evil.example"}
    ) as response:
        assert response.status == 403
    async with http.get("/api/conversations", headers={"host": "evil.example"}) as response:
        assert response.status == 403
    async with http.get("/api/conversations") as response:
        assert (await response.json())["conversations"] == []


async def test_exports(http: aiohttp.ClientSession) -> None:
    conversation = (await created(http))["id"]
    taken = await said(http, conversation, "hello")
    await heard(http, taken["reply"])
    async with http.get(f"/api/conversations/{conversation}/export") as response:
        assert "attachment" in response.headers["content-disposition"]
        assert len((await response.json())["messages"]) == 2
    async with http.get(
        f"/api/conversations/{conversation}/export", params={"format": "markdown"}
    ) as response:
        assert (await response.text()).startswith("# hello")


async def test_health_ready_info_and_models(http: aiohttp.ClientSession) -> None:
    async with http.get("/health") as response:
        assert await response.json() == {"status": "ok"}
    async with http.get("/ready") as response:
        assert response.status == 200
        assert (await response.json())["ready"] is True
    async with http.get("/api/info") as response:
        info = await response.json()
    assert info["auth"] is False
    assert info["engine"]["model"] == "demo:echo"
    assert info["upload_bytes"] == 20 * 1024 * 1024
    async with http.get("/api/models") as response:
        assert "demo:echo" in [model["name"] for model in (await response.json())["models"]]


async def test_the_openapi_document_is_whole(http: aiohttp.ClientSession) -> None:
    async with http.get("/openapi.json") as response:
        document = await response.json()
    shapes = document["components"]["schemas"]
    text = json.dumps(document)
    for name in {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}:
        assert name in shapes
    sending = document["paths"]["/api/conversations/{conversation}/messages"]["post"]
    assert "422" not in sending["responses"]
    assert "ProblemAnswer" in json.dumps(sending["responses"]["default"])
    assert document["components"]["securitySchemes"]["token"]["scheme"] == "bearer"


async def test_what_is_answered_is_what_the_document_says(http: aiohttp.ClientSession) -> None:
    async with http.get("/openapi.json") as response:
        document = await response.json()
    shapes = document["components"]["schemas"]
    path = f"/api/conversations/{(await created(http))['id']}"
    once = {"text": "hello", "client_message_id": "k"}
    for method, behind, query, body, status in [
        ("POST", "/messages", "", once, 201),
        ("POST", "/messages", "", once, 200),
        ("POST", "/messages", "", {"text": "/help"}, 200),
        ("GET", "/messages", "", None, 200),
        ("GET", "/export", "", None, 200),
        ("GET", "/export", "?format=markdown", None, 200),
        ("GET", "", "", None, 200),
        ("PATCH", "", "", {"title": "Notes"}, 200),
    ]:
        operation = document["paths"]["/api/conversations/{conversation}" + behind][method.lower()]
        async with http.request(method, path + behind + query, json=body) as response:
            assert response.status == status
            schema = operation["responses"][str(status)]["content"][response.content_type]["schema"]
            if response.content_type != "application/json":
                assert schema == {"type": "string"}
                continue
            fields = (await response.json()).keys()
        kinds = [shapes[each["$ref"].rsplit("/", 1)[1]] for each in schema.get("anyOf", [schema])]
        assert any(set(kind["required"]) <= fields <= kind["properties"].keys() for kind in kinds)


async def test_a_change_of_which_a_part_cannot_be_changes_nothing(http: aiohttp.ClientSession) -> None:
    path = f"/api/conversations/{(await created(http, title='Before'))['id']}"
    async with http.patch(path, json={"title": "After", "head": "nothing"}) as response:
        assert response.status == 404
        assert "no such message" in (await response.json())["error"]["message"]
    async with http.get(path) as response:
        assert (await response.json())["title"] == "Before"


async def test_every_answer_forbids_what_the_page_does_not_need(http: aiohttp.ClientSession) -> None:
    async with http.get("/health") as response:
        assert "frame-ancestors 'none'" in response.headers["content-security-policy"]
        assert response.headers["x-content-type-options"] == "nosniff"


async def test_with_a_secret_everything_wants_a_token(tmp_path: Path) -> None:
    async with serving(settings_for(tmp_path, auth={"jwt_secret": SECRET})) as server:
        async with calling(server) as http:
            for path in ("/api/conversations", "/api/models", "/api/streams/x", "/api/conversations/x"):
                async with http.get(path) as response:
                    assert response.status == 401
                    assert response.headers["www-authenticate"] == "Bearer"
            async with http.get("/api/info") as response:
                assert (await response.json())["auth"] is True
        async with calling(server, token("ada")) as ada, calling(server, token("bob")) as bob:
            conversation = (await created(ada))["id"]
            taken = await said(ada, conversation, "hello")
            foreign = []
            for each in (conversation, "nobody's"):
                answers = []
                for method, path, body in [
                    ("GET", f"/api/conversations/{each}", None),
                    ("PATCH", f"/api/conversations/{each}", {"title": "x"}),
                    ("DELETE", f"/api/conversations/{each}", None),
                    ("GET", f"/api/conversations/{each}/messages", None),
                    ("POST", f"/api/conversations/{each}/messages", {"text": "x"}),
                    ("POST", f"/api/conversations/{each}/stop", {}),
                    ("GET", f"/api/conversations/{each}/export", None),
                ]:
                    async with bob.request(method, path, json=body) as response:
                        answers.append((response.status, await response.text()))
                foreign.append(answers)
            assert foreign[0] == foreign[1]
            assert {status for status, _ in foreign[0]} == {404}
            async with bob.get(f"/api/streams/{taken['reply']}") as response:
                assert response.status == 404
            async with ada.post("/api/tickets") as response:
                ticket = (await response.json())["ticket"]
        async with calling(server) as browser:
            async with browser.get("/api/conversations", params={"ticket": ticket}) as response:
                assert len((await response.json())["conversations"]) == 1
            async with browser.get("/api/conversations", params={"ticket": ticket}) as response:
                assert response.status == 401


async def test_a_ticket_gets_no_other_ticket(tmp_path: Path) -> None:
    async with serving(settings_for(tmp_path, auth={"jwt_secret": SECRET})) as server:
        async with calling(server, token("ada")) as ada, ada.post("/api/tickets") as response:
            ticket = (await response.json())["ticket"]
        async with (
            calling(server) as browser,
            browser.post("/api/tickets", params={"ticket": ticket}) as response,
        ):
            assert response.status == 401
            assert "another ticket" in (await response.json())["error"]["message"]


async def test_no_cache_keeps_what_is_one_users(tmp_path: Path) -> None:
    async with serving(settings_for(tmp_path)) as server, calling(server) as http:
        async with http.post("/api/conversations", json={}) as response:
            made = (await response.json())["id"]
            assert response.headers["cache-control"] == "no-store"
        for path in ("", f"/{made}", f"/{made}/messages", f"/{made}/participants", "/gone"):
            async with http.get(f"/api/conversations{path}") as response:
                assert response.headers["cache-control"] == "no-store", path


@pytest.mark.parametrize(
    ("path", "upgrade"),
    [("/api/conversations", ""), ("/ws", "Upgrade: websocket\r\nConnection: Upgrade\r\n")],
)
async def test_a_request_that_names_two_hosts_is_refused(tmp_path: Path, path: str, upgrade: str) -> None:
    async with serving(settings_for(tmp_path)) as server:
        port = server.address.rpartition(":")[2]
        reader, writer = await asyncio.open_connection("127.0.0.1", int(port))
        key = f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {'A' * 22}==\r\n" if upgrade else ""
        hosts = f"Host: 127.0.0.1:{port}\r\nHost: evil.example\r\n"
        writer.write(f"GET {path} HTTP/1.1\r\n{hosts}{upgrade}{key}\r\n".encode())
        assert b" 400 " in await reader.readline()
        writer.close()
        await writer.wait_closed()


async def test_a_token_that_may_not_chat_is_forbidden(tmp_path: Path) -> None:
    async with (
        serving(settings_for(tmp_path, auth={"jwt_secret": SECRET})) as server,
        calling(server, token("eve", scope="metrics")) as http,
        http.get("/api/conversations") as response,
    ):
        assert response.status == 403


async def test_a_client_that_leaves_a_stream_leaves_nothing_behind(tmp_path: Path) -> None:
    slow = {
        "default": {
            "engine": "demo",
            "model": "demo:echo",
            "options": {"tokens_per_second": 50},
            "on_unwatched": "cancel",
        }
    }
    async with serving(settings_for(tmp_path, assistants=slow)) as server, calling(server) as http:
        conversation = (await created(http))["id"]
        taken = await said(http, conversation, "word " * 500)
        async with http.get(f"/api/streams/{taken['reply']}") as response:
            await anext(events(response))
        while True:
            async with http.get(f"/api/conversations/{conversation}") as response:
                if (await response.json())["messages"][-1]["status"] == "stopped":
                    break
            await asyncio.sleep(0)


async def test_the_page_and_its_files(http: aiohttp.ClientSession) -> None:
    if not FOLDER.is_dir():
        pytest.skip("the page was not built into this installation")
    for path in ("/", "/c/any-conversation"):
        async with http.get(path, headers={"accept": "text/html"}) as response:
            assert response.status == 200
            page = await response.text()
            assert response.headers["cache-control"] == "no-cache"
    files = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert files
    for file in files:
        async with http.get(file) as response:
            assert response.status == 200
            kept = "immutable" in response.headers["cache-control"]
            assert kept is (re.search(r"-[\w-]{8}\.", file) is not None)


@pytest.mark.parametrize("name", ["a/b", "/", "50% ä?#", "...", "a b/", "%2F"])
async def test_any_id_has_an_address(server: Server, name: str) -> None:
    path = f"/api/conversations/{quote(name, safe='')}"
    socket = f"{server.address.replace('http', 'ws', 1)}/ws/conversations/{quote(name, safe='')}"
    async with calling(server) as http, websockets.connect(socket) as chunks:
        await chunks.send(json.dumps({"type": "message", "text": "/title Found"}))
        while json.loads(await chunks.recv())["type"] != "done":
            pass

        async def said(method: str, behind: str = "", **body: str) -> tuple[int, Any]:
            url = URL(server.address + path + behind, encoded=True)
            async with http.request(method, url, json=body or None) as response:
                return response.status, await response.json() if response.status != 204 else None

        whole = await said("GET")
        assert (whole[0], whole[1]["id"], whole[1]["title"]) == (200, name, "Found")
        assert (await said("PATCH", title="Renamed"))[1]["title"] == "Renamed"
        assert (await said("GET", "/messages"))[1]["conversation"]["id"] == name
        assert (await said("GET", "/export"))[1]["title"] == "Renamed"
        assert (await said("GET", "/participants"))[0] == 200
        assert (await said("POST", "/stop"))[1] == {"messages": []}
        assert (await said("POST", "/messages/chat", text="/help"))[0] == 200
        assert await said("DELETE") == (204, None)
        assert (await said("GET"))[0] == 404


@pytest.mark.parametrize(
    ("path", "beginning"), [("/api/conversations", b'{"title":'), ("/api/attachments", b"\x89PNG\r\n\x1a\n")]
)
async def test_who_leaves_in_the_middle_of_a_body_is_no_error_of_the_server(
    server: Server, http: aiohttp.ClientSession, path: str, beginning: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    address = URL(server.address)
    reader, writer = await asyncio.open_connection(address.host, address.port)
    head = f"POST {path} HTTP/1.1\r\nhost: {address.authority}\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n"
    writer.write(head.encode() + beginning)
    await writer.drain()
    # An answer to something sent later: the server has read the beginning.
    async with http.get("/health") as response:
        assert response.status == 200
    writer.write_eof()
    await reader.read()
    writer.close()
    await writer.wait_closed()
    async with http.get("/health") as response:
        assert response.status == 200
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


@pytest.mark.parametrize(
    ("accepted", "encoding"),
    [
        ("gzip, deflate, br", "br"),
        ("gzip", "gzip"),
        ("br;q=0, gzip;q=0.5", "gzip"),
        ("identity", None),
        ("", None),
    ],
)
async def test_the_files_of_the_page_come_compressed_as_the_client_accepts(
    http: aiohttp.ClientSession, accepted: str, encoding: str | None
) -> None:
    if not FOLDER.is_dir():
        pytest.skip("the page was not built into this installation")
    script = next((FOLDER / "assets").glob("index-*.js"))
    for path, file in (("/", FOLDER / "index.html"), (f"/assets/{script.name}", script)):
        async with http.get(path, headers={"accept": "text/html", "accept-encoding": accepted}) as response:
            assert response.headers.get("content-encoding") == encoding
            assert response.headers["vary"] == "accept-encoding"
            assert await response.read() == file.read_bytes()
            length, etag = int(response.headers["content-length"]), response.headers["etag"]
        assert (length < file.stat().st_size) is (encoding is not None)
    headers = {"accept-encoding": accepted, "if-none-match": etag}
    async with http.get(f"/assets/{script.name}", headers=headers) as response:
        assert response.status == 304


async def test_the_page_answers_head_requests_and_unknown_paths(http: aiohttp.ClientSession) -> None:
    if not FOLDER.is_dir():
        pytest.skip("the page was not built into this installation")
    async with http.head("/", headers={"accept": "text/html"}) as response:
        assert response.status == 200
        assert response.content_type == "text/html"
    async with http.get("/nothing/here", headers={"accept": "text/html,*/*"}) as response:
        assert response.status == 404
        assert "<div id=" in await response.text()
    for path, accept in (
        ("/nothing", "application/json"),
        ("/api/nothing", "text/html"),
        ("/nothing", "*/*"),
    ):
        async with http.get(path, headers={"accept": accept}) as response:
            assert response.status == 404
            assert (await response.json())["error"]["code"] == "not_found"
