"""Authentication: tokens and tickets become a `User`."""

import json
import logging
import time
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from typing import Any

import jwt
from jwt.algorithms import HMACAlgorithm
from yarl import URL

from legato.api.key_cache import KEY_PREFIX
from legato.broker.memory import MemoryBroker
from legato.domain.user import MAX_USER_NAME_LENGTH, User
from legato.domain.validation import check_new_id, one_line
from legato.errors import InvalidError, SettingsError, UnauthenticatedError
from legato.gateway.jwks import ALGORITHMS, KeySet
from legato.gateway.settings import AuthSettings, Settings
from legato.gateway.tickets import Tickets
from legato.hosts import is_loopback

logger = logging.getLogger(__name__)

LOCAL = User("local")
"""The user of every request to a server that only its own machine can reach and that has no secret."""

ANONYMOUS = "anonymous"
"""Callers of the APIs without a key are `anonymous@ADDRESS`."""

DEFAULT_SCOPES = frozenset({"chat"})
"""The scopes of a token without a scope claim. `admin` must be named."""

SECRET_BYTES = 32
"""RFC 7518, 3.2: an HS256 key is at least as long as its hash."""

TOKEN_LENGTH = 16 * 1024

RESERVED = (
    f"No token or key can name the user {LOCAL.id!r}: what was written without sign-in belongs to that name."
)
NOT_HERE = "An API key is for the APIs of other servers, such as `/v1`. Sign in with a token."
UNNAMED = "This token is meant for a certain service (`aud`), and the server was not told that it is that one: [auth] audience."
ELSEWHERE = "This token is meant for another service, or comes from one."
EXPIRED = "Your token has expired. Sign in again, or get a new one."
FOREIGN = "This token is not valid here. Sign in again, or get a new one."


class _AnyLength(HMACAlgorithm):
    """HS256 with a secret of any length. A short secret is reported once, at the start, and not for every token."""

    def check_key_length(self, key: Any) -> str | None:
        return None


