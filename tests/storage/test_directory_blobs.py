"""Blobs are stored complete or not at all, and any range of them can be read."""

import hashlib
import os
from pathlib import Path

import pytest

from legato.errors import StorageError
from legato.storage.blobs import OldBlob
from legato.storage.directory_blobs import CHUNK_BYTES, DirectoryBlobStore

DATA = bytes(range(256)) * 1024
DIGEST = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def blobs(tmp_path: Path) -> DirectoryBlobStore:
    return DirectoryBlobStore(tmp_path / "blobs")


async def kept(blobs: DirectoryBlobStore, data: bytes = DATA) -> str:
    pending = await blobs.begin()
    try:
        await pending.write(data[:1000])
        await pending.write(data[1000:])
        await pending.keep()
        return pending.digest
    finally:
        pending.discard()


async def read(blobs: DirectoryBlobStore, digest: str, start: int = 0, end: int | None = None) -> bytes:
    return b"".join([chunk async for chunk in blobs.open(digest, start, end)])


async def test_a_blob_is_stored_under_its_digest(blobs: DirectoryBlobStore) -> None:
    assert await kept(blobs) == DIGEST
    assert await blobs.read(DIGEST) == DATA
    assert (await blobs.info(DIGEST)).size == len(DATA)
    assert [path.name for path in blobs.directory.rglob("*") if path.is_file()] == [DIGEST]


async def test_a_pending_blob_knows_what_was_written(blobs: DirectoryBlobStore) -> None:
    pending = await blobs.begin()
    await pending.write(DATA)
    assert (pending.size, pending.digest) == (len(DATA), DIGEST)
    pending.content.seek(0)
    assert pending.content.read(16) == DATA[:16]
    pending.discard()
    assert [path for path in blobs.directory.rglob("*") if path.is_file()] == []
    with pytest.raises(StorageError):
        await blobs.info(DIGEST)


@pytest.mark.parametrize(
    ("start", "end"),
    [
        (0, None),
        (0, 1),
        (5, 5),
        (CHUNK_BYTES - 1, CHUNK_BYTES + 1),
        (1000, len(DATA)),
        (len(DATA) - 1, None),
        (len(DATA), None),
    ],
)
async def test_any_range_can_be_read(blobs: DirectoryBlobStore, start: int, end: int | None) -> None:
    await kept(blobs)
    assert await read(blobs, DIGEST, start, end) == DATA[start:end]


async def test_a_range_that_is_not_there_is_an_error(blobs: DirectoryBlobStore) -> None:
    await kept(blobs)
    with pytest.raises(StorageError, match="shorter"):
        await read(blobs, DIGEST, 0, len(DATA) + 1)
    with pytest.raises(StorageError):
        await read(blobs, "0" * 64)


async def test_bytes_that_changed_are_not_returned(blobs: DirectoryBlobStore) -> None:
    await kept(blobs)
    blobs.path(DIGEST).write_bytes(b"other")
    with pytest.raises(StorageError, match="not what it was"):
        await blobs.read(DIGEST)


async def test_old_blobs_are_listed_and_removed(blobs: DirectoryBlobStore) -> None:
    assert await blobs.old(100) == []
    await kept(blobs)
    pending = await blobs.begin()
    for path in blobs.directory.rglob("*"):
        if path.is_file():
            os.utime(path, (1, 1))
    old = await blobs.old(100)
    assert {blob.digest for blob in old} == {DIGEST, None}
    await kept(blobs)
    for blob in [*old, OldBlob("incoming/gone", None)]:
        await blobs.remove(blob, 100)
    assert await blobs.read(DIGEST) == DATA
    assert [path.name for path in blobs.directory.rglob("*") if path.is_file()] == [DIGEST]
    pending.discard()
