"""The path below which a proxy publishes the server, as a pure function."""

import pytest

from legato.gateway.websocket.path_prefix import MAX_PREFIX_CHARS, PathPrefix, TrustedProxies, checked_prefix


@pytest.mark.parametrize(
    ("text", "prefix"),
    [("/chat", "/chat"), ("/chat/", "/chat"), ("/a/b.c~d_e-1", "/a/b.c~d_e-1"), ("/", ""), ("", "")],
)
def test_a_prefix_is_taken_without_its_final_slash(text: str, prefix: str) -> None:
    assert checked_prefix(text) == prefix


@pytest.mark.parametrize(
    "text",
    [
        "//evil.example",
        "/a//b",
        "chat",
        "https://evil.example",
        "/a/../b",
        "/..",
        "/.",
        "/a\r\nSet-Cookie: x",
        "/a\n",
        '/a"><script>',
        "/a?b",
        "/a#b",
        "/a%2fb",
        "/\\evil",
        "/ä",
        "/a b",
        "//",
        "/" + "a" * MAX_PREFIX_CHARS,
    ],
)
def test_what_could_lead_elsewhere_is_no_prefix(text: str) -> None:
    assert checked_prefix(text) is None
    assert PathPrefix("/own").split("/ws", [text]) == ("/own", "/ws")


@pytest.mark.parametrize(
    ("root_path", "path", "forwarded", "found"),
    [
        ("", "/ws", (), ("", "/ws")),
        ("/chat", "/ws", (), ("/chat", "/ws")),
        ("/chat", "/chat/ws", (), ("/chat", "/ws")),
        ("/chat", "/chat", (), ("/chat", "/")),
        ("/chat", "/chatty", (), ("/chat", "/chatty")),
        ("", "/ws", ("/chat/",), ("/chat", "/ws")),
        ("", "/chat/ws", ("/chat",), ("/chat", "/ws")),
        ("/own", "/own/ws", ("/chat",), ("/chat", "/ws")),
        ("/own", "/ws", ("/",), ("", "/ws")),
        ("", "/ws", ("/team", "/chat"), ("/team/chat", "/ws")),
        ("", "/ws", ("/team, /chat",), ("/team/chat", "/ws")),
        ("", "/ws", ("/team, //chat",), ("", "/ws")),
        # A proxy that sends this header has removed the prefix: this is the server's own path.
        ("", "/api/info", ("/api",), ("/api", "/api/info")),
        ("", "/c/x", ("/c",), ("/c", "/c/x")),
    ],
)
def test_a_path_is_split_whether_the_proxy_removed_the_prefix_or_not(
    root_path: str, path: str, forwarded: tuple[str, ...], found: tuple[str, str]
) -> None:
    assert PathPrefix(root_path).split(path, forwarded) == found


def test_only_listed_addresses_are_trusted() -> None:
    assert "127.0.0.1" in TrustedProxies("127.0.0.1")
    assert "127.0.0.2" not in TrustedProxies("127.0.0.1")
    assert "10.1.2.3" in TrustedProxies("10.0.0.0/8")
    assert None not in TrustedProxies("127.0.0.1")