class Authenticator:
    """Authenticates requests. Call it with a token, or with a ticket that `ticket` returned.

    `anonymous_user` is the user of every request if no authentication is required, and None otherwise.
    """

    def __init__(
        self,
        settings: AuthSettings,
        *,
        keys: KeySet | None = None,
        tickets: Tickets | None = None,
    ) -> None:
        """Read the secret.

        :raises SettingsError: the secret cannot be used.
        """
        self._settings = settings
        self._secret = _secret_key(settings)
        self._keys = keys or (KeySet(settings.jwks_url) if settings.jwks_url else None)
        self._tickets = tickets or Tickets(MemoryBroker(time.monotonic).once)
        self.anonymous_user = None if settings.required else LOCAL

    @classmethod
    def from_settings(cls, settings: Settings, tickets: Tickets | None = None) -> "Authenticator":
        """Create the authenticator of a server.

        :raises SettingsError: everyone who can reach the server could use it.
        """
        check_open(settings)
        secret = settings.auth.jwt_secret
        if secret is not None and len(secret.get_secret_value().encode()) < SECRET_BYTES:
            logger.warning("the JWT secret has less than %d bytes and may be guessed", SECRET_BYTES)
        return cls(settings.auth, tickets=tickets)

    async def __call__(self, *, token: str | None = None, ticket: str | None = None) -> User:
        """Return the user of a token or a ticket.

        :raises UnauthenticatedError: it is not valid; the sentence says why.
        :raises BusyError: the issuer's keys cannot be fetched now.
        """
        if self.anonymous_user is not None:
            return self.anonymous_user
        if ticket is not None:
            user = await self._tickets.take(ticket)
            if user.expires is not None and user.expires <= time.time():
                raise UnauthenticatedError(EXPIRED)
            return user
        if not token:
            raise UnauthenticatedError("This server wants to know who you are: send a token.")
        return self._user_of(await self._claims(token.strip()))

    async def ticket(self, user: User) -> str:
        """Return a ticket that authenticates `user` once, within `ticket_seconds`.

        :raises BusyError: too many tickets are held at once.
        """
        return await self._tickets.issue(user)

    @property
    def ticket_seconds(self) -> float:
        return self._tickets.ttl

    async def close(self) -> None:
        if self._keys is not None:
            await self._keys.close()

    async def _claims(self, token: str) -> dict[str, Any]:
        if token.startswith(KEY_PREFIX):
            raise UnauthenticatedError(NOT_HERE)
        if len(token) > TOKEN_LENGTH:
            raise UnauthenticatedError(FOREIGN)
        try:
            header = jwt.get_unverified_header(token)
        except (jwt.PyJWTError, ValueError, RecursionError):
            raise UnauthenticatedError("This is not a token.") from None
        key = await self._key(header)
        if key is None:
            raise UnauthenticatedError(FOREIGN)
        settings = self._settings
        try:
            # A PyJWK pins the algorithm: the header only selects one of the keys.
            claims: dict[str, Any] = jwt.decode(
                token,
                key,
                algorithms=[key.algorithm_name],
                audience=settings.audience,
                issuer=settings.issuer,
                leeway=settings.leeway,
                options={
                    "require": ["exp"],
                    "verify_iss": settings.issuer is not None,
                    "verify_sub": False,
                    "verify_jti": False,
                },
            )
            expired = int(claims["exp"]) <= time.time()
        except jwt.ExpiredSignatureError:
            raise UnauthenticatedError(EXPIRED) from None
        except jwt.MissingRequiredClaimError as error:
            raise UnauthenticatedError(f"This token says nothing of {error.claim!r}, and must.") from None
        except (jwt.InvalidAudienceError, jwt.InvalidIssuerError) as error:
            # RFC 7519, 4.1.3: a server that is not in `aud` must refuse the token, also if it has no name.
            unnamed = settings.audience is None and isinstance(error, jwt.InvalidAudienceError)
            raise UnauthenticatedError(UNNAMED if unnamed else ELSEWHERE) from None
        except (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError):
            raise UnauthenticatedError(FOREIGN) from None
        if expired:
            # `leeway` is for clocks that are ahead. It does not prolong a token, whose sockets close at `exp`.
            raise UnauthenticatedError(EXPIRED)
        return claims

    async def _key(self, header: Mapping[str, Any]) -> jwt.PyJWK | None:
        algorithm, name = header.get("alg"), header.get("kid")
        if not isinstance(algorithm, str) or not isinstance(name, str | None):
            return None
        if algorithm == "HS256":
            return self._secret
        if self._keys is None or algorithm not in ALGORITHMS:
            return None
        return await self._keys.find(name, algorithm)

    def _user_of(self, claims: Mapping[str, Any]) -> User:
        settings = self._settings
        user, name, scope = (
            claims.get(settings.user_claim),
            claims.get("name"),
            claims.get(settings.scope_claim),
        )
        if isinstance(user, int) and not isinstance(user, bool):
            user = str(user)
        try:
            user = check_new_id(user if isinstance(user, str) else "", f"Its {settings.user_claim!r}")
        except InvalidError as error:
            raise UnauthenticatedError(f"This token names no user. {error.message}") from None
        if is_reserved(user):
            raise UnauthenticatedError(RESERVED)
        scopes = DEFAULT_SCOPES
        if settings.scope_claim in claims:
            words = scope.split() if isinstance(scope, str) else scope if isinstance(scope, list) else []
            scopes = frozenset(word for word in words if isinstance(word, str))
        return User(
            user,
            one_line(name, MAX_USER_NAME_LENGTH) or None if isinstance(name, str) else None,
            scopes,
            min(int(claims["exp"]), 2**53),
        )


