"""A client of one HTTP server that generates replies: its connection pool, and its failures as errors of engines."""

import asyncio
import io
import os
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.request import getproxies, proxy_bypass

import aiohttp
from yarl import URL

from legato import __version__
from legato.engines.decompress import DecompressError, Decompressor
from legato.engines.line_buffer import LARGEST
from legato.engines.message_format import inside
from legato.engines.response_head import LenientTCPConnector, LenientUnixConnector
from legato.errors import EngineBrokeError, EngineUnavailableError, SettingsError
from legato.hosts import is_loopback
from legato.tls import client_context

_ERROR_BYTES = 64 * 1024
_DRAIN_SECONDS = 0.1
_LARGE = 256 * 1024


class ConnectionBrokeError(EngineBrokeError):
    """The connection ended before the response did."""


class HttpResponse:
    """A response whose headers have arrived. Its body is read once, with `more` or `read`."""

    def __init__(self, response: aiohttp.ClientResponse, who: str) -> None:
        self._response = response
        self._who = who
        self.status = response.status
        self.headers = response.headers
        encoding = response.headers.get("Content-Encoding", "").strip()
        self._encoding = encoding if encoding.lower() not in ("", "identity") else None
        self._decompressor: Decompressor | None = None

    @property
    def ok(self) -> bool:
        """Whether the status is a success (2xx)."""
        return 200 <= self.status < 300

    async def more(self) -> bytes:
        """Wait for the next bytes of the body, and return them; empty at its end.

        :raises ConnectionBrokeError: the connection ended before the body did.
        """
        try:
            if self._encoding is None:
                return await self._response.content.readany()
            return await self._decompressed(self._encoding)
        except (aiohttp.ClientError, OSError) as error:
            raise ConnectionBrokeError(
                f"The connection to {inside(self._who)} broke in the middle of the reply. Try again."
            ) from error
        except DecompressError as error:
            raise EngineBrokeError(
                f"{self._who} sent an answer that cannot be read: it is compressed, although it was asked not to ({error})."
            ) from error

    async def _decompressed(self, encoding: str) -> bytes:
        """Decompress in a thread, a bounded piece at a time, because the size of the result is unknown."""
        if self._decompressor is None:
            self._decompressor = Decompressor(encoding)
        while True:
            if piece := await asyncio.to_thread(self._decompressor.feed, b""):
                return piece
            data = await self._response.content.readany()
            if not data:
                return b""
            if piece := await asyncio.to_thread(self._decompressor.feed, data):
                return piece

    async def read(self, limit: int = LARGEST) -> bytes:
        """Return the body, but not more than about `limit` bytes.

        :raises ConnectionBrokeError: the connection ended before the body did.
        """
        body = bytearray()
        while len(body) <= limit and (data := await self.more()):
            body += data
        return bytes(body)

    async def error_body(self) -> bytes:
        """Return the beginning of the body of an error; empty if it cannot be read."""
        try:
            return await self.read(_ERROR_BYTES)
        except ConnectionBrokeError:
            return b""

    async def drain(self) -> None:
        """Read the end of a body whose content was read completely, so that its connection can be reused."""
        try:
            async with asyncio.timeout(_DRAIN_SECONDS):
                while await self._response.content.readany():
                    pass
        except (TimeoutError, aiohttp.ClientError, OSError):
            self._response.close()


