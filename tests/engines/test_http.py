"""Which way a request goes."""

import asyncio

import pytest
from yarl import URL

from legato.engines.http import HttpClient, environment_proxy
from legato.errors import EngineUnavailableError


def test_the_environments_proxy_is_used_but_never_for_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    assert environment_proxy(URL("https://far.example")) is None
    monkeypatch.setenv("https_proxy", "http://user:secret@proxy.example:3128")
    monkeypatch.setenv("no_proxy", "near.example")
    assert environment_proxy(URL("https://far.example")) == URL("http://user:secret@proxy.example:3128")
    assert environment_proxy(URL("https://near.example")) is None
    assert environment_proxy(URL("https://127.0.0.1")) is None
    assert environment_proxy(URL("http://far.example")) is None
    monkeypatch.setenv("all_proxy", "proxy.example:1")
    assert environment_proxy(URL("http://far.example")) == URL("http://proxy.example:1")
    monkeypatch.setenv("all_proxy", "socks5://proxy.example:1")
    assert environment_proxy(URL("http://far.example")) is None


async def listening(answers: list[int]) -> tuple[asyncio.Server, str]:
    """A server that answers so many requests on each connection, announces that it keeps it, and closes it at the next."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(answers.pop(0) if answers else 0):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\nok")
        await reader.read(1)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    return server, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def test_a_kept_connection_that_closes_without_a_word_is_not_an_error() -> None:
    server, url = await listening([1, 1])
    http = HttpClient(url, who="It", remedy="Start it.")
    try:
        assert await http.fetch("GET", "version") == (200, b"ok")
        assert await http.fetch("GET", "version") == (200, b"ok")
    finally:
        await http.close()
        server.close()


async def test_a_server_that_closes_every_connection_is_one_that_cannot_be_reached() -> None:
    server, url = await listening([])
    http = HttpClient(url, who="It", remedy="Start it.")
    try:
        with pytest.raises(EngineUnavailableError, match="closed the connection"):
            await http.fetch("GET", "version")
    finally:
        await http.close()
        server.close()


async def test_where_no_one_listens_the_reason_is_in_plain_words() -> None:
    server, url = await listening([])
    server.close()
    await server.wait_closed()
    http = HttpClient(url, who="It", remedy="Start it.")
    try:
        with pytest.raises(EngineUnavailableError) as raised:
            await http.fetch("GET", "version")
        assert raised.value.message == f"It at {url} cannot be reached (connection refused). Start it."
    finally:
        await http.close()


def test_one_that_answers_need_not_be_started() -> None:
    http = HttpClient("http://127.0.0.1:1", who="It", remedy="Start it.")
    message = http.unexpected_status(500, {}, "boom").message
    assert message.startswith("It at http://127.0.0.1:1 answered with an error, 500 (boom). Try again")
    assert "Start it." not in message
