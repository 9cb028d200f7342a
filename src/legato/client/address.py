"""The address of a server, in all the forms in which users write it."""

from urllib.parse import SplitResult, urlsplit, urlunsplit

from legato.errors import InvalidError

SCHEMES = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}


def parts_of(server: str) -> SplitResult | None:
    """Return the parts of an address, with the scheme of a socket; None if it is not an address."""
    text = server.strip()
    if "://" not in text:
        text = f"http://{text}"
    try:
        parts = urlsplit(text)
        valid = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        return None
    scheme = SCHEMES.get(parts.scheme.lower())
    return parts._replace(scheme=scheme, fragment="") if valid and scheme is not None else None


def socket_url(server: str) -> str:
    """Return the URL of the socket for `localhost:8000`, `http://host`, `wss://host/below/ws` …

    :raises InvalidError: this is not an address.
    """
    parts = parts_of(server)
    if parts is None:
        raise InvalidError(
            f"{server!r} is not the address of a server. Write one like http://127.0.0.1:8000."
        )
    path = parts.path.rstrip("/")
    return urlunsplit(parts._replace(path=path if path.endswith("/ws") else f"{path}/ws"))


def without_key(url: str) -> str:
    """Return `url` without its query and its user, which may contain keys."""
    before, separator, rest = url.partition("://")
    address = (rest if separator else before).partition("?")[0]
    host, slash, path = address.partition("/")
    return f"{before + separator if separator else ''}{host.rpartition('@')[2]}{slash}{path}"
