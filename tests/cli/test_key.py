import re
from typing import Any

import pytest

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
