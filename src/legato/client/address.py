"""Where a server is, however a person writes it."""

from urllib.parse import urlsplit, urlunsplit

from legato.errors import InvalidError

SCHEMES = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}


def socket_url(server: str) -> str:
    """The address of the socket: `localhost:8000`, `http://host`, `wss://host/below/ws` … all lead to one.

    :raises InvalidError: this is no address.
    """
    text = server.strip()
    if "://" not in text:
        text = f"http://{text}"
    try:
        parts = urlsplit(text)
        valid = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        valid = False
    if not valid or parts.scheme.lower() not in SCHEMES:
        raise InvalidError(
            f"{server!r} is not the address of a server. Write one like http://127.0.0.1:8000."
        )
    path = parts.path.rstrip("/")
    if not path.endswith("/ws"):
        path += "/ws"
    return urlunsplit((SCHEMES[parts.scheme.lower()], parts.netloc, path, parts.query, ""))
