"""There is one answer to which hosts are this machine."""

import pytest

from legato.hosts import is_loopback


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.9.9.9",
        "::1",
        "[::1]",
        "::ffff:127.0.0.1",
        "localhost",
        "LOCALHOST.",
        "box.localhost",
    ],
)
def test_this_machine_is_known_by_all_its_names(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host",
    [
        "",
        "0.0.0.0",
        "::",
        "10.0.0.1",
        "::ffff:10.0.0.1",
        "fe80::1",
        "box",
        "example.org",
        "localhost.example.org",
    ],
)
def test_others_are_not_this_machine(host: str) -> None:
    assert not is_loopback(host)
