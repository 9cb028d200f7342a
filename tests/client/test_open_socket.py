"""The errors of a connection that fails, for users and agents."""

import http
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from legato.agent.connect import connect as connect_as_agent
from legato.client.connect import connect as connect_as_user
from legato.errors import InvalidError, UnreachableError

Dial = Callable[[str, str | None], Awaitable[Any]]


@pytest.fixture(params=[connect_as_agent, connect_as_user], ids=["agent", "person"])
def dial(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Dial:
    for name in ("ws", "socks", "http", "https", "all", "no"):
        monkeypatch.delenv(f"{name}_proxy", raising=False)
        monkeypatch.delenv(f"{name}_proxy".upper(), raising=False)
    return request.param  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    "proxy",
    [
        "socks5://ann:hidden@127.0.0.1:9",
        "gopher://ann:hidden@127.0.0.1:9",
        "http://ann:hidden@127.0.0.1:9?strange",
    ],
)
async def test_the_error_of_a_bad_proxy_has_no_password(
    dial: Dial, monkeypatch: pytest.MonkeyPatch, proxy: str
) -> None:
    monkeypatch.setenv("SOCKS_PROXY", proxy)
    with pytest.raises(UnreachableError, match="The proxy that the environment names") as caught:
        await dial("ws://192.0.2.1:8000/ws", None)
    assert "NO_PROXY" in caught.value.message
    assert "hidden" not in caught.value.message


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "localhost", "box.localhost"])
async def test_no_proxy_is_used_for_this_machine(
    dial: Dial, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    monkeypatch.setenv("WS_PROXY", "gopher://127.0.0.1:9")
    with pytest.raises(UnreachableError, match="No server answers"):
        await dial(f"ws://{host}:1/ws", None)


async def test_the_error_of_a_redirect_has_its_target(dial: Dial, served: Any) -> None:
    def redirect(connection: Any, _: object) -> Any:
        response = connection.respond(http.HTTPStatus.MOVED_PERMANENTLY, "")
        response.headers["Location"] = "https://chat.example/ws?key=secret"
        return response

    served.process_request = redirect
    await served.stop()
    await served.start()
    with pytest.raises(UnreachableError, match=r"sends us to https://chat\.example/ws:"):
        await dial(f"ws://127.0.0.1:{served.port}/ws", "hidden")


async def test_the_error_of_an_invalid_address_has_no_key(dial: Dial) -> None:
    with pytest.raises(InvalidError, match="is not the address of a server") as caught:
        await dial("ws://ann@127.0.0.1:1/ws?key=secret", None)
    assert "secret" not in caught.value.message


async def test_the_error_of_a_missing_server_has_no_key(dial: Dial) -> None:
    with pytest.raises(UnreachableError, match=r"No server answers .*: connection refused") as caught:
        await dial("ws://127.0.0.1:1/ws?key=secret", "hidden")
    assert "secret" not in caught.value.message
    assert "hidden" not in caught.value.message
