import base64
import json
import time
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from legato.domain.user import User
from legato.errors import BusyError, InvalidError, SettingsError, UnauthenticatedError
from legato.gateway.auth import LOCAL, TOKEN_LENGTH, Authenticator, check_open, issue_token, known_hosts
from legato.gateway.jwks import KeySet
from legato.gateway.settings import AuthSettings, ServerSettings, Settings

SECRET = "a secret that is long enough for HS256"
EC_KEY = ec.generate_private_key(ec.SECP256R1())
RSA_KEY = rsa.generate_private_key(65537, 2048)


def auth(**settings: Any) -> AuthSettings:
    return AuthSettings.model_validate({"jwt_secret": SECRET, **settings})


def claims(**more: Any) -> dict[str, Any]:
    now = int(time.time())
    return {"sub": "ann", "iat": now, "exp": now + 600, **more}


def signed(payload: dict[str, Any], key: Any = SECRET, algorithm: str = "HS256", **header: Any) -> str:
    return jwt.encode(payload, key, algorithm, header)


async def refusal(authenticator: Authenticator, token: str | None) -> str:
    with pytest.raises(UnauthenticatedError) as caught:
        await authenticator(token=token)
    assert token is None or len(token) < 8 or token not in caught.value.message
    return caught.value.message


def published(*names: str) -> KeySet:
    keys = {
        "ec": {**ECAlgorithm.to_jwk(EC_KEY.public_key(), as_dict=True), "kid": "ec"},
        "rsa": {**RSAAlgorithm.to_jwk(RSA_KEY.public_key(), as_dict=True), "kid": "rsa", "alg": "RS256"},
    }

    async def get(url: str) -> bytes:
        return json.dumps({"keys": [keys[name] for name in names]}).encode()

    return KeySet("https://issuer/jwks", get)


class TestOpen:
    async def test_everyone_is_the_local_person(self) -> None:
        authenticator = Authenticator.from_settings(Settings())
        assert authenticator.anonymous_user == LOCAL
        assert await authenticator() == await authenticator(token="whatever") == LOCAL

    @pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "chat.example.org"])
    def test_only_on_this_machine(self, host: str) -> None:
        settings = Settings(server=ServerSettings(host=host))
        with pytest.raises(SettingsError, match=r"LEGATO_JWT_SECRET.*--host 127\.0\.0\.1"):
            Authenticator.from_settings(settings)
        check_open(Settings(server=ServerSettings(host=host), auth=auth()))
        check_open(
            Settings(server=ServerSettings(host=host), auth=AuthSettings(jwks_url="https://issuer/jwks"))
        )

    @pytest.mark.parametrize("secret", ["x", "hunter2", "s" * 31])
    def test_a_secret_that_can_be_guessed_is_for_this_machine_only(self, secret: str) -> None:
        check_open(Settings(auth=auth(jwt_secret=secret)))
        with pytest.raises(SettingsError, match="openssl rand"):
            check_open(Settings(server=ServerSettings(host="0.0.0.0"), auth=auth(jwt_secret=secret)))

    def test_keys_come_by_plain_http_from_this_machine_only(self) -> None:
        check_open(Settings(auth=AuthSettings(jwks_url="http://127.0.0.1:9000/jwks")))
        check_open(Settings(auth=AuthSettings(jwks_url="http://localhost/jwks")))
        with pytest.raises(SettingsError, match="https"):
            check_open(Settings(auth=AuthSettings(jwks_url="http://issuer.example/jwks")))

    async def test_no_token_inherits_what_was_written_without_sign_in(self) -> None:
        assert "'local'" in await refusal(Authenticator(auth()), signed(claims(sub=LOCAL.id)))
        with pytest.raises(InvalidError, match="'local'"):
            issue_token(auth(), LOCAL.id, 60, time.time())

    def test_it_goes_by_no_name_but_its_own(self) -> None:
        assert known_hosts(Settings()) == ("localhost", "127.0.0.1")
        assert known_hosts(Settings(server=ServerSettings(host="Mine.localhost"))) == (
            "localhost",
            "mine.localhost",
        )
        assert known_hosts(Settings(auth=auth())) == ()


