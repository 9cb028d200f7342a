import pytest

from legato.client.address import socket_url, without_key
from legato.errors import InvalidError


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("http://127.0.0.1:8000", "ws://127.0.0.1:8000/ws"),
        ("https://chat.example.org/", "wss://chat.example.org/ws"),
        ("ws://host:1/ws", "ws://host:1/ws"),
        ("wss://host/below/ws/", "wss://host/below/ws"),
        ("https://host/chat/", "wss://host/chat/ws"),
        ("HTTP://host/below", "ws://host/below/ws"),
        ("localhost:8000", "ws://localhost:8000/ws"),
        (" host ", "ws://host/ws"),
        ("http://[::1]:8000", "ws://[::1]:8000/ws"),
        ("http://host/?a=b#c", "ws://host/ws?a=b"),
    ],
)
def test_all_forms_of_an_address_give_the_socket_url(written: str, meant: str) -> None:
    assert socket_url(written) == meant


@pytest.mark.parametrize(
    "written", ["", "http://", "ftp://host", "http://host:port", "http://[::1", "http://host:0"]
)
def test_an_invalid_address_is_an_error(written: str) -> None:
    with pytest.raises(InvalidError, match="is not the address of a server"):
        socket_url(written)


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
