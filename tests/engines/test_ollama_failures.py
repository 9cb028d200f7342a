"""What can go wrong between us and an Ollama, and what a person is told of it."""

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from tests.doubles.ollama import CLOSED_TEMPLATE, OllamaDouble, Scripted
from tests.doubles.server import Server
from tests.doubles.tls import authority

from legato.domain.message import TextPart
from legato.engines.base import Request, Turn
from legato.engines.ollama.engine import OllamaEngine, address
from legato.errors import (
    EngineBrokeError,
    EngineRefusedError,
    EngineUnavailableError,
    ModelNotFoundError,
    SettingsError,
)
from legato.stream import State
from legato.testing.engine import Recorder

HI = (Turn("user", (TextPart("hi"),)),)
PLAIN = Request("plain", HI)


@pytest.fixture
async def double() -> AsyncIterator[OllamaDouble]:
    async with OllamaDouble() as double:
        yield double


@pytest.fixture
async def engine(double: OllamaDouble) -> AsyncIterator[OllamaEngine]:
    engine = OllamaEngine(double.url)
    yield engine
    await engine.close()


async def fails(engine: OllamaEngine, request: Request = PLAIN) -> tuple[Exception, Recorder]:
    out = Recorder()
    with pytest.raises(Exception, match=r"\.$") as caught:
        await engine.generate(request, out)
    return caught.value, out


async def test_a_runner_that_dies_leaves_a_broken_reply_and_its_words(
    double: OllamaDouble, engine: OllamaEngine
) -> None:
    double.models["plain"].breaks_after = 3
    error, out = await fails(engine)
    assert isinstance(error, EngineBrokeError)
    assert "unexpected EOF" in error.message
    assert out.said == "The quick brown"


async def test_a_server_that_vanishes_leaves_a_broken_reply_and_its_words(
    double: OllamaDouble, engine: OllamaEngine
) -> None:
    double.models["plain"].vanishes_after = 3
    error, out = await fails(engine)
    assert isinstance(error, EngineBrokeError)
    assert out.said == "The quick brown"


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (b'{"message":{"content":"The"},"done":false}\n', "broke off"),
        (b"", "broke off"),
        (b"<html>\n", "not Ollama"),
        (b'{"error":"out of memory"}\n', "out of memory"),
    ],
)
async def test_a_body_without_an_ending_is_a_broken_reply(
    double: OllamaDouble, engine: OllamaEngine, raw: bytes, says: str
) -> None:
    double.raw = raw
    error, _ = await fails(engine)
    assert isinstance(error, EngineBrokeError)
    assert says in error.message


async def test_a_full_queue_is_worth_another_try(double: OllamaDouble, engine: OllamaEngine) -> None:
    double.full = True
    error, _ = await fails(engine)
    assert isinstance(error, EngineUnavailableError)
    assert "no room" in error.message
    assert "maximum pending requests exceeded" in error.message


async def test_no_one_there_is_reported_with_the_address_and_what_to_do() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    engine = OllamaEngine(f"http://user:secret@127.0.0.1:{port}")
    error, _ = await fails(engine)
    assert isinstance(error, EngineUnavailableError)
    assert f"http://127.0.0.1:{port}" in error.message
    assert "ollama serve" in error.message
    assert "secret" not in error.message
    health = await engine.health()
    assert (health.ok, health.detail) == (False, error.message)
    with pytest.raises(EngineUnavailableError):
        await engine.models()
    assert (await engine.capabilities("plain")).context is None
    await engine.close()


async def test_a_connection_that_does_not_come_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        engine = OllamaEngine(f"https://127.0.0.1:{silent.getsockname()[1]}", connect_timeout=0.05)
        error, _ = await fails(engine)
        await engine.close()
    assert isinstance(error, EngineUnavailableError)
    assert "no connection within 0.05 s" in error.message


async def test_an_unknown_host_name_is_reported() -> None:
    engine = OllamaEngine("http://nobody.invalid:11434")
    error, _ = await fails(engine)
    await engine.close()
    assert isinstance(error, EngineUnavailableError)
    assert "nobody.invalid" in error.message


class Stranger(Server):
    """Something that is not Ollama: it gives one answer to everything."""

    def __init__(self, **answer: Any) -> None:
        super().__init__()

        async def give(request: web.Request) -> web.Response:
            return web.Response(**answer)

        self.app.router.add_route("*", "/{path:.*}", give)


