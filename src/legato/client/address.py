"""Where a server is, however a person writes it."""

from urllib.parse import SplitResult, urlsplit, urlunsplit

from legato.errors import InvalidError

SCHEMES = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}


def parts_of(server: str) -> SplitResult | None:
    """The parts of an address, with the scheme of a socket; None where it is no address."""
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
    """The address of the socket: `localhost:8000`, `http://host`, `wss://host/below/ws` … all lead to one.

    :raises InvalidError: this is no address.
    """
    parts = parts_of(server)
    if parts is None:
        raise InvalidError(
            f"{server!r} is not the address of a server. Write one like http://127.0.0.1:8000."
        )
    path = parts.path.rstrip("/")
    return urlunsplit(parts._replace(path=path if path.endswith("/ws") else f"{path}/ws"))


def without_key(url: str) -> str:
    """`url` as it may be shown: without its query and its user, where keys stand."""
    before, separator, rest = url.partition("://")
    place = (rest if separator else before).partition("?")[0]
    host, slash, path = place.partition("/")
    return f"{before + separator if separator else ''}{host.rpartition('@')[2]}{slash}{path}"
