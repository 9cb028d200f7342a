import http
from typing import Any

import pytest

from legato.agent.dial import dial, socket_url, without_key
from legato.errors import InvalidError, UnreachableError

from .conftest import Door


@pytest.mark.parametrize(
    ("server", "url"),
    [
        ("chat.example", "ws://chat.example/ws/agents"),
        ("https://chat.example/", "wss://chat.example/ws/agents"),
        ("wss://chat.example/ws/agents", "wss://chat.example/ws/agents"),
        ("ws://127.0.0.1:8081/any/path?key=k", "ws://127.0.0.1:8081/any/path?key=k"),
        ("ws://127.0.0.1:8081?key=k", "ws://127.0.0.1:8081/ws/agents?key=k"),
        (" [::1]:8000 ", "ws://[::1]:8000/ws/agents"),
    ],
)
def test_a_server_is_named_however_one_likes(server: str, url: str) -> None:
    assert socket_url(server) == url


@pytest.mark.parametrize("server", ["", "ftp://host", "ws://", "ws://host:0", "ws://host:port?key=secret"])
def test_what_is_no_address_is_said_without_its_key(server: str) -> None:
    with pytest.raises(InvalidError) as caught:
        socket_url(server)
    assert "secret" not in caught.value.message


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("ws://ann:pw@host:1/p/q?key=k", "ws://host:1/p/q"),
        ("host?key=k", "host"),
        ("ann:pw@host", "host"),
        ("ws://host/a@b", "ws://host/a@b"),
    ],
)
def test_an_address_is_shown_without_keys(url: str, shown: str) -> None:
    assert without_key(url) == shown


async def test_one_that_is_sent_to_a_page_says_where(door: Door) -> None:
    def redirect(connection: Any, _: object) -> Any:
        response = connection.respond(http.HTTPStatus.MOVED_PERMANENTLY, "")
        response.headers["Location"] = "https://chat.example/ws/agents?key=secret"
        return response

    door.process_request = redirect  # type: ignore[method-assign]
    with pytest.raises(UnreachableError, match=r"sends us to https://chat\.example/ws/agents:"):
        await dial(door.url, "hidden")


async def test_where_nobody_answers_it_says_so_without_the_key() -> None:
    with pytest.raises(UnreachableError, match="No server answers") as caught:
        await dial("ws://127.0.0.1:1/ws/agents?key=secret", "hidden")
    assert "secret" not in caught.value.message
    assert "hidden" not in caught.value.message
