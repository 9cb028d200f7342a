"""Which way a request goes."""

import pytest
from yarl import URL

from legato.engines.http import environment_proxy, is_loopback


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.8.8.8", "[::1]", "localhost", "box.localhost", "localhost."]
)
def test_this_machine_is_known_by_all_its_names(host: str) -> None:
    assert is_loopback(URL(f"http://{host}"))


@pytest.mark.parametrize("host", ["10.0.0.1", "localhost.example.com", "[fe80::1]", "box"])
def test_other_machines_are_not_this_one(host: str) -> None:
    assert not is_loopback(URL(f"http://{host}"))


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
