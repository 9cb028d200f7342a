"""The callers of the APIs: known by an API key or a token of a user, or without one in an anonymous network."""

import base64
import binascii
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network

from fastapi import Request

from legato.api.call import Caller
from legato.api.key_cache import KEY_PREFIX, ApiKeyCache
from legato.broker.rate_limit import RateLimiter
from legato.dialects.authentication import require_chat_scope
from legato.errors import ForbiddenError, OverLimitError, UnauthenticatedError
from legato.gateway.auth import ANONYMOUS, Authenticator, is_reserved
from legato.gateway.middleware import UNRESOLVED_PROXY, route_path
from legato.gateway.websocket.origins import Origins, host_name
from legato.protocol.bearer import bearer_token
from legato.storage.api_base import ApiKeyRecord

FAILURES_PER_MINUTE = 60
"""How many wrong keys one address may send. A client with a wrong key that tries again and again must not cost queries."""

ADDRESSES = 10_000
"""How many addresses are remembered for that."""

EMBEDDING_PATHS = frozenset({"/v1/embeddings", "/api/embed", "/api/embeddings"})
"""The paths for the scope `embed`. The others need `chat`."""

SCOPELESS_PATHS = ("/v1/models", "/api/tags", "/api/ps", "/api/show", "/api/version", "/api/usage")
"""How the paths begin that every key may ask for: models, and its own usage."""

KEY_HEADERS = ("x-api-key", "api-key")
"""Headers with a key: of Anthropic's clients, and of OpenAI's for Azure."""

LOCAL_ZONES = (".localhost", ".local", ".internal", ".lan", ".home.arpa")
"""Names that public DNS does not have, so that no web page can point its own name at this server by one of them."""

_NO_KEY = "Send a key as `Authorization: Bearer …` or as `x-api-key`. `legato key create` makes one."
_OPEN_KEY = (
    "This API key was made while the server asked for no authentication. "
    "`legato key create NAME --user USER` makes one for a user."
)
_PROXY = (
    "This request came through a proxy that this server does not trust, so it needs a key. "
    "The server trusts the proxies in the variable FORWARDED_ALLOW_IPS."
)
_NAME = "Without a key, call this server by its address or a local name: a web page could point any other name at it."
_PAGE = "A page of another site needs a key."


def sent_key(headers: Mapping[str, str]) -> str | None:
    """Return the key or token of a request, None if there is none.

    In this order: `Authorization: Bearer`, `x-api-key`, `api-key`, then the password of `Authorization: Basic`, or its
    user if the password is empty (`https://KEY@host`).
    """
    authorization = headers.get("authorization", "")
    token = bearer_token(authorization)
    if token:
        return token
    for name in KEY_HEADERS:
        if key := headers.get(name, "").strip():
            return key
    return _basic_key(authorization)


