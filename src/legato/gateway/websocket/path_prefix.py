"""The path below which a proxy publishes this server, such as `/chat`."""

import re
from collections.abc import Sequence

from msgspec import Struct
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

MAX_PREFIX_CHARS = 200

SEGMENTS = re.compile(r"(?:/[A-Za-z0-9._~-]+)+")

OWN_SEGMENTS = frozenset(
    ("api", "assets", "c", "docs", "health", "metrics", "openapi.json", "ready", "v1", "ws")
)
"""The first segments of paths of the server itself. A prefix that begins with one of them could not be told from such a path."""

HEADER = "x-forwarded-prefix"


def checked_prefix(text: str) -> str | None:
    """Return a prefix without its final slash (`""` for `/`), or None if it is no prefix.

    A prefix consists of segments of letters, digits and `._~-`. It is written into pages and redirects, so it has nothing
    that could point to another site or leave the path.
    """
    prefix = text.rstrip("/")
    if not prefix:
        return "" if text in ("", "/") else None
    if len(prefix) > MAX_PREFIX_CHARS or SEGMENTS.fullmatch(prefix) is None:
        return None
    return None if {".", ".."} & set(prefix.split("/")) else prefix


class PathPrefix(Struct, frozen=True):
    """Splits paths into the prefix and the path of the server. `root_path` is the configured prefix.

    It accepts paths with the prefix and paths from which the proxy has removed it.
    """

    root_path: str = ""

    def split(self, path: str, forwarded: Sequence[str] = ()) -> tuple[str, str]:
        """Return the prefix that the browser sees, and the path below it.

        `forwarded` are the values of `X-Forwarded-Prefix` from a trusted proxy. Several proxies each add theirs, the outermost
        first. If one value is invalid, all are ignored.
        """
        prefix = self._forwarded(forwarded) if forwarded else None
        for candidate in (prefix, self.root_path):
            if not candidate or candidate.split("/")[1] in OWN_SEGMENTS:
                continue
            if path == candidate:
                path = "/"
                break
            if path.startswith(f"{candidate}/"):
                path = path[len(candidate) :]
                break
        return self.root_path if prefix is None else prefix, path

    @staticmethod
    def _forwarded(values: Sequence[str]) -> str | None:
        found = [checked_prefix(each.strip(" \t")) for value in values for each in value.split(",")]
        if None in found:
            return None
        return checked_prefix("".join(each for each in found if each))


class TrustedProxies:
    """Tells whether the other end of a connection is a proxy whose headers are believed. `addresses` is Uvicorn's
    `forwarded_allow_ips`.
    """

    __slots__ = ("_trusted",)

    def __init__(self, addresses: list[str] | str) -> None:
        self._trusted = ProxyHeadersMiddleware(_not_called, addresses).trusted_hosts

    def __contains__(self, client: str | None) -> bool:
        return client in self._trusted


async def _not_called(*_: object) -> None:
    raise NotImplementedError
