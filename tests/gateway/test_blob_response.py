"""Any part of a blob can be had, in the same way as Starlette serves a file."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.responses import FileResponse
from starlette.types import ASGIApp

from legato.errors import InvalidError
from legato.gateway import blob_response
from legato.gateway.blob_response import MAX_RANGES, BlobResponse, parse_ranges
from legato.storage.blobs import BlobInfo

DATA = bytes(range(200))


async def content(start: int, end: int) -> AsyncIterator[bytes]:
    for offset in range(start, end, 7):
        yield DATA[offset : min(offset + 7, end)]


async def fetched(app: ASGIApp, **headers: str) -> tuple[int, dict[bytes, bytes], bytes]:
    scope: dict[str, Any] = {
        "type": "http",
        "method": "GET",
        "path": "/",
        "asgi": {"spec_version": "2.4"},
        "headers": [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()],
    }
    messages: list[Any] = []

    async def receive() -> Any:
        raise AssertionError("nothing is read from the client")

    async def send(message: Any) -> None:
        messages.append(message)

    await app(scope, receive, send)
    start, *bodies = messages
    assert [body.get("more_body", False) for body in bodies] == [True] * (len(bodies) - 1) + [False]
    return start["status"], dict(start["headers"]), b"".join(body["body"] for body in bodies)


@pytest.mark.parametrize(
    "header",
    [
        None,
        "bytes=0-0",
        "bytes=10-19",
        "bytes=190-",
        "bytes=-10",
        "bytes=-1000",
        "bytes=10-1000",
        "BYTES = 1-2",
        "bytes=5-9,20-29",
        "bytes=20-29, 0-4 ,3-10",
        "bytes=x-2,3-4",
        "bytes=200-",
        "bytes=0-1,500-600",
        "bytes=9-5",
        "bytes=",
        "bytes",
        "items=0-1",
        "bytes=-0",
        "bytes=--5",
        "bytes=" + ",".join(f"{i}-{i}" for i in range(0, 200, 2)),
        "bytes=" + ",".join(f"{i}-{i}" for i in range(MAX_RANGES + 1)),
    ],
)
@pytest.mark.parametrize("name", ["whale.png", "Wal fisch ü.png"])
async def test_a_blob_is_served_like_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, header: str | None, name: str
) -> None:
    for module in ("starlette.responses", "legato.gateway.blob_response"):
        monkeypatch.setattr(f"{module}.token_hex", lambda size: "b" * size * 2)
    path = tmp_path / "blob"
    path.write_bytes(DATA)
    status = path.stat()
    file = FileResponse(
        path,
        media_type="image/png",
        filename=name,
        content_disposition_type="inline",
        headers={"x-own": "1"},
        stat_result=status,
    )
    blob = BlobResponse(
        content,
        BlobInfo(status.st_size, status.st_mtime),
        media_type="image/png",
        filename=name,
        headers={"x-own": "1"},
    )
    asked = {} if header is None else {"range": header}
    assert await fetched(blob, **asked) == await fetched(file, **asked)


async def test_a_part_of_another_blob_is_not_continued() -> None:
    blob = BlobResponse(content, BlobInfo(200, 1.5), media_type="image/png", filename="a", headers={})
    status, headers, body = await fetched(blob, range="bytes=10-19")
    assert (status, body) == (206, DATA[10:20])
    tag, date = headers[b"etag"].decode(), headers[b"last-modified"].decode()
    for same in (tag, date):
        assert (await fetched(blob, range="bytes=10-19", if_range=same))[0] == 206
    for other in ('"other"', f"W/{tag}", "Thu, 01 Jan 1970 00:00:00 GMT"):
        assert (await fetched(blob, range="bytes=10-19", if_range=other))[::2] == (200, DATA)


def test_ranges_that_touch_are_one() -> None:
    assert parse_ranges("bytes=0-4,5-9,20-29", 100) == [(0, 10), (20, 30)]
    with pytest.raises(InvalidError):
        parse_ranges("bytes=a-b", 100)
    assert blob_response.parse_ranges("bytes=100-", 100) is None