def _basic_key(authorization: str) -> str | None:
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        user, _, password = base64.b64decode(encoded.strip(), validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        return None
    return password.strip() or user.strip() or None


class FailedKeyLimiter:
    """Bounds how many wrong keys an address can try. `clock` is in seconds."""

    def __init__(self, clock: Callable[[], float], per_minute: int = FAILURES_PER_MINUTE) -> None:
        self._clock = clock
        self._per_minute = per_minute
        self._limiters: OrderedDict[str, RateLimiter] = OrderedDict()

    def check(self, address: str) -> None:
        """Check that this address may try an unknown key.

        :raises OverLimitError: it tried too many wrong ones.
        """
        limiter = self._limiters.get(address)
        if limiter is not None and (wait := limiter.until(self._clock())):
            raise OverLimitError("Too many wrong keys came from this address. Wait a moment.", wait)

    def count(self, address: str) -> None:
        """Count a wrong key.

        :raises OverLimitError: there were too many already.
        """
        self.check(address)
        limiter = self._limiters.get(address)
        if limiter is None:
            if len(self._limiters) >= ADDRESSES:
                self._limiters.popitem(last=False)
            limiter = self._limiters[address] = RateLimiter(self._per_minute / 60, 60.0)
        self._limiters.move_to_end(address)
        limiter.allows(self._clock())


class CallerAuthenticator:
    """Finds out who calls an API. Call it with a request.

    `networks` may call without a key, also from pages of `origins`, which are named one by one (`*` has no effect). A server without authentication lets every caller in, and takes valid keys too.
    """

    def __init__(
        self,
        authenticator: Authenticator,
        keys: ApiKeyCache,
        networks: Sequence[str] = (),
        origins: Sequence[str] = (),
        *,
        clock: Callable[[], float],
    ) -> None:
        self._authenticator = authenticator
        self._keys = keys
        self._networks = [ip_network(each) for each in networks]
        self._origins = Origins(tuple(each for each in origins if each != "*"))
        self._failures = FailedKeyLimiter(clock)

    async def __call__(self, request: Request) -> Caller:
        """Return who calls.

        :raises UnauthenticatedError: there is no key or token, or it is not valid.
        :raises ForbiddenError: the key or token does not allow this.
        :raises OverLimitError: this address sent too many wrong keys.
        :raises StorageError: the database cannot be asked for the key.
        """
        key = sent_key(request.headers)
        if self._authenticator.anonymous_user is not None:
            return await self._open(request, key)
        if key is None:
            return self._anonymous(request)
        if key.startswith(KEY_PREFIX):
            return await self._of_key(request, key)
        try:
            user = await self._authenticator(token=key)
        except UnauthenticatedError:
            self._failures.count(_place(request))
            raise
        require_chat_scope(user)
        return Caller(user.id)

    async def _of_key(self, request: Request, key: str) -> Caller:
        place = _place(request)
        if not self._keys.has(key):
            self._failures.check(place)
        try:
            record = await self._keys.find(key)
            if is_reserved(record.user):
                raise UnauthenticatedError(_OPEN_KEY)
        except UnauthenticatedError:
            self._failures.count(place)
            raise
        return _caller(request, record)

    async def _open(self, request: Request, key: str | None) -> Caller:
        """Return the caller of a server without authentication: clients that must send a key send any."""
        if key is not None and key.startswith(KEY_PREFIX):
            try:
                return _caller(request, await self._keys.find(key))
            except UnauthenticatedError:
                if self._keys.has(key):
                    raise
        user = self._authenticator.anonymous_user
        name = user.id if user is not None else ANONYMOUS
        return Caller(f"{name}@{request.client.host}" if request.client is not None else name)

    def _anonymous(self, request: Request) -> Caller:
        address = _address(request)
        if address is None or not any(address in network for network in self._networks):
            raise UnauthenticatedError(_NO_KEY)
        if request.scope.get(UNRESOLVED_PROXY):
            raise UnauthenticatedError(_PROXY)
        host = request.headers.get("host")
        if not _is_local_name(host_name(host)):
            raise UnauthenticatedError(_NAME)
        if self._origins.refusal(request.headers.get("origin"), host) is not None:
            raise UnauthenticatedError(_PAGE)
        return Caller(f"{ANONYMOUS}@{address}")


def _caller(request: Request, key: ApiKeyRecord) -> Caller:
    """Return the caller with this key.

    :raises ForbiddenError: the key does not allow this.
    """
    path = route_path(request.scope)
    scope = "embed" if path in EMBEDDING_PATHS else "chat"
    if scope not in key.scopes and not path.startswith(SCOPELESS_PATHS):
        raise ForbiddenError(f"This API key does not have the scope `{scope}`.")
    return Caller(key.user, key.id, key.models, key.limits)


def _address(request: Request) -> IPv4Address | IPv6Address | None:
    if request.client is None:
        return None
    try:
        address = ip_address(request.client.host.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def _place(request: Request) -> str:
    """Return the address of a client; of IPv6 its network, because one machine has very many addresses."""
    address = _address(request)
    if isinstance(address, IPv6Address):
        return str(IPv6Network((int(address) >> 64 << 64, 64)))
    return str(address)


def _is_local_name(name: str | None) -> bool:
    if name is None:
        return False
    try:
        ip_address(name)
    except ValueError:
        return "." not in name or name.endswith(LOCAL_ZONES)
    return True
