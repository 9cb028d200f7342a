"""Participants and invitations over HTTP, and event streams of those who are removed."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest
from tests.dialects.serving import AUTH, token
from yarl import URL

from legato.gateway.server import Server

from .server import calling, serving, settings_for

SLOW = {"engine": "demo", "model": "demo:echo", "options": {"tokens_per_second": 20}}


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    async with serving(settings_for(tmp_path, assistants={"default": SLOW}, **AUTH)) as server:
        yield server


@asynccontextmanager
async def people(server: Server) -> AsyncIterator[list[aiohttp.ClientSession]]:
    """Ada, Bob and Eve, who can all be called."""
    async with (
        calling(server, token("ada", name="Ada")) as ada,
        calling(server, token("bob")) as bob,
        calling(server, token("eve")) as eve,
    ):
        yield [ada, bob, eve]


async def said(http: aiohttp.ClientSession, method: str, path: str, body: Any = None) -> tuple[int, Any]:
    async with http.request(method, URL(path, encoded=True), json=body) as response:
        text = await response.text()
        return response.status, json.loads(text) if text else None


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_opening_a_link_joins_nothing(server: Server, method: str) -> None:
    async with people(server) as (ada, bob, eve):
        _, made = await said(ada, "POST", "/api/conversations", {"title": "Ours"})
        path = f"/api/conversations/{made['id']}"
        _, invitation = await said(ada, "POST", f"{path}/invitations", {"standing": "viewer"})
        link = f"/api/invitations/{invitation['secret']}"
        headers = {"purpose": "prefetch", "sec-fetch-dest": "image", "origin": "https://elsewhere.example"}
        async with bob.request(method, link, headers=headers) as response:
            assert response.status == (200 if method == "GET" else 405)
            assert "access-control-allow-origin" not in response.headers
        _, found = await said(bob, "GET", link)
        expires_at = invitation["expires_at"]
        assert found == {"title": "Ours", "owner": "Ada", "standing": "viewer", "expires_at": expires_at}
        assert (await said(bob, "GET", path))[0] == 404
        assert [
            each["user"] for each in (await said(ada, "GET", f"{path}/participants"))[1]["participants"]
        ] == ["ada"]
        async with bob.post(link, headers={"origin": "https://elsewhere.example"}) as response:
            assert response.status == 403
        assert (await said(bob, "POST", link))[0] == 200
        assert (await said(bob, "GET", link))[1] == found | {"conversation": made["id"]}
        assert await said(eve, "GET", "/api/invitations/nothing") == await said(
            eve, "POST", "/api/invitations/nothing"
        )


async def test_a_conversation_is_shared_by_a_link(server: Server) -> None:
    async with people(server) as (ada, bob, eve):
        _, made = await said(ada, "POST", "/api/conversations", {"title": "Ours"})
        assert made["standing"] == "owner"
        path = f"/api/conversations/{made['id']}"
        status, invitation = await said(ada, "POST", f"{path}/invitations")
        assert (status, invitation["standing"]) == (201, "member")
        assert invitation["link"] == f"/#/join/{invitation['secret']}"
        _, listed = await said(ada, "GET", f"{path}/invitations")
        assert [each["id"] for each in listed["invitations"]] == [invitation["id"]]
        assert invitation["secret"] not in json.dumps(listed)

        for _ in range(2):
            status, joined = await said(bob, "POST", f"/api/invitations/{invitation['secret']}")
            assert (status, joined["id"], joined["standing"]) == (200, made["id"], "member")
        for path_of_list in ("/api/conversations", "/api/conversations?q=ours"):
            _, found = await said(bob, "GET", path_of_list)
            assert [(each["id"], each["standing"]) for each in found["conversations"]] == [
                (made["id"], "member")
            ]
        _, whole = await said(bob, "GET", path)
        assert (whole["title"], whole["standing"]) == ("Ours", "member")
        for what in ("messages", "export", "export?format=markdown"):
            async with bob.get(f"{path}/{what}") as response:
                assert response.status == 200

        assert (await said(ada, "DELETE", f"{path}/invitations/{invitation['id']}"))[0] == 204
        gone = await said(eve, "POST", f"/api/invitations/{invitation['secret']}")
        assert gone == await said(eve, "POST", "/api/invitations/nothing")
        assert gone[0] == 404
        _, everybody = await said(bob, "GET", f"{path}/participants")
        assert [(each["user"], each.get("name")) for each in everybody["participants"]] == [
            ("ada", "Ada"),
            ("bob", None),
        ]


async def test_the_owner_decides_and_hands_over(server: Server) -> None:
    async with people(server) as (ada, bob, eve):
        _, made = await said(ada, "POST", "/api/conversations", {"title": "Ours"})
        path = f"/api/conversations/{made['id']}"
        for http, standing in ((bob, "member"), (eve, "viewer")):
            _, invitation = await said(
                ada, "POST", f"{path}/invitations", {"standing": standing, "expires_in": 60}
            )
            await said(http, "POST", f"/api/invitations/{invitation['secret']}")
        assert (await said(bob, "PATCH", f"{path}/participants/bob", {"standing": "owner"}))[0] == 403
        assert (await said(ada, "DELETE", f"{path}/participants/ada"))[0] == 409
        assert (await said(ada, "PATCH", f"{path}/participants/nobody", {"standing": "owner"}))[0] == 404
        assert (await said(ada, "DELETE", f"{path}/participants/eve"))[0] == 204
        assert (await said(eve, "GET", path))[0] == 404
        _, handed = await said(ada, "PATCH", f"{path}/participants/bob", {"standing": "owner"})
        assert [(each["user"], each["standing"]) for each in handed["participants"]] == [
            ("bob", "owner"),
            ("ada", "member"),
        ]
        assert (await said(ada, "DELETE", f"{path}/participants/ada"))[0] == 204
        assert (await said(ada, "GET", path))[0] == 404
        assert (await said(bob, "GET", path))[1]["standing"] == "owner"


@pytest.mark.parametrize(
    "body",
    [
        {"standing": "owner"},
        {"standing": "king"},
        {"role": "viewer"},
        {"expires_in": 0},
        {"expires_in": -5},
        {"expires_in": 1e12},
        {"expires_in": "soon"},
        [],
    ],
)
async def test_an_invitation_that_cannot_be_is_refused(server: Server, body: Any) -> None:
    async with people(server) as (ada, _, _):
        _, made = await said(ada, "POST", "/api/conversations")
        status, answer = await said(ada, "POST", f"/api/conversations/{made['id']}/invitations", body)
        assert (status, answer["error"]["code"]) == (400, "invalid")


async def test_an_event_stream_of_one_who_is_removed_ends_at_once(server: Server) -> None:
    async with people(server) as (ada, bob, _):
        _, made = await said(ada, "POST", "/api/conversations", {"title": "Ours"})
        path = f"/api/conversations/{made['id']}"
        _, invitation = await said(ada, "POST", f"{path}/invitations", {"standing": "viewer"})
        await said(bob, "POST", f"/api/invitations/{invitation['secret']}")
        text = " ".join(f"word{n}" for n in range(2000))
        _, sent = await said(ada, "POST", f"{path}/messages", {"text": text})
        stream = f"/api/streams/{sent['reply']}"
        async with ada.get(stream) as hers, bob.get(stream) as his:
            await his.content.readuntil(b'"text"')
            assert (await said(ada, "DELETE", f"{path}/participants/bob"))[0] == 204
            async with asyncio.timeout(5):
                rest = await his.content.read()
            assert b"finished" not in rest
            async with bob.get(stream) as again:
                assert again.status == 404
            await said(ada, "POST", f"{path}/stop", {})
            assert b'"stopped"' in await hers.content.read()


@pytest.mark.parametrize(
    "user",
    [
        "https://issuer.example/users/42",
        "https://issuer.example/participants/42",
        "team/messages",
        "a?b#c%2Fd",
    ],
)
async def test_a_user_who_is_called_by_an_address_is_a_participant_like_any(
    server: Server, user: str
) -> None:
    async with people(server) as (ada, _, _), calling(server, token(user)) as http:
        _, made = await said(ada, "POST", "/api/conversations")
        path = f"/api/conversations/{made['id']}"
        them = f"{path}/participants/{quote(user, safe='')}"
        _, invitation = await said(ada, "POST", f"{path}/invitations")
        join = f"/api/invitations/{invitation['secret']}"
        await said(http, "POST", join)
        for standing in ("viewer", "member"):
            _, changed = await said(ada, "PATCH", them, {"standing": standing})
            assert [(each["user"], each["standing"]) for each in changed["participants"]] == [
                ("ada", "owner"),
                (user, standing),
            ]
        assert (await said(http, "DELETE", them))[0] == 204
        assert (await said(http, "GET", path))[0] == 404
        await said(http, "POST", join)
        _, handed = await said(ada, "PATCH", them, {"standing": "owner"})
        assert handed["participants"][0]["user"] == user
        assert (await said(ada, "DELETE", them))[0] == 403


async def test_no_user_has_a_name_that_a_path_treats_as_its_parent(server: Server) -> None:
    for user in (".", ".."):
        async with calling(server, token(user)) as http:
            status, refused = await said(http, "GET", "/api/conversations")
            assert status == 401
            assert "cannot be only dots" in refused["error"]["message"]


async def test_without_tokens_everybody_is_one_person(tmp_path: Path) -> None:
    async with serving(settings_for(tmp_path)) as server, calling(server) as http:
        _, made = await said(http, "POST", "/api/conversations")
        path = f"/api/conversations/{made['id']}"
        _, invitation = await said(http, "POST", f"{path}/invitations")
        _, joined = await said(http, "POST", f"/api/invitations/{invitation['secret']}")
        assert joined["standing"] == "owner"
        _, everybody = await said(http, "GET", f"{path}/participants")
        assert [each["user"] for each in everybody["participants"]] == ["local"]
