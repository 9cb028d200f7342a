"""The listening sockets of a server, opened before anything else."""

import errno
import socket

from legato.errors import SettingsError
from legato.gateway.settings import Settings


def listen(settings: Settings, port: int, flag: str = "--port") -> socket.socket:
    """Return a listening socket at `port` (0: a free one) of the configured host. `flag` is the option for another port.

    :raises SettingsError: the address does not belong to this machine, or the port is in use.
    """
    host = settings.server.host
    with settings.blaming("server", "host"):
        address, family = _address(host, port)
    # asyncio turns Nagle's algorithm off only for sockets that say they are TCP: with it, a body waits 40 ms behind its head.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
    except OSError as error:
        listening.close()
        if error.errno == errno.EADDRNOTAVAIL:
            with settings.blaming("server", "host"):
                raise SettingsError(f"{host} is no address of this machine. Choose another host.") from None
        raise SettingsError(
            f"Port {port} of {host} cannot be used ({error.strerror}). Stop what uses it, or choose another with {flag}."
        ) from None
    listening.setblocking(False)
    return listening


def _address(host: str, port: int) -> tuple[tuple[object, ...], socket.AddressFamily]:
    try:
        found = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or "it is no name"
        raise SettingsError(
            f"There is no address called {host!r} here ({why}). Choose another host."
        ) from None
    return found[0][4], found[0][0]
