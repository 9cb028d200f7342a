"""Pictures and recordings over HTTP: uploaded, named in messages, given back, and refused."""

import asyncio
import io
import json
import re
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp
import jwt
import pytest
from tests.chat.media.files import OTHER_PICTURE, PICTURE, SOUND, SPOKEN, data_url
from tests.chat.media.test_sniff import png
from tests.doubles.openai import OpenAIDouble, said
from tests.doubles.transcriptions import TranscriptionsDouble

from legato.gateway.server import Server

from .server import calling, serving, settings_for

SECRET = "a secret that is long enough for everyone"


def token(user: str) -> str:
    return jwt.encode({"sub": user, "exp": time.time() + 600}, SECRET, "HS256")


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    limits = {"max_bytes": 100_000, "quota_bytes": 200_000}
    async with serving(settings_for(tmp_path, attachments=limits, auth={"jwt_secret": SECRET})) as server:
        yield server


@pytest.fixture
async def ada(server: Server) -> AsyncIterator[aiohttp.ClientSession]:
    async with calling(server, token("ada")) as http:
        yield http


@pytest.fixture
async def bob(server: Server) -> AsyncIterator[aiohttp.ClientSession]:
    async with calling(server, token("bob")) as http:
        yield http


async def uploaded(http: aiohttp.ClientSession, data: bytes, name: str = "") -> dict[str, Any]:
    async with http.post("/api/attachments", data=io.BytesIO(data), params={"name": name}) as response:
        assert response.status == 201, await response.text()
        return await response.json()  # type: ignore[no-any-return]


async def refused(http: aiohttp.ClientSession, data: Any, status: int, **more: Any) -> str:
    async with http.post("/api/attachments", data=data, **more) as response:
        assert response.status == status, await response.text()
        error = (await response.json())["error"]
        assert error["message"].endswith(".")
        return error["message"]  # type: ignore[no-any-return]


async def talked(
    http: aiohttp.ClientSession, *parts: dict[str, Any], text: str = "Look:", **conversation: str
) -> dict[str, Any]:
    """The conversation after its first reply, to a message with these parts."""
    async with http.post("/api/conversations", json=conversation) as response:
        conversation_id = (await response.json())["id"]
    body = {"text": text, "parts": parts}
    async with http.post(f"/api/conversations/{conversation_id}/messages", json=body) as response:
        assert response.status == 201, await response.text()
        reply = (await response.json())["reply"]
    async with http.get(f"/api/streams/{reply}") as response:
        await response.read()
    async with http.get(f"/api/conversations/{conversation_id}") as response:
        return await response.json()  # type: ignore[no-any-return]


def kept(server: Server) -> list[Path]:
    folder = server.settings.server.data_dir / "attachments"
    return [path for path in folder.rglob("*") if path.is_file()]


async def test_what_was_uploaded_is_given_back_and_does_nothing_in_a_browser(ada):
    made = await uploaded(ada, PICTURE, "../cat.html")
    assert re.fullmatch(r"/api/attachments/[0-9a-f-]{36}", made["url"])
    expected = {"type": "image", "media_type": "image/png", "size": len(PICTURE), "name": "cat.html"}
    assert {key: made[key] for key in expected} == expected
    async with ada.get(made["url"]) as response:
        assert await response.read() == PICTURE
        headers = response.headers
    assert headers["content-type"] == "image/png"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers.getall("content-security-policy") == [
        "sandbox; default-src 'none'; frame-ancestors 'none'"
    ]
    assert headers["content-disposition"] == 'inline; filename="cat.png"'
    assert headers["cache-control"] == "private, max-age=31536000, immutable"
    sound = await uploaded(ada, SPOKEN)
    assert (sound["type"], sound["media_type"]) == ("audio", "audio/webm")
    assert "name" not in sound


@pytest.mark.parametrize(
    "declared", ["text/html", "image/svg+xml", "application/octet-stream", "IMAGE/png; x=y"]
)
async def test_the_type_that_a_client_declares_is_not_believed(ada, declared):
    async with ada.post("/api/attachments", data=PICTURE, headers={"content-type": declared}) as response:
        assert (await response.json())["media_type"] == "image/png"