class TestSecret:
    async def test_a_token_of_ours_names_its_person(self) -> None:
        now = time.time()
        token = issue_token(auth(), "ann", 60, now, name="Ann A.")
        person = await Authenticator(auth())(token=token)
        assert person == User("ann", "Ann A.", frozenset({"chat"}), int(now + 60))

    async def test_a_token_of_another_maker_does_too(self) -> None:
        assert (await Authenticator(auth())(token=f" {signed(claims())} ")).id == "ann"

    @pytest.mark.parametrize("secret", ["secret", "x", "ü" * 3, SECRET * 100])
    async def test_a_secret_of_any_length_works_and_warns_of_nothing(self, secret: str) -> None:
        settings = auth(jwt_secret=secret)
        assert (
            await Authenticator(settings)(token=issue_token(settings, "ann", 60, time.time()))
        ).id == "ann"

    def test_a_weak_one_is_logged_without_being_shown(self, caplog: pytest.LogCaptureFixture) -> None:
        Authenticator.from_settings(Settings(auth=auth(jwt_secret="hunter2")))
        assert "may be guessed" in caplog.text
        assert "hunter2" not in caplog.text

    def test_a_public_key_is_no_secret(self) -> None:
        pem = EC_KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
        with pytest.raises(SettingsError, match="jwks_url"):
            Authenticator(auth(jwt_secret=pem))

    async def test_no_token_is_asked_for_one(self) -> None:
        assert "send a token" in await refusal(Authenticator(auth()), None)
        assert "send a token" in await refusal(Authenticator(auth()), "")

    async def test_an_expired_one_is_called_that(self) -> None:
        token = signed(claims(exp=int(time.time()) - 3600))
        assert "expired" in await refusal(Authenticator(auth()), token)

    async def test_its_maker_s_clock_may_be_ahead(self) -> None:
        token = signed(claims(iat=int(time.time()) + 60, nbf=int(time.time()) + 60))
        assert (await Authenticator(auth(leeway=300))(token=token)).id == "ann"

    async def test_but_its_end_is_an_end(self) -> None:
        token = signed(claims(exp=int(time.time()) - 1))
        assert "expired" in await refusal(Authenticator(auth(leeway=300)), token)

    async def test_it_must_end(self) -> None:
        endless = claims()
        del endless["exp"]
        assert "'exp'" in await refusal(Authenticator(auth()), signed(endless))

    async def test_it_may_end_after_all_time(self) -> None:
        payload = json.dumps(claims(exp=10**400)).encode()
        await Authenticator(auth())(token=jwt.PyJWS().encode(payload, SECRET, "HS256"))

    @pytest.mark.parametrize("claim", ["nbf", "iat"])
    async def test_one_from_the_future_is_refused(self, claim: str) -> None:
        await refusal(Authenticator(auth()), signed(claims(**{claim: int(time.time()) + 3600})))

    async def test_another_secret_or_another_algorithm_is_refused(self) -> None:
        authenticator = Authenticator(auth())
        await refusal(authenticator, signed(claims(), "another secret that is long enough too"))
        await refusal(authenticator, signed(claims(), SECRET * 2, "HS512"))
        await refusal(authenticator, signed(claims(), EC_KEY, "ES256"))

    @pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "", None, 5, ["HS256"], {}])
    async def test_an_unsigned_one_is_refused(self, algorithm: object) -> None:
        def part(value: object) -> str:
            return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

        for signature in ("", "AAAA"):
            await refusal(
                Authenticator(auth()),
                f"{part({'alg': algorithm, 'typ': 'JWT'})}.{part(claims())}.{signature}",
            )

    @pytest.mark.parametrize(
        "token",
        [
            "x",
            "a.b",
            "a.b.c",
            "....",
            "\0",
            "é.é.é",
            "\ud800",
            "a" * (TOKEN_LENGTH + 1),
            base64.urlsafe_b64encode(b"[" * 9000).decode() + ".e30.AAAA",
            base64.urlsafe_b64encode(b"[]").decode() + ".e30.AAAA",
        ],
    )
    async def test_nonsense_is_refused(self, token: str) -> None:
        await refusal(Authenticator(auth()), token)

    @pytest.mark.parametrize("exp", [1e400, float("nan"), "soon", None, [], -1])
    async def test_a_nonsensical_end_is_refused(self, exp: Any) -> None:
        payload = json.dumps({"sub": "ann", "exp": exp}).encode()
        await refusal(Authenticator(auth()), jwt.PyJWS().encode(payload, SECRET, "HS256"))


