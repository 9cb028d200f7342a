"""The server below a path prefix, behind proxies that remove the prefix and proxies that do not."""

import gzip
import io
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
import websockets
from pydantic import ValidationError

from legato.gateway.server import Server
from legato.gateway.settings import ServerSettings
from legato.gateway.web_page import FOLDER

from .server import calling, serving, settings_for

pytestmark = pytest.mark.asyncio(loop_scope="module")

FORWARDED = {"x-forwarded-prefix": "/chat"}


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["direct", "asgi"])
async def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Server]:
    """A server without `root_path`, which trusts the proxy at 127.0.0.1."""
    settings = settings_for(tmp_path_factory.mktemp("stripped"), server={"websocket": request.param})
    async with serving(settings) as server:
        yield server


async def test_links_and_the_page_have_the_prefix_of_a_trusted_proxy(server: Server) -> None:
    async with calling(server) as http:
        async with http.post("/api/conversations", json={}, headers=FORWARDED) as response:
            conversation = (await response.json())["id"]
            assert response.headers["location"] == f"/chat/api/conversations/{conversation}"
        invitations = f"/api/conversations/{conversation}/invitations"
        async with http.post(invitations, json={}, headers=FORWARDED) as response:
            made = await response.json()
            assert made["link"] == f"/chat/#/join/{made['secret']}"
        async with http.get("/openapi.json", headers=FORWARDED) as response:
            assert (await response.json())["servers"] == [{"url": "/chat"}]
        async with http.get("/metrics/", headers=FORWARDED, allow_redirects=False) as response:
            assert response.status != 307 or "/chat/metrics" in response.headers["location"]


async def test_the_page_names_its_files_below_the_prefix(server: Server) -> None:
    if not FOLDER.is_dir():
        pytest.skip("the page was not built into this installation")
    etags = set()
    async with calling(server) as http:
        for prefix, encoding in (
            (None, None),
            ("/chat", None),
            ("/chat", "gzip"),
            ("/chat", "br"),
            ("/other", None),
        ):
            headers = {"accept-encoding": encoding or "identity"}
            if prefix:
                headers["x-forwarded-prefix"] = prefix
            async with http.get("/c/any", headers=headers, auto_decompress=False) as response:
                body = await response.read()
                etags.add(response.headers["etag"])
                assert response.headers["cache-control"] == "no-cache"
                assert response.headers["vary"] == "accept-encoding"
                if response.headers.get("content-encoding") == "gzip":
                    assert encoding == "gzip"
                    body = gzip.decompress(body)
            text = body.decode()
            assert f'<meta name="legato-prefix" content="{prefix or ""}" />' in text
            files = re.findall(r'(?:src|href)="([^"]+)"', text)
            assert len(files) > 2
            assert all(file.startswith(f"{prefix or ''}/assets/") for file in files)
        async with http.get(files[-1].removeprefix("/other"), headers=FORWARDED) as response:
            assert response.status == 200
    assert len(etags) == 4  # the page below a prefix is not prepared as br


@pytest.mark.parametrize("prefix", ["//evil.example", "/a/../b", '/"><script>', "/" + "x" * 300])
async def test_an_invalid_prefix_is_not_believed(server: Server, prefix: str) -> None:
    async with calling(server) as http:
        async with http.post(
            "/api/conversations", json={}, headers={"x-forwarded-prefix": prefix}
        ) as response:
            assert response.headers["location"].startswith("/api/")
        async with http.get(
            "/", headers={"x-forwarded-prefix": prefix, "accept-encoding": "identity"}
        ) as response:
            assert prefix not in await response.text()


@pytest.mark.parametrize("path", ["/ws", "/chat/ws"])
async def test_a_socket_opens_with_and_without_the_prefix(server: Server, path: str) -> None:
    address = server.address.replace("http", "ws", 1) + path
    async with websockets.connect(
        address, additional_headers=FORWARDED, subprotocols=[websockets.Subprotocol("legato.v1")]
    ) as socket:
        assert json.loads(await socket.recv())["type"] == "welcome"


async def test_a_prefix_from_an_untrusted_address_is_ignored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "192.0.2.1")
    async with serving(settings_for(tmp_path)) as server, calling(server) as http:
        async with http.post("/api/conversations", json={}, headers=FORWARDED) as response:
            assert response.headers["location"].startswith("/api/")
        async with http.get("/chat/health", headers=FORWARDED) as response:
            assert response.status == 404
        with pytest.raises(websockets.InvalidStatus):
            await websockets.connect(
                server.address.replace("http", "ws", 1) + "/chat/ws", additional_headers=FORWARDED
            )


async def test_a_configured_prefix_works_with_a_proxy_that_removes_it_and_one_that_does_not(
    tmp_path: Path,
) -> None:
    settings = settings_for(tmp_path, server={"root_path": "/chat"})
    async with serving(settings) as server, calling(server) as http:
        for below in ("", "/chat"):
            async with http.get(f"{below}/api/info") as response:
                assert response.status == 200
                assert response.headers["cache-control"] == "no-store"
            async with http.post(f"{below}/api/conversations", json={}) as response:
                location = response.headers["location"]
                assert location.startswith("/chat/api/conversations/")
            async with http.get(location) as response:
                assert response.status == 200
            # The limit of an upload is that of its path.
            body = io.BytesIO(bytes(5 * 1024 * 1024))
            async with http.post(f"{below}/api/attachments", data=body) as response:
                assert response.status == 415
            socket = server.address.replace("http", "ws", 1) + f"{below}/ws"
            async with websockets.connect(
                socket, subprotocols=[websockets.Subprotocol("legato.v1")]
            ) as opened:
                assert json.loads(await opened.recv())["type"] == "welcome"
        async with http.get("/chat", headers={"accept": "text/html"}) as response:
            assert response.status == (200 if FOLDER.is_dir() else 404)


@pytest.mark.parametrize("prefix", ["chat", "//chat", "/a/../b", "/chat?x", "/api", "/ws/below"])
async def test_a_root_path_that_cannot_work_is_refused_at_the_start(prefix: str) -> None:
    with pytest.raises(ValidationError):
        ServerSettings(root_path=prefix)
    assert ServerSettings(root_path="/chat/").root_path == "/chat"