@pytest.mark.parametrize(
    ("data", "status", "said"),
    [
        (b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>", 415, "Send a PNG"),
        (b"GIF89a/*" + b"<script>alert(1)</script>" * 9, 400, "broken"),
        (b"%PDF-1.7", 415, "Send a PNG"),
        (b"", 400, "nothing in this file"),
        (PICTURE[:-5], 400, "cut off"),
        (png(60_000, 60_000), 400, "megapixels"),
        (PICTURE + bytes(100_000), 413, "too large"),
        (PICTURE + bytes(400_000), 413, "KiB at most"),
    ],
)
async def test_what_cannot_be_taken_is_refused_with_a_sentence(server, ada, data, status, said):
    headers = {"content-type": "image/png"}
    assert said in await refused(ada, data, status, headers=headers)
    assert kept(server) == []


async def test_a_form_brings_its_file(ada):
    form = aiohttp.FormData()
    form.add_field("note", "not this")
    form.add_field("file", PICTURE, filename="cat.png", content_type="application/octet-stream")
    async with ada.post("/api/attachments", data=form) as response:
        assert response.status == 201, await response.text()
        told = await response.json()
    assert (told["media_type"], told["size"], told["name"]) == ("image/png", len(PICTURE), "cat.png")
    async with ada.get(told["url"]) as response:
        assert await response.read() == PICTURE


async def test_a_form_without_a_file_is_refused_with_a_sentence(server, ada):
    form = aiohttp.FormData(default_to_multipart=True)
    form.add_field("note", "nothing else")
    assert "no file in this form" in await refused(ada, form, 400)
    cut = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n\r\n' + PICTURE
    for body, why in (
        (b"", "ends in the middle"),
        (b"nonsense", "cannot be read"),
        (cut, "ends in the middle"),
    ):
        headers = {"content-type": "multipart/form-data; boundary=x"}
        assert why in await refused(ada, body, 400, headers=headers)
    assert "divided" in await refused(ada, cut, 400, headers={"content-type": "multipart/form-data"})
    assert kept(server) == []


async def test_a_body_without_a_length_is_counted_as_it_comes(server, ada):
    async def endless() -> AsyncIterator[bytes]:
        yield PICTURE
        for _ in range(1000):
            yield bytes(10_000)

    with suppress(
        aiohttp.ClientError
    ):  # the answer may come while the body is being sent, and close the connection
        assert "too large" in await refused(ada, endless(), 413)
    assert kept(server) == []


async def test_a_body_that_is_cut_off_leaves_nothing(server):
    reader, writer = await asyncio.open_connection("127.0.0.1", int(server.address.rpartition(":")[2]))
    head = f"POST /api/attachments HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token('ada')}\r\n"
    writer.write(f"{head}Content-Length: {len(PICTURE)}\r\n\r\n".encode() + PICTURE[:-10])
    await writer.drain()
    while not kept(server):
        await asyncio.sleep(0.01)
    writer.transport.abort()
    while kept(server):
        await asyncio.sleep(0.01)
    assert reader is not None


async def test_a_person_has_so_much_room_and_what_is_refused_takes_none(server, ada, bob):
    await uploaded(ada, png(10, 10) + bytes(99_000))
    await uploaded(ada, png(11, 11) + bytes(99_000))
    for side in range(12, 32):
        assert "no room" in await refused(ada, png(side, side) + bytes(99_000), 413)
    assert len(kept(server)) == 2
    await uploaded(bob, png(12, 12) + bytes(99_000))


async def test_without_a_token_no_one_uploads_and_no_one_reads(server, ada):
    made = await uploaded(ada, PICTURE)
    async with calling(server) as nobody:
        assert await refused(nobody, PICTURE, 401)
        async with nobody.get(made["url"]) as response:
            assert response.status == 401


async def test_what_is_anothers_is_as_if_it_were_not_there(ada, bob):
    made = await uploaded(ada, PICTURE)
    answers = []
    for url in (
        made["url"],
        "/api/attachments/00000000-0000-0000-0000-000000000000",
        "/api/attachments/..%2f..%2fetc",
    ):
        async with bob.get(url) as response:
            answers.append((response.status, await response.json()))
    assert answers[0] == answers[1]
    assert [status for status, _ in answers] == [404, 404, 404]


async def test_anyone_who_joins_a_conversation_sees_its_pictures(ada, bob):
    made = await uploaded(ada, PICTURE)
    conversation = (await talked(ada, {"type": "image", "attachment": made["id"]}))["id"]
    async with bob.get(made["url"]) as response:
        assert response.status == 404
    async with ada.post(f"/api/conversations/{conversation}/invitations", json={}) as response:
        secret = (await response.json())["secret"]
    async with bob.post(f"/api/invitations/{secret}") as response:
        assert response.status == 200
    async with bob.get(made["url"]) as response:
        assert await response.read() == PICTURE
    async with ada.delete(f"/api/conversations/{conversation}") as response:
        assert response.status == 204
    for http in (ada, bob):
        async with http.get(made["url"]) as response:
            assert response.status == 404


async def test_a_message_names_its_pictures_and_never_carries_them(ada):
    inline = {"type": "image", "data": data_url(OTHER_PICTURE, "image/webp")}
    whole = await talked(ada, inline)
    question, reply = whole["messages"]
    text, picture = question["parts"]
    assert text == {"type": "text", "text": "Look:"}
    assert picture.keys() == {"type", "attachment"}
    async with ada.get(f"/api/attachments/{picture['attachment']}") as response:
        assert await response.read() == OTHER_PICTURE
    assert reply["text"] == "Look:"
    assert reply["detail"] == "demo:echo cannot see pictures. The answer is without a picture."


async def test_the_socket_takes_them_as_well(ada):
    made = await uploaded(ada, SOUND)
    parts = [
        {"type": "image", "data": data_url(PICTURE, "image/png")},
        {"type": "audio", "attachment": made["id"], "transcript": "what I never said"},
    ]
    async with ada.ws_connect("/ws", protocols=["legato.v1"]) as socket:
        await socket.receive_json()
        await socket.send_json({"type": "send", "client_message_id": "1", "text": "Look:", "parts": parts})
        while (frame := await socket.receive_json())["type"] != "message":
            assert frame["type"] != "error", frame
    assert [sorted(part) for part in frame["message"]["parts"]] == [["attachment", "type"]] * 2
    assert (frame["message"]["text"], frame["message"]["places"]) == ("Look:", [5, 5])


async def test_a_picture_reaches_a_model_as_it_was_sent_and_a_recording_as_words(tmp_path):
    async with OpenAIDouble() as model, TranscriptionsDouble() as ear:
        model.script = said("A", " fox.")
        settings = settings_for(
            tmp_path,
            engines={"openai": {"url": model.url}},
            assistants={"default": {"engine": "openai", "model": "plain"}},
            audio={"engine": "openai", "url": ear.url, "api_key": "k"},
        )
        async with serving(settings) as server, calling(server) as http:
            made = await uploaded(http, PICTURE)
            sound = await uploaded(http, SPOKEN)
            whole = await talked(
                http,
                {"type": "image", "attachment": made["id"]},
                {"type": "audio", "attachment": sound["id"]},
            )
        assert ear.forms[0]["file"] == ("recording.webm", "audio/webm", SPOKEN)
        (asked,) = model.completions
    assert asked["messages"][-1]["content"] == [
        {"type": "text", "text": "Look:\n\nThe quick brown fox."},
        {"type": "image_url", "image_url": {"url": data_url(PICTURE, "image/png")}},
    ]
    question, reply = whole["messages"]
    assert question["parts"][2] == {
        "type": "audio",
        "attachment": sound["id"],
        "transcript": "The quick brown fox.",
    }
    assert (reply["text"], reply["detail"]) == ("A fox.", None)


async def test_a_model_that_hears_hears(tmp_path):
    async with OpenAIDouble() as model:
        model.script = said("Yes.")
        settings = settings_for(
            tmp_path,
            engines={"openai": {"url": model.url, "hears": True}},
            assistants={"default": {"engine": "openai", "model": "plain"}},
        )
        async with serving(settings) as server, calling(server) as http:
            await talked(http, {"type": "audio", "data": data_url(SOUND, "audio/wav")}, text="")
        (asked,) = model.completions
    (part,) = asked["messages"][-1]["content"]
    assert part["input_audio"] == {"data": data_url(SOUND, "").partition(",")[2], "format": "wav"}


async def test_an_export_says_where_pictures_were(ada):
    made = await uploaded(ada, PICTURE)
    whole = await talked(ada, {"type": "image", "attachment": made["id"]})
    async with ada.get(f"/api/conversations/{whole['id']}/export?format=markdown") as response:
        assert "*(a picture)*" in await response.text()
    async with ada.get(f"/api/conversations/{whole['id']}/export") as response:
        assert made["id"] in json.dumps(await response.json(content_type=None))


async def test_the_dialect_chunks_takes_them_as_well(ada):
    sound = await uploaded(ada, SPOKEN)
    async with ada.post("/api/conversations", json={}) as response:
        conversation = (await response.json())["id"]
    parts = [
        {"type": "image", "data": data_url(PICTURE, "image/png")},
        {"type": "audio", "attachment": sound["id"]},
    ]
    async with ada.ws_connect(f"/ws/conversations/{conversation}?token={token('ada')}") as socket:
        await socket.send_json({"type": "message", "text": "Look:", "client_message_id": "1", "parts": parts})
        while (frame := await socket.receive_json())["type"] != "done":
            assert frame["type"] == "chunk", frame
        assert "cannot see pictures. demo:echo cannot hear recordings" in frame["message"]["detail"]
        await socket.send_json({"type": "message", "text": "", "client_message_id": "2", "parts": parts[:1]})
        frame = await socket.receive_json()
        assert (frame["type"], frame["error"].startswith("demo:echo cannot see pictures.")) == ("error", True)
        foreign = [{"type": "audio", "attachment": "not-mine"}]
        await socket.send_json({"type": "message", "text": "?", "client_message_id": "3", "parts": foreign})
        assert "no such attachment" in (await socket.receive_json())["error"]
    async with ada.get(f"/api/conversations/{conversation}") as response:
        question = (await response.json())["messages"][0]
    assert [part["type"] for part in question["parts"]] == ["text", "image", "audio"]
    assert question["parts"][2] == {"type": "audio", "attachment": sound["id"]}


async def test_what_was_sent_outlives_the_server(tmp_path):
    settings = settings_for(tmp_path)
    async with serving(settings) as server, calling(server) as http:
        made = await uploaded(http, PICTURE)
        await talked(http, {"type": "image", "attachment": made["id"]})
    async with serving(settings) as server, calling(server) as http, http.get(made["url"]) as response:
        assert await response.read() == PICTURE


@pytest.mark.parametrize("form", [False, True])
async def test_a_text_file_is_returned_as_plain_text(
    ada: aiohttp.ClientSession, bob: aiohttp.ClientSession, form: bool
) -> None:
    content = b"<script>alert(1)</script>\n"
    body: Any = io.BytesIO(content)
    headers = {"content-type": "text/plain"}
    if form:
        body, headers = aiohttp.FormData(), {}
        body.add_field("file", content, filename="page.html", content_type="text/plain")
    parameters = {} if form else {"name": "page.html"}
    async with ada.post("/api/attachments", data=body, headers=headers, params=parameters) as response:
        assert response.status == 201
        file = await response.json()
    assert (file["type"], file["media_type"], file["name"]) == ("file", "text/plain", "page.html")
    async with ada.get(file["url"]) as response:
        assert response.headers["content-type"] == "text/plain; charset=utf-8"
        assert response.headers["content-disposition"] == 'inline; filename="page.html.txt"'
        assert response.headers["x-content-type-options"] == "nosniff"
        assert await response.read() == content
    async with bob.get(file["url"]) as response:
        assert response.status == 404
    async with ada.post("/api/conversations", json={}) as response:
        conversation = f"/api/conversations/{(await response.json())['id']}"
    part = {"type": "file", "attachment": file["id"]}
    async with ada.post(f"{conversation}/messages", json={"text": "Read", "parts": [part]}) as response:
        assert response.status in (200, 201, 202)
    async with ada.get(conversation) as response:
        stored = (await response.json())["messages"][0]
    assert stored["text"] == "Read"
    assert stored["parts"][1] == part | {"name": "page.html", "size": len(content)}
    async with ada.get(f"{conversation}/export", params={"format": "markdown"}) as response:
        assert "*(the file page.html)*" in await response.text()
