"""Which web pages may open a socket here.

A browser lets any page of any site open a WebSocket to any server, with the cookies of that server, and says in `Origin`
which site it was. A program that is no browser sends no `Origin`.
"""

from ipaddress import ip_address
from urllib.parse import urlsplit

from msgspec import Struct

DEFAULT_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}


class Origins(Struct, frozen=True):
    """No `Origin`, the site that the request was sent to itself, and those in `allowed`; `*` is every one.

    `hosts`, where it is not empty, are the names by which this server may be called. A server that is open to its own
    machine needs them: a foreign page may point its own name at 127.0.0.1, and would then be of the same site. Addresses
    need not be named, since nobody can point one elsewhere.
    """

    allowed: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()

    def refusal(self, origin: str | None, host: str | None) -> str | None:
        """Why this page may not, in a sentence; None if it may."""
        if self.hosts and not self._knows(host):
            return "This server is not known by that name: use its address, or add the name to its settings."
        if origin is None or "*" in self.allowed or origin in self.allowed:
            return None
        site, here = _site(origin), _authority(host, None)
        if site is not None and here is not None and site[0] == here[0]:
            default = DEFAULT_PORTS.get(site[2])
            if (site[1] or default) == (here[1] or default):
                return None
        return "Pages of that site may not connect to this server: add it to cors_origins if they should."

    def _knows(self, host: str | None) -> bool:
        authority = _authority(host, None)
        if authority is None:
            return False
        name = authority[0]
        if name in self.hosts:
            return True
        try:
            ip_address(name)
        except ValueError:
            return False
        return True


def _site(origin: str) -> tuple[str, int | None, str] | None:
    scheme, separator, authority = origin.partition("://")
    if not separator:
        return None
    return _authority(authority, scheme.lower())


def _authority(text: str | None, scheme: str | None) -> tuple[str, int | None, str] | None:
    """The name in lower case without a final dot, and the port."""
    if not text:
        return None
    try:
        parts = urlsplit(f"//{text}")
        name, port = parts.hostname, parts.port
    except ValueError:
        return None
    if not name or parts.username is not None or parts.path or parts.query:
        return None
    return name.rstrip("."), port, scheme or ""