class HttpClient:
    """A client of the server at `url`, or behind `unix_socket`.

    `who` names the server in sentences, `remedy` says what to do if it cannot be reached. `ca_file` (PEM) is trusted in addition
    to the system's authorities. The proxies of the environment are used, except for this machine. `connect_timeout` is in
    seconds, from the name lookup to the end of the TLS handshake; there is no other timeout.

    :raises SettingsError: the URL is invalid, `ca_file` cannot be read, or there are two kinds of credentials.
    """

    def __init__(
        self,
        url: str,
        *,
        who: str,
        remedy: str,
        ca_file: str | Path | None = None,
        unix_socket: str | Path | None = None,
        headers: Mapping[str, str] | None = None,
        connect_timeout: float = 5.0,
    ) -> None:
        self.url = _parsed(url)
        # The path of a socket does not help a person.
        self.who = f"{who} at {str(self.url.with_user(None)).rstrip('/')}" if unix_socket is None else who
        self._remedy = remedy
        self._tls = _tls(ca_file) if ca_file is not None else None
        self._unix_socket = unix_socket
        self._proxy = None if unix_socket is not None else environment_proxy(self.url)
        self._headers = {
            "User-Agent": f"legato/{__version__}",
            # A proxy that compresses also buffers; text must arrive at once.
            "Accept-Encoding": "identity",
            **(headers or {}),
        }
        if self.url.user is not None and "authorization" in map(str.lower, self._headers):
            raise SettingsError(f"{who} has a key and a password in its URL: leave one of them out.")
        self._connect_timeout = connect_timeout
        self._session: aiohttp.ClientSession | None = None

    @asynccontextmanager
    async def request(
        self, method: str, path: str, body: bytes | None = None, kind: str = "application/json"
    ) -> AsyncIterator[HttpResponse]:
        """Send a request and yield the response, whatever its status. If its body is not read to the end, the connection is closed at
        once, which makes a model stop. `kind` is the content type of the request.

        :raises EngineUnavailableError: the server cannot be reached, or disconnected before it answered.
        """
        headers = None if body is None else {"Content-Type": kind}
        try:
            response = await self._ask(method, path, body, headers)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise self._unreachable(error) from error
        try:
            yield HttpResponse(response, self.who)
        finally:
            if not response.content.at_eof():
                response.close()
            response.release()

    async def _ask(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str] | None
    ) -> aiohttp.ClientResponse:
        """Send a request, and once more if the connection ended without a response: llama.cpp closes a connection after a stream that
        it promised to keep, and the next request fails on it.
        """
        session, url = self._open_session(), self.url.joinpath(path)
        try:
            return await session.request(
                method, url, data=_body_stream(body), headers=headers, allow_redirects=False
            )
        except aiohttp.ClientConnectorError:
            raise
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
            return await session.request(
                method, url, data=_body_stream(body), headers=headers, allow_redirects=False
            )

    async def fetch(self, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        """Return the status and the body of a short response.

        :raises EngineUnavailableError: the server cannot be reached, or disconnected.
        """
        try:
            async with self.request(method, path, body) as answer:
                return answer.status, await answer.read()
        except ConnectionBrokeError as error:
            raise EngineUnavailableError(f"{self.who} broke off its answer. {self._remedy}") from error

    async def close(self) -> None:
        """Close the connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            tls: ssl.SSLContext | bool = self._tls or True
            self._session = aiohttp.ClientSession(
                connector=LenientTCPConnector(limit=0, ssl=tls)
                if self._unix_socket is None
                else LenientUnixConnector(str(self._unix_socket), limit=0),
                timeout=aiohttp.ClientTimeout(connect=self._connect_timeout),
                headers=self._headers,
                auto_decompress=False,
                cookie_jar=aiohttp.DummyCookieJar(),
                proxy=self._proxy and self._proxy.with_user(None),
                proxy_auth=_credentials(self._proxy),
            )
        return self._session

    def unexpected_status(
        self, status: int, headers: Mapping[str, str], detail: str = ""
    ) -> EngineUnavailableError:
        """Return the error for a status that is a failure of the server, or that another program there returned."""
        suffix = f" ({detail})" if detail else ""
        if 300 <= status < 400:
            target = headers.get("Location", "another address")
            return EngineUnavailableError(f"{self.who} redirects to {target}: set that as its URL.")
        if status in (429, 503):
            return EngineUnavailableError(
                f"{self.who} has no room for another request now{suffix}. Try again in a moment.",
                retry_after=_seconds(headers),
            )
        return EngineUnavailableError(
            f"{self.who} answered with an error, {status}{suffix}. Try again in a moment; if it goes on, its log says more.",
            may_be_request=status not in (502, 504),
        )

    def _unreachable(self, error: Exception) -> EngineUnavailableError:
        match error:
            case aiohttp.ClientConnectorCertificateError():
                why = getattr(error.certificate_error, "verify_message", "") or str(error.certificate_error)
                return EngineUnavailableError(
                    f"The certificate of {self.who} is not trusted ({why}): set `ca_file` of this engine "
                    f"to the certificate of the authority that signed it."
                )
            case aiohttp.ClientConnectorSSLError():
                return EngineUnavailableError(
                    f"{self.who} does not speak TLS as expected: check whether its URL begins with http or https, "
                    f"and that `ca_file` of this engine is the authority it uses."
                )
            case TimeoutError():
                why = f"no connection within {self._connect_timeout:g} s"
            case aiohttp.ClientProxyConnectionError() | aiohttp.ClientHttpProxyError():
                why = "the proxy that the environment names does not let us through"
            case aiohttp.ClientConnectorDNSError():
                why = f"the name {self.url.host} is not known"
            case aiohttp.ClientConnectorError():
                number = error.os_error.errno
                # asyncio's own message is a call and a tuple.
                why = os.strerror(number).lower() if number else "no connection"
            case aiohttp.ClientResponseError():
                return EngineUnavailableError(
                    f"{self.who} sent an answer that is not HTTP as it should be ({_first_line(error.message)}). "
                    "Check the URL."
                )
            case _:
                why = "it closed the connection before it answered"
        return EngineUnavailableError(f"{self.who} cannot be reached ({why}). {self._remedy}")


def _body_stream(body: bytes | None) -> bytes | io.BytesIO | None:
    """Return a large body (it contains a picture) as a stream that is written in pieces, so that it does not delay other work."""
    return body if body is None or len(body) < _LARGE else io.BytesIO(body)


def _first_line(message: str) -> str:
    return message.strip().partition("\n")[0].rstrip(".:") or "its head cannot be read"


def _parsed(url: str) -> URL:
    try:
        parsed = URL(url)
        usable = parsed.scheme in ("http", "https") and bool(parsed.host)
    except ValueError:
        usable = False
    if not usable:
        raise SettingsError(
            f"{url!r} is not the URL of a server: it should look like http://127.0.0.1:11434."
        )
    return parsed


def _tls(ca_file: str | Path) -> ssl.SSLContext:
    try:
        return client_context(ca_file)
    except OSError as error:
        why = (
            error.strerror
            if isinstance(error, FileNotFoundError | PermissionError)
            else "it holds no PEM certificate"
        )
        raise SettingsError(f"`ca_file` {ca_file} cannot be used: {why}.") from error


def environment_proxy(url: URL) -> URL | None:
    """Return the proxy that `http_proxy`, `https_proxy`, `all_proxy` and `no_proxy` name for `url`; None for this machine.

    A SOCKS proxy is ignored: aiohttp does not support it.
    """
    host = url.host or ""
    if is_loopback(host) or proxy_bypass(host):
        return None
    proxies = getproxies()
    proxy = proxies.get(url.scheme) or proxies.get("all")
    if not proxy:
        return None
    found = URL(proxy if "://" in proxy else f"http://{proxy}")
    return found if found.scheme in ("http", "https") else None


def _credentials(proxy: URL | None) -> aiohttp.BasicAuth | None:
    if proxy is None or proxy.user is None:
        return None
    return aiohttp.BasicAuth(proxy.user, proxy.password or "")


def _seconds(headers: Mapping[str, str]) -> float | None:
    try:
        return max(0.0, float(headers.get("Retry-After", "")))
    except ValueError:
        return None