class TestWhoItIs:
    async def test_the_claim_is_a_setting(self) -> None:
        settings = auth(user_claim="user_id")
        assert (await Authenticator(settings)(token=signed(claims(user_id=42)))).id == "42"
        assert (
            await Authenticator(settings)(token=issue_token(settings, "bob", 60, time.time()))
        ).id == "bob"
        assert "'user_id'" in await refusal(Authenticator(settings), signed(claims()))

    @pytest.mark.parametrize("user", ["", None, True, 1.5, [], {}, "a\nb", "\ud800", "x" * 129, ".", ".."])
    async def test_it_must_be_a_name(self, user: Any) -> None:
        payload = json.dumps(claims(sub=user)).encode()
        said = await refusal(Authenticator(auth()), jwt.PyJWS().encode(payload, SECRET, "HS256"))
        assert said.startswith("This token names no user. Its 'sub' must ")

    async def test_the_scopes_are_those_of_the_token(self) -> None:
        async def scopes(**more: Any) -> frozenset[str]:
            return (await Authenticator(auth())(token=signed(claims(**more)))).scopes

        assert await scopes() == {"chat"}
        assert await scopes(scope="chat admin") == {"chat", "admin"}
        assert await scopes(scope=["admin"]) == {"admin"}
        assert await scopes(scope="") == await scopes(scope=None) == await scopes(scope=7) == frozenset()

    async def test_a_name_that_is_none_is_left_out(self) -> None:
        assert (await Authenticator(auth())(token=signed(claims(name=5)))).name is None
        assert (await Authenticator(auth())(token=signed(claims(name=" \n")))).name is None

    async def test_a_name_is_one_line_that_can_be_shown(self) -> None:
        said = "Ann\x1b[31m\n\nSystem:\u202e\ud800" + "n" * 3000
        name = (await Authenticator(auth())(token=signed(claims(name=said)))).name
        assert name is not None
        assert name.startswith("Ann [31m System: \ufffdnnn")
        assert len(name) == 200

    async def test_one_for_a_service_is_refused_where_no_service_is_named(self) -> None:
        assert "[auth] audience" in await refusal(Authenticator(auth()), signed(claims(aud="another")))

    async def test_audience_and_issuer_count_where_they_are_set(self) -> None:
        settings = auth(audience="legato", issuer="me")
        assert (
            await Authenticator(settings)(token=issue_token(settings, "ann", 60, time.time()))
        ).id == "ann"
        for wrong in ({}, {"aud": "other", "iss": "me"}, {"aud": "legato", "iss": "you"}, {"aud": "legato"}):
            await refusal(Authenticator(settings), signed(claims(**wrong)))
        assert (await Authenticator(auth())(token=signed(claims(iss="you")))).id == "ann"


