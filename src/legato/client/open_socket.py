"""Opens a socket to a server, for users and for agents, and says why that failed."""

import errno
import os
import ssl
from collections.abc import Callable, Sequence
from socket import gaierror
from urllib.parse import urlsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidHandshake, InvalidProxy, InvalidStatus, InvalidURI, ProxyError
from websockets.typing import Subprotocol

from legato import __version__
from legato.client.address import without_key
from legato.client.socket import ClientSocket
from legato.errors import InvalidError, LegatoError, UnreachableError
from legato.hosts import is_loopback
from legato.tls import client_context

MAX_FRAME_BYTES = 64 * 1024 * 1024
"""The largest frame that is accepted from a server: a job may contain images."""

HANDSHAKE_SECONDS = 10.0
"""Seconds that a handshake may take."""


async def open_socket(
    url: str,
    key: str | None,
    refusal: Callable[[str, int], LegatoError | None],
    *,
    subprotocols: Sequence[str] = (),
    pings: tuple[float, float] | None = None,
) -> ClientConnection:
    """Return a connection to `url`, with `key` in its handshake unless it is None.

    `refusal` returns the error for an HTTP status of a server, given its URL without keys; None means that the server cannot
    answer now. `pings` are the seconds between two pings and the seconds to wait for a pong; None sends no pings.

    :raises UnreachableError: the server cannot be reached now.
    :raises InvalidError: `url` is not an address.
    :raises LegatoError: the error that `refusal` returned.
    """
    shown = without_key(url)
    interval, timeout = pings or (None, None)
    try:
        return await connect(
            url,
            create_connection=ClientSocket,
            subprotocols=[Subprotocol(each) for each in subprotocols] or None,
            additional_headers={"Authorization": f"Bearer {key}"} if key else {},
            user_agent_header=f"legato/{__version__}",
            compression=None,
            proxy=None if is_loopback(urlsplit(url).hostname or "") else True,
            ssl=client_context() if url.startswith("wss:") else None,
            open_timeout=HANDSHAKE_SECONDS,
            close_timeout=1.0,
            ping_interval=interval,
            ping_timeout=timeout,
            max_size=MAX_FRAME_BYTES,
        )
    except InvalidStatus as error:
        status = error.response.status_code
        raise (
            refusal(shown, status)
            or UnreachableError(f"The server at {shown} cannot answer now (HTTP {status}).")
        ) from None
    except InvalidURI as error:
        if error.uri == url:
            raise InvalidError(f"{shown} is not the address of a server.") from None
        raise UnreachableError(
            f"The server at {shown} sends us to {without_key(error.uri)}: if that is right, give it as --server."
        ) from None
    except InvalidProxy as error:
        # The text of the error contains the proxy with its password.
        raise _bad_proxy(shown, error.msg) from None
    except (ProxyError, ImportError) as error:
        raise _bad_proxy(shown, str(error)) from None
    except InvalidHandshake as error:
        raise UnreachableError(f"What answers at {shown} is no Legato: {error}.") from None
    except TimeoutError:
        raise UnreachableError(f"Nothing answers at {shown} within {HANDSHAKE_SECONDS:g} s.") from None
    except ssl.SSLCertVerificationError as error:
        raise UnreachableError(
            f"The certificate of {shown} is not trusted ({error.verify_message}): install the authority that signed it "
            "in the system, or name its file in SSL_CERT_FILE."
        ) from None
    except (OSError, EOFError) as error:
        raise UnreachableError(f"No server answers at {shown}: {_reason(error)}.") from None


def _bad_proxy(shown: str, why: str) -> UnreachableError:
    return UnreachableError(
        f"The proxy that the environment names cannot be used for {shown} ({why}): "
        "name another one, or the server's host in NO_PROXY."
    )


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and not isinstance(error, gaierror | ssl.SSLError) and error.errno:
        return os.strerror(error.errno).lower()
    # A name with several addresses gives one error that quotes all of them.
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return (
        "connection refused"
        if text.startswith(f"Multiple exceptions: [Errno {errno.ECONNREFUSED}]")
        else text
    )
