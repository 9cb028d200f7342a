import json
import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .conftest import Serving

SECRET = {"LEGATO_JWT_SECRET": "a secret that is long enough for HS256"}


def test_a_key_is_printed_once_listed_and_revoked(legato: Any) -> None:
    made = legato(
        "key", "create", "laptop", "--user", "ann", "--model", "a", "--model", "b", "--expires", "30d",
        "--tokens-per-day", "500", env=SECRET,
    )  # fmt: skip
    assert made.returncode == 0
    assert re.fullmatch(r"sk-[0-9a-f]{48}\n", made.stdout)
    (name,) = re.findall(r"key_[0-9a-f]+", made.stderr)
    again = legato("key", "create", "laptop", "--user", "ann", env=SECRET)
    assert (again.returncode, again.stdout) == (1, "")
    assert "ann has a key with the name 'laptop'" in again.stderr

    listed = legato("key", "list", env=SECRET).stdout
    assert made.stdout.strip() not in listed
    row = listed.splitlines()[1]
    for word in (name, "ann", "laptop", "valid until", "chat embed", "a b", "500 tokens/day"):
        assert word in row
    revoked = legato("key", "revoke", "laptop", env=SECRET)
    assert (revoked.returncode, revoked.stderr) == (0, "")
    assert "revoked" in legato("key", "list", "--user", "ann", env=SECRET).stdout
    assert legato("key", "revoke", "laptop", env=SECRET).returncode == 1


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("create", "k"), "--user"),
        (("create", "k", "--user", "local"), "No token or key can name the user 'local'"),
        (("create", " ", "--user", "ann"), "The key's name"),
        (("create", "k", "--user", "ann", "--scope", "chat admin"), "no scope 'admin'"),
        (("create", "k", "--user", "ann", "--expires", "soon"), "no length of time"),
        (("revoke", "none"), "There is no key 'none'"),
    ],
)
def test_what_cannot_be_is_a_sentence(legato: Any, arguments: tuple[str, ...], reason: str) -> None:
    shown = legato("key", *arguments, env=SECRET)
    assert (shown.returncode, shown.stdout) == (1, "")
    assert reason in shown.stderr
    assert shown.stderr.count("\n") == 1


@pytest.fixture
def served(tmp_path: Path) -> Iterator[str]:
    """The address of a server on the same data as the commands."""
    serving = Serving(tmp_path, **SECRET)
    yield serving.url
    serving.end()


def test_keys_are_made_and_revoked_beside_a_running_server(legato: Any, served: str) -> None:
    key = legato("key", "create", "laptop", "--user", "ann", env=SECRET).stdout.strip()

    def ask() -> Any:
        body = {"model": "default", "messages": [{"role": "user", "content": "one two"}]}
        request = urllib.request.Request(
            f"{served}/v1/chat/completions",
            json.dumps(body).encode(),
            {"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.loads(answer.read())

    tokens = ask()["usage"]["total_tokens"]
    report = urllib.request.Request(f"{served}/api/usage", headers={"X-Api-Key": key})
    with urllib.request.urlopen(report, timeout=30) as answer:
        assert json.loads(answer.read())["total"]["total_tokens"] == tokens
    # The server writes usage once a second.
    for _ in range(20):
        if (row := legato("key", "list", env=SECRET).stdout.split()[-2:]) == ["1", str(tokens)]:
            break
    assert row == ["1", str(tokens)]
    legato("key", "revoke", "laptop", env=SECRET)
    status = 200
    for _ in range(200):
        try:
            ask()
        except urllib.error.HTTPError as error:
            status = error.code
            break
    assert status == 401