def check_open(settings: Settings) -> None:
    """Check that the server is not open to everyone who can reach it.

    :raises SettingsError: it asks for no token, its secret can be guessed, or its keys come by plain HTTP.
    """
    host, secret, jwks_url = settings.server.host, settings.auth.jwt_secret, settings.auth.jwks_url
    if jwks_url is not None and jwks_url.startswith("http:") and not is_loopback(URL(jwks_url).host or ""):
        raise SettingsError(
            f"[auth] jwks_url is {jwks_url}: whoever is on the way could send keys of their own. Use https."
        )
    if is_loopback(host):
        return
    if not settings.auth.required:
        raise SettingsError(
            f"Everyone who can reach {host} could use this server. Set LEGATO_JWT_SECRET to a long random text "
            "(then `legato token --user NAME` makes tokens), or keep to this machine with --host 127.0.0.1."
        )
    if secret is not None and len(secret.get_secret_value().encode()) < SECRET_BYTES:
        raise SettingsError(
            f"The JWT secret has less than {SECRET_BYTES} bytes, so everyone who can reach {host} could guess it. "
            "Make a new one, for example with `openssl rand -hex 32`."
        )


def known_hosts(settings: Settings) -> tuple[str, ...]:
    """Return the host names that a server without authentication answers to; empty if authentication is required: any name.

    Otherwise a page of another site could point its own name at 127.0.0.1 and would count as the same site.
    """
    if settings.auth.required:
        return ()
    return tuple(dict.fromkeys(("localhost", settings.server.host.strip("[]").rstrip(".").lower())))


def issue_token(
    settings: AuthSettings,
    user: str,
    ttl: float,
    now: float,
    *,
    name: str | None = None,
    scopes: str | None = None,
) -> str:
    """Return a token that this server accepts for `user`, for `ttl` seconds from `now` (since the epoch).

    :raises SettingsError: there is no secret to sign it with.
    :raises InvalidError: the name cannot be the name of a user.
    """
    secret = _secret_key(settings)
    if secret is None:
        raise SettingsError(
            "There is no secret to sign a token with. Set LEGATO_JWT_SECRET, or [auth] jwt_secret in legato.toml, "
            "to the one the server has."
        )
    values = {
        "name": name,
        settings.scope_claim: scopes,
        "aud": settings.audience,
        "iss": settings.issuer,
        "iat": int(now),
        "exp": int(now + ttl),
        settings.user_claim: check_user(user),
    }
    claims = {claim: value for claim, value in values.items() if value is not None}
    signer = jwt.PyJWS(algorithms=[])
    signer.register_algorithm("HS256", secret.Algorithm)
    payload = json.dumps(claims, separators=(",", ":")).encode()
    return signer.encode(payload, secret, "HS256", {"typ": "JWT"})


def is_reserved(user: str) -> bool:
    """Return whether an id is one of those that the server gives to requests without a token."""
    return user == LOCAL.id or user.startswith((f"{LOCAL.id}@", f"{ANONYMOUS}@"))


def check_user(user: str) -> str:
    """Return the id of a user for whom a token or key is made.

    :raises InvalidError: no user can have this id.
    """
    if is_reserved(user):
        raise InvalidError(RESERVED)
    return check_new_id(user, "The user's name")


def _secret_key(settings: AuthSettings) -> jwt.PyJWK | None:
    if settings.jwt_secret is None:
        return None
    secret = settings.jwt_secret.get_secret_value().encode("utf-8", "surrogateescape")
    algorithm = _AnyLength(HMACAlgorithm.SHA256)
    try:
        algorithm.prepare_key(secret)
    except jwt.InvalidKeyError:
        raise SettingsError(
            "The JWT secret is a key of the kind that others may know. Set [auth] jwks_url to where such keys are "
            "published, or make the secret a long random text."
        ) from None
    key = jwt.PyJWK({"kty": "oct", "k": urlsafe_b64encode(secret).rstrip(b"=").decode()}, "HS256")
    key.Algorithm = algorithm
    return key
