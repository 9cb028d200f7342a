"""Which web pages may connect.

A browser lets any page of any site open a WebSocket to any server, with the cookies of that server, and names the site in
`Origin`. A program that is not a browser sends no `Origin`.
"""

from ipaddress import ip_address
from urllib.parse import urlsplit

from msgspec import Struct

TWO_HOSTS = "This request names two hosts. Send one `Host` header."

DEFAULT_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}


class Origins(Struct, frozen=True):
    """Permits requests without `Origin`, pages of the site that the request was sent to, and the sites in `allowed`; `*` means every site.

    `hosts`, if not empty, are the names of this server. A server without authentication needs them: a page of another site may
    point its own name at 127.0.0.1, and would then count as the same site. IP addresses need no entry, because no page can
    redirect one.
    """

    allowed: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()

    def refusal(self, origin: str | None, host: str | None) -> str | None:
        """Return a sentence that says why this page is refused; None if it is permitted."""
        if self.hosts and not self._is_known(host):
            return "This server is not known by that name: use its address, or add the name to its settings."
        if origin is None or "*" in self.allowed or origin in self.allowed:
            return None
        site, target = _site(origin), _authority(host, None)
        if site is not None and target is not None and site[0] == target[0]:
            default = DEFAULT_PORTS.get(site[2])
            if (site[1] or default) == (target[1] or default):
                return None
        return "Pages of that site may not connect to this server: add it to cors_origins if they should."

    def _is_known(self, host: str | None) -> bool:
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


def host_name(host: str | None) -> str | None:
    """Return the name or address in a `Host` header, without its port; None if there is none."""
    authority = _authority(host, None)
    return authority[0] if authority is not None else None


def _site(origin: str) -> tuple[str, int | None, str] | None:
    scheme, separator, authority = origin.partition("://")
    if not separator:
        return None
    return _authority(authority, scheme.lower())


def _authority(text: str | None, scheme: str | None) -> tuple[str, int | None, str] | None:
    """Return the lower-case name without a final dot, and the port."""
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