class TestPublishedKeys:
    @pytest.mark.parametrize(
        ("key", "algorithm", "name"), [(EC_KEY, "ES256", "ec"), (RSA_KEY, "RS256", "rsa")]
    )
    async def test_their_tokens_are_taken(self, key: Any, algorithm: str, name: str) -> None:
        authenticator = Authenticator(
            AuthSettings(jwks_url="https://issuer/jwks"), keys=published("ec", "rsa")
        )
        assert (await authenticator(token=signed(claims(), key, algorithm, kid=name))).id == "ann"
        await refusal(authenticator, signed(claims(), key, algorithm, kid="other"))
        await refusal(authenticator, signed(claims(), SECRET, kid=name))
        await authenticator.close()

    async def test_a_public_key_is_not_taken_for_a_secret(self) -> None:
        # jwt.encode refuses to make this forgery, so it is made by hand.
        pem = EC_KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        signer = jwt.PyJWS(algorithms=[])

        class Forger(jwt.algorithms.HMACAlgorithm):
            def prepare_key(self, key: str | bytes) -> bytes:
                return key.encode() if isinstance(key, str) else key

        signer.register_algorithm("HS256", Forger(Forger.SHA256))
        token = signer.encode(json.dumps(claims()).encode(), pem, "HS256", {"kid": "ec"})
        await refusal(
            Authenticator(AuthSettings(jwks_url="https://issuer/jwks"), keys=published("ec")), token
        )
        await refusal(Authenticator(auth(), keys=published("ec")), token)

    async def test_an_algorithm_the_key_is_not_for_is_refused(self) -> None:
        authenticator = Authenticator(AuthSettings(jwks_url="https://issuer/jwks"), keys=published("rsa"))
        await refusal(authenticator, signed(claims(), RSA_KEY, "PS256", kid="rsa"))
        await refusal(authenticator, signed(claims(), EC_KEY, "ES256", kid="rsa"))

    @pytest.mark.parametrize(
        "header", [{"alg": ["RS256"]}, {"alg": {}}, {"alg": None}, {"alg": "RS256", "kid": [7]}]
    )
    async def test_a_header_that_names_its_algorithm_or_key_in_no_text_is_refused(
        self, header: dict[str, Any]
    ) -> None:
        authenticator = Authenticator(AuthSettings(jwks_url="https://issuer/jwks"), keys=published("rsa"))
        said = [base64.urlsafe_b64encode(json.dumps(each).encode()).decode() for each in (header, claims())]
        await refusal(authenticator, ".".join([*said, "AAAA"]).replace("=", ""))

    async def test_beside_a_secret_both_are_taken(self) -> None:
        authenticator = Authenticator(auth(), keys=published("ec"))
        assert (await authenticator(token=signed(claims()))).id == "ann"
        assert (await authenticator(token=signed(claims(), EC_KEY, "ES256"))).id == "ann"

    async def test_an_issuer_that_is_down_says_later_and_not_never(self) -> None:
        async def get(url: str) -> bytes:
            raise OSError("no route")

        authenticator = Authenticator(AuthSettings(jwks_url="https://issuer/jwks"), keys=KeySet("x", get))
        with pytest.raises(BusyError):
            await authenticator(token=signed(claims(), EC_KEY, "ES256", kid="ec"))


class TestTicket:
    async def test_it_stands_for_a_token_once(self) -> None:
        authenticator = Authenticator(auth())
        person = await authenticator(token=signed(claims()))
        ticket = await authenticator.ticket(person)
        assert authenticator.ticket_seconds <= 30
        assert await authenticator(ticket=ticket) == person
        with pytest.raises(UnauthenticatedError):
            await authenticator(ticket=ticket)

    async def test_it_does_not_outlive_the_token(self) -> None:
        authenticator = Authenticator(auth())
        ticket = await authenticator.ticket(User("ann", expires=time.time() - 1))
        with pytest.raises(UnauthenticatedError, match="expired"):
            await authenticator(ticket=ticket)


class TestIssue:
    def test_without_a_secret_there_is_no_token(self) -> None:
        with pytest.raises(SettingsError, match="LEGATO_JWT_SECRET"):
            issue_token(AuthSettings(), "ann", 60, 0.0)

    @pytest.mark.parametrize("user", ["", "a\nb", "x" * 129, ".", ".."])
    def test_no_one_has_such_a_name(self, user: str) -> None:
        with pytest.raises(InvalidError):
            issue_token(auth(), user, 60, 0.0)

    def test_it_contains_what_was_requested(self) -> None:
        token = issue_token(auth(), "ann", 3600, 1000.9, name="Ann", scopes="chat admin")
        assert jwt.decode(token, SECRET, ["HS256"], {"verify_exp": False, "verify_iat": False}) == {
            "sub": "ann",
            "name": "Ann",
            "scope": "chat admin",
            "iat": 1000,
            "exp": 4600,
        }
