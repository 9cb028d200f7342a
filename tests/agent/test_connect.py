import pytest

from legato.agent.connect import socket_url
from legato.errors import InvalidError


@pytest.mark.parametrize(
    ("server", "url"),
    [
        ("chat.example", "ws://chat.example/ws/agents"),
        ("https://chat.example/", "wss://chat.example/ws/agents"),
        ("https://chat.example/chat/", "wss://chat.example/chat/ws/agents"),
        ("chat.example/chat", "ws://chat.example/chat/ws/agents"),
        ("https://chat.example/chat/ws/agents", "wss://chat.example/chat/ws/agents"),
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