async def test_a_server_that_goes_before_it_answers_is_unavailable() -> None:
    async def hang_up(request: web.Request) -> web.Response:
        assert request.transport is not None
        request.transport.close()
        return web.Response()

    server = Server()
    server.app.router.add_route("*", "/{path:.*}", hang_up)
    async with server:
        engine = OllamaEngine(server.url)
        error, _ = await fails(engine)
        await engine.close()
    assert isinstance(error, EngineUnavailableError)
    assert "before it answered" in error.message


@pytest.mark.parametrize(
    ("answer", "kind", "says"),
    [
        ({"status": 404, "text": "nothing here"}, EngineUnavailableError, "not Ollama"),
        ({"status": 502, "text": "<html>"}, EngineUnavailableError, "502"),
        ({"status": 500, "text": '{"error":"llama runner process has terminated"}'}, EngineUnavailableError, "terminated"),
        ({"status": 301, "headers": {"Location": "https://there/"}}, EngineUnavailableError, "redirects to https://there/"),
        ({"status": 401, "text": "who are you?"}, EngineRefusedError, "headers"),
        ({"status": 400, "text": '{"error":"no tools"}'}, EngineRefusedError, "no tools"),
        ({"status": 200, "text": "<html>\n"}, EngineBrokeError, "not Ollama"),
    ],
)  # fmt: skip
async def test_every_other_answer_is_a_sentence(
    answer: dict[str, Any], kind: type[Exception], says: str
) -> None:
    async with Stranger(**answer) as stranger:
        engine = OllamaEngine(stranger.url)
        error, _ = await fails(engine)
        health = await engine.health()
        await engine.close()
    assert isinstance(error, kind)
    assert says in str(error)
    assert not health.ok
    assert health.detail.endswith(".")


async def test_how_long_to_wait_is_kept_with_the_error() -> None:
    for given, expected in (("7", 7.0), ("soon", None)):
        async with Stranger(status=429, headers={"Retry-After": given}) as stranger:
            engine = OllamaEngine(stranger.url)
            error, _ = await fails(engine)
            await engine.close()
        assert isinstance(error, EngineUnavailableError)
        assert error.retry_after == expected


async def test_cancelling_before_the_first_word_closes_the_connection(
    double: OllamaDouble, engine: OllamaEngine
) -> None:
    double.models["plain"].hold = asyncio.Event()
    out = Recorder()
    writing = asyncio.create_task(engine.generate(PLAIN, out))
    while not double.chats:
        await asyncio.sleep(0)
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    await asyncio.wait_for(double.gone.wait(), 10)
    assert double.left == 1


@pytest.mark.parametrize("secure", [False, True])
async def test_cancelling_in_the_middle_closes_the_connection(tmp_path: Path, secure: bool) -> None:
    own = authority(tmp_path) if secure else None
    async with OllamaDouble(tls=own.context if own else None) as double:
        engine = OllamaEngine(double.url, ca_file=own.ca_file if own else None)
        double.models["plain"].pause = (3, asyncio.Event())
        out = Recorder()
        writing = asyncio.create_task(engine.generate(PLAIN, out))
        while out.said != "The quick brown":
            await asyncio.sleep(0)
        writing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writing
        await asyncio.wait_for(double.gone.wait(), 10)
        assert double.left == 1
        await engine.close()


async def test_loading_is_reported_while_the_request_already_waits(
    double: OllamaDouble, engine: OllamaEngine
) -> None:
    double.models["plain"].hold = hold = asyncio.Event()
    out = Recorder()
    writing = asyncio.create_task(engine.generate(PLAIN, out))
    while not out.states:
        await asyncio.sleep(0)
    hold.set()
    await writing
    assert out.states == [State("loading", model="plain")]
    assert out.events[0] == out.states[0]


async def test_a_loaded_model_is_not_said_to_load_however_it_is_called(
    double: OllamaDouble, engine: OllamaEngine
) -> None:
    double.models["plain"].loaded = True
    for model in ("plain", "plain:latest"):
        out = Recorder()
        await engine.generate(Request(model, HI), out)
        assert out.states == []


async def test_a_prefix_is_refused_where_the_model_would_start_again(
    double: OllamaDouble, engine: OllamaEngine
) -> None:
    double.models["plain"].template = CLOSED_TEMPLATE
    with pytest.raises(EngineRefusedError, match="cannot go on"):
        await engine.generate(Request("plain", HI, prefix="The"), Recorder())
    assert double.chats == []


