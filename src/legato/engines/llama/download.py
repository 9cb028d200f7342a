"""Download a model file from Hugging Face. An interrupted download continues where it stopped.

The library `huggingface_hub` starts again in each process (https://github.com/huggingface/huggingface_hub/pull/4228), so
that half a gigabyte on a bad connection would never complete. Little of its protocol is needed: `GET
/OWNER/REPOSITORY/resolve/main/FILE` redirects to the bytes, and the redirect has their size and SHA-256 in
`X-Linked-Size` and `X-Linked-ETag`. `HF_ENDPOINT`, `HF_TOKEN` and the proxies of the environment work as they do there.
"""

import hashlib
import os
import re
import time
from collections.abc import Callable
from email.message import Message
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import IO, Final
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urljoin, urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from msgspec import Struct
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from legato.disk import is_disk_full
from legato.errors import EngineUnavailableError

_TIMEOUT: Final = 10.0
"""Seconds of silence after which a connection is given up."""

_TRIES: Final = 5
"""Attempts in a row without a byte in between."""

_HOPS: Final = 10
"""Maximum redirects on the way to a file."""

_CHUNK: Final = 1 << 18


class _Source(Struct, frozen=True):
    url: str
    size: int | None
    etag: str


def fetch(
    repository: str,
    file: str,
    target: Path,
    *,
    stopped: Callable[[], bool] = lambda: False,
    pause: Callable[[float], None] = time.sleep,
) -> None:
    """Download the file to `target`, with a progress bar on stderr. An incomplete file is kept beside it.

    :raises EngineUnavailableError: it cannot be reached, does not exist, or differs from its announced size or hash.
    """
    failures, at_first = 0, _size_beside(target)
    with _bar() as bar:
        task = bar.add_task(target.name, total=None)
        while not stopped():
            had = _size_beside(target)
            try:
                source = _look(repository, file, stopped)
                part = _part(target, source)
                bar.update(task, total=source.size)
                _receive(source, part, lambda size: bar.update(task, completed=size), stopped)
            except HTTPError as error:
                if error.code not in (408, 429, 500, 502, 503, 504):
                    raise EngineUnavailableError(_refusal(repository, file, error.code)) from error
                reason: Exception = error
            except (OSError, HTTPException) as error:
                if is_disk_full(error):
                    raise EngineUnavailableError(
                        f"The disk of {target.parent} is full, so {target.name} could not be stored. "
                        "Make room there, and try again: the download goes on where it stopped."
                    ) from error
                reason = error
            else:
                _finish(source, part, target)
                return
            if stopped():
                break
            failures = 1 if _size_beside(target) > had else failures + 1
            # If nothing arrived at all, there is no network, and waiting would only hide that.
            if failures >= _TRIES or _size_beside(target) <= at_first:
                raise EngineUnavailableError(
                    f"The model {target.name} could not be fetched from {_endpoint()} ({_why(reason)})."
                ) from reason
            pause(float(failures))
    raise EngineUnavailableError(
        f"The download of {target.name} was stopped; it goes on from there next time."
    )


def _look(repository: str, file: str, stopped: Callable[[], bool]) -> _Source:
    url = f"{_endpoint()}/{quote(repository)}/resolve/main/{quote(file)}"
    for _ in range(_HOPS + 1):
        if stopped():
            raise ConnectionError("it was stopped")
        request = Request(url, method="HEAD", headers=_headers(url))  # noqa: S310
        with _open(request) as response:
            headers = response.headers
            place = headers.get("Location")
            if response.status in (301, 302, 303, 307, 308) and place and "X-Linked-ETag" not in headers:
                # The repository was renamed.
                url = urljoin(url, place)
                continue
        size = headers.get("X-Linked-Size") or (None if place else headers.get("Content-Length"))
        etag = (headers.get("X-Linked-ETag") or headers.get("ETag") or "").removeprefix("W/").strip('"')
        return _Source(urljoin(url, place) if place else url, int(size) if size else None, etag)
    raise EngineUnavailableError(
        f"{_endpoint()} redirects round and round for {repository}/{file}. Check HF_ENDPOINT."
    )


def _receive(
    source: _Source, part: Path, on_progress: Callable[[int], None], stopped: Callable[[], bool]
) -> None:
    with part.open("ab") as out:
        have = out.tell()
        on_progress(have)
        if source.size is not None and have >= source.size:
            return
        headers = _headers(source.url) | ({"Range": f"bytes={have}-"} if have else {})
        with _open(Request(source.url, headers=headers)) as response:  # noqa: S310
            if response.status != 206:
                out.truncate(0)
                have = 0
            while not stopped():
                # `read1` returns what has arrived, so that nothing is lost if the connection breaks.
                chunk = response.read1(_CHUNK)
                if not chunk:
                    break
                out.write(chunk)
                have += len(chunk)
                on_progress(have)
    if source.size is not None and have < source.size:
        raise ConnectionError("the connection was cut")


def _finish(source: _Source, part: Path, target: Path) -> None:
    if source.size is not None and part.stat().st_size != source.size:
        wrong = True
    elif re.fullmatch("[0-9a-f]{64}", source.etag):
        with part.open("rb") as file:
            wrong = hashlib.file_digest(file, "sha256").hexdigest() != source.etag
    else:
        wrong = False
    if wrong:
        part.unlink()
        raise EngineUnavailableError(f"What came for {target.name} is not what was announced. Try again.")
    part.replace(target)


def _part(target: Path, source: _Source) -> Path:
    """Return the path of the incomplete file. It contains the version, so that two versions are never mixed."""
    target.parent.mkdir(parents=True, exist_ok=True)
    version = re.sub(r"[^\w]", "", source.etag)[:16] or "unknown"
    return target.with_name(f"{target.name}.{version}.part")


def _size_beside(target: Path) -> int:
    return sum(part.stat().st_size for part in target.parent.glob(f"{target.name}.*.part"))


class _SameHostRedirects(HTTPRedirectHandler):
    """Do not follow redirects: they contain the information that is needed."""

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str
    ) -> None:
        return None


def _open(request: Request) -> HTTPResponse:
    opener = build_opener(_SameHostRedirects) if request.get_method() == "HEAD" else build_opener()
    try:
        response: HTTPResponse = opener.open(request, timeout=_TIMEOUT)
    except HTTPError as error:
        if 300 <= error.code < 400:
            return error  # type: ignore[return-value]  # it is also a response
        raise
    return response


def _endpoint() -> str:
    return os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")


def _headers(url: str) -> dict[str, str]:
    headers = {"User-Agent": "legato", "Accept-Encoding": "identity"}
    token = os.environ.get("HF_TOKEN")
    if token and urlsplit(url).netloc == urlsplit(_endpoint()).netloc:
        headers["Authorization"] = f"Bearer {token}"
    return headers


def _refusal(repository: str, file: str, status: int) -> str:
    if status in (401, 403):
        return f"{_endpoint()} does not give {repository}/{file} to this computer; set HF_TOKEN if it needs a token."
    if status == 404:
        return f"{_endpoint()} has no file {repository}/{file}."
    return f"{_endpoint()} answered {status} for {repository}/{file}."


def _why(error: Exception) -> str:
    reason = error.reason if isinstance(error, URLError) else error
    if isinstance(reason, OSError) and reason.strerror:
        return reason.strerror
    return str(reason) or type(reason).__name__


def _bar() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
