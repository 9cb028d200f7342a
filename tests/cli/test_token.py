from pathlib import Path
from typing import Any

import jwt
import pytest

from legato.cli.token import seconds
from legato.errors import InvalidError

SECRET = "a secret that is long enough for HS256"


def test_one_token_and_nothing_else_is_printed(legato: Any) -> None:
    shown = legato("token", "--user", "ann", "--ttl", "2h", env={"LEGATO_JWT_SECRET": SECRET})
    assert (shown.returncode, shown.stderr) == (0, "")
    token, rest = shown.stdout.split("\n", 1)
    assert rest == ""
    claims = jwt.decode(token, SECRET, ["HS256"])
    assert claims["sub"] == "ann"
    assert claims["exp"] - claims["iat"] == 7200


def test_it_may_allow_something_else(legato: Any) -> None:
    shown = legato("token", "--user", "ann", "--scope", "admin", env={"LEGATO_JWT_SECRET": SECRET})
    assert jwt.decode(shown.stdout.strip(), SECRET, ["HS256"])["scope"] == "admin"


def test_it_may_name_the_person_as_others_see_them(legato: Any) -> None:
    shown = legato("token", "--user", "ann", "--name", "Ann A.", env={"LEGATO_JWT_SECRET": SECRET})
    claims = jwt.decode(shown.stdout.strip(), SECRET, ["HS256"])
    assert (claims["sub"], claims["name"]) == ("ann", "Ann A.")


def test_the_secret_may_stand_in_the_config_and_be_short(legato: Any, tmp_path: Path) -> None:
    (tmp_path / "legato.toml").write_text(
        '[auth]\njwt_secret = "secret"\nuser_claim = "user"\naudience = "us"\n'
    )
    shown = legato("token", "--user", "ann")
    assert (shown.returncode, shown.stderr) == (0, "")
    claims = jwt.decode(shown.stdout.strip(), options={"verify_signature": False})
    assert (claims["user"], claims["aud"]) == ("ann", "us")


@pytest.mark.parametrize(
    ("arguments", "env", "reason"),
    [
        (("--user", "ann"), {}, "LEGATO_JWT_SECRET"),
        (("--user", ""), {"LEGATO_JWT_SECRET": SECRET}, "The user's name"),
        (("--user", "ann", "--ttl", "soon"), {"LEGATO_JWT_SECRET": SECRET}, "no length of time"),
    ],
)
def test_what_cannot_be_is_a_sentence(
    legato: Any, arguments: tuple[str, ...], env: dict[str, str], reason: str
) -> None:
    shown = legato("token", *arguments, env=env)
    assert (shown.returncode, shown.stdout) == (1, "")
    assert reason in shown.stderr
    assert shown.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("text", "length"),
    [("90", 90), ("30s", 30), ("15m", 900), ("1h", 3600), ("7d", 604800), ("2w", 1209600), ("1h30m", 5400)],
)
def test_lengths_of_time(text: str, length: int) -> None:
    assert seconds(text) == length


@pytest.mark.parametrize("text", ["", "0", "0h", "-1h", "1.5h", "1y", "h", "1h30", "१h"])
def test_what_is_no_length_of_time(text: str) -> None:
    with pytest.raises(InvalidError):
        seconds(text)


def test_a_scope_that_there_is_not_is_refused(legato: Any) -> None:
    shown = legato("token", "--user", "ann", "--scope", "chat admn", env={"LEGATO_JWT_SECRET": SECRET})
    assert (shown.returncode, shown.stdout) == (1, "")
    assert "There is no scope 'admn'. There is: admin, chat." in shown.stderr