async def test_a_prefix_says_why_it_cannot_be_continued(double: OllamaDouble, engine: OllamaEngine) -> None:
    with pytest.raises(ModelNotFoundError):
        await engine.generate(Request("nope", HI, prefix="The"), Recorder())
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    nowhere = OllamaEngine(f"http://127.0.0.1:{port}")
    with pytest.raises(EngineUnavailableError, match="cannot be reached"):
        await nowhere.generate(Request("plain", HI, prefix="The"), Recorder())
    await nowhere.close()


async def test_one_that_says_nothing_is_not_healthy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("legato.engines.ollama.engine._HEALTH_SECONDS", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        engine = OllamaEngine(f"http://127.0.0.1:{silent.getsockname()[1]}")
        health = await engine.health()
        assert (await engine.capabilities("plain")).context is None
        with pytest.raises(EngineUnavailableError, match="does not answer"):
            await asyncio.wait_for(engine.models(), 10)
        await engine.close()
    assert not health.ok
    assert "does not answer" in health.detail


async def test_what_a_model_can_do_is_asked_once(double: OllamaDouble, engine: OllamaEngine) -> None:
    before = await engine.capabilities("plain")
    double.models["plain"].template = CLOSED_TEMPLATE
    assert await engine.capabilities("plain") == before


async def test_a_model_that_only_embeds_is_listed_as_such(double: OllamaDouble, engine: OllamaEngine) -> None:
    double.models["vectors"] = Scripted([], family="bert")
    assert {model.name for model in await engine.models() if not model.chats} == {"vectors:latest"}


async def test_headers_of_the_settings_go_with_every_request(double: OllamaDouble) -> None:
    engine = OllamaEngine(double.url, headers={"Authorization": "Bearer abc"})
    await engine.generate(PLAIN, Recorder())
    await engine.close()
    (headers,) = double.headers
    assert headers["Authorization"] == "Bearer abc"
    assert headers["Accept-Encoding"] == "identity"


async def test_an_authority_of_ones_own_is_trusted_where_it_is_named(tmp_path: Path) -> None:
    own = authority(tmp_path)
    async with OllamaDouble(tls=own.context) as double:
        engine = OllamaEngine(double.url, ca_file=own.ca_file)
        out = Recorder()
        await engine.generate(PLAIN, out)
        assert out.said.startswith("The quick")
        await engine.close()

        stranger = OllamaEngine(double.url)
        error, _ = await fails(stranger)
        await stranger.close()
        assert isinstance(error, EngineUnavailableError)
        assert "`ca_file`" in error.message

        plain = OllamaEngine(double.url.replace("https", "http"))
        error, _ = await fails(plain)
        await plain.close()
        assert isinstance(error, EngineUnavailableError)
    async with OllamaDouble() as double:
        wrong = OllamaEngine(double.url.replace("http", "https"), ca_file=own.ca_file)
        error, _ = await fails(wrong)
        await wrong.close()
        assert isinstance(error, EngineUnavailableError)
        assert "http or https" in error.message


async def test_settings_that_cannot_work_are_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="not the URL"):
        OllamaEngine("ftp://127.0.0.1")
    with pytest.raises(SettingsError, match="not the URL"):
        OllamaEngine("http://")
    with pytest.raises(SettingsError, match="ca_file"):
        OllamaEngine("https://127.0.0.1", ca_file=tmp_path / "nothing.pem")
    with pytest.raises(SettingsError, match="leave one of them out"):
        OllamaEngine("https://me:secret@127.0.0.1", headers={"authorization": "Bearer abc"})
    (tmp_path / "no.pem").write_text("hello")
    with pytest.raises(SettingsError, match="no PEM certificate"):
        OllamaEngine("https://127.0.0.1", ca_file=tmp_path / "no.pem")


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("", "http://127.0.0.1:11434"),
        ("127.0.0.1", "http://127.0.0.1:11434"),
        ("0.0.0.0", "http://127.0.0.1:11434"),
        ("0.0.0.0:8080", "http://127.0.0.1:8080"),
        (":8080", "http://127.0.0.1:8080"),
        ("box.local", "http://box.local:11434"),
        ("http://box.local", "http://box.local:80"),
        ("https://box.local", "https://box.local:443"),
        ("https://box.local:1234/ollama/", "https://box.local:1234/ollama"),
        ("[::1]:8080", "http://[::1]:8080"),
        ("::1", "http://[::1]:11434"),
        ("::", "http://[::1]:11434"),
        ("'box.local:99999'", "http://box.local:11434"),
    ],
)
def test_the_host_of_the_environment_means_what_it_means_to_ollama(host: str, url: str) -> None:
    assert address(host) == url
