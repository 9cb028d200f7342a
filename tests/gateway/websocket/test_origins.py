"""Which pages may open a socket."""

import pytest

from legato.gateway.websocket import Origins


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        (None, "chat.example"),
        (None, None),
        ("https://chat.example", "chat.example"),
        ("https://chat.example", "chat.example:443"),
        ("http://chat.example:80", "chat.example"),
        ("https://Chat.Example.", "chat.example"),
        ("http://127.0.0.1:8000", "127.0.0.1:8000"),
        ("http://[::1]:8000", "[::1]:8000"),
    ],
)
def test_the_same_site_and_programs_may(origin: str | None, host: str | None) -> None:
    assert Origins().refusal(origin, host) is None


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("https://evil.example", "chat.example"),
        ("https://chat.example.evil.example", "chat.example"),
        ("http://chat.example:8001", "chat.example:8000"),
        ("http://chat.example", "chat.example:8000"),
        ("https://chat.example@evil.example", "chat.example"),
        ("https://evil.example/chat.example", "chat.example"),
        ("null", "null"),
        ("chat.example", "chat.example"),
        ("", "chat.example"),
        ("https://", "chat.example"),
        ("https://chat.example:x", "chat.example"),
        ("https://chat.example", None),
        ("https://[", "["),
    ],
)
def test_foreign_pages_may_not(origin: str, host: str | None) -> None:
    refusal = Origins().refusal(origin, host)
    assert refusal is not None
    assert refusal.endswith(".")


def test_some_may_be_allowed_and_all() -> None:
    assert Origins(("https://friend.example",)).refusal("https://friend.example", "chat.example") is None
    assert Origins(("https://friend.example",)).refusal("http://friend.example", "chat.example") is not None
    assert Origins(("*",)).refusal("https://evil.example", "chat.example") is None


@pytest.mark.parametrize(
    ("host", "known"),
    [
        ("localhost:8000", True),
        ("LOCALHOST", True),
        ("127.0.0.1:8000", True),
        ("[::1]:8000", True),
        ("evil.example:8000", False),
        ("localhost.evil.example", False),
        (None, False),
    ],
)
def test_a_foreign_name_that_points_here_is_refused_where_the_names_are_known(
    host: str | None, known: bool
) -> None:
    origins = Origins(hosts=("localhost",))
    assert (origins.refusal(None, host) is None) is known
    if host is not None:
        assert (origins.refusal(f"http://{host}", host) is None) is known
