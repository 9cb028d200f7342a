"""Blobs in a directory of files, each named by its digest.

A file is written under a temporary name, synced to the disk, and only then renamed to its digest: a file with a digest as
its name is complete.
"""

import asyncio
import hashlib
import os
import tempfile
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import IO, BinaryIO, Self

from legato.disk import is_disk_full
from legato.errors import DiskFullError, StorageError
from legato.storage.blobs import BlobInfo, OldBlob

try:
    import fcntl
except ImportError:  # pragma: no cover - a system without advisory locks
    fcntl = None  # type: ignore[assignment]

_INCOMING = "incoming"

CHUNK_BYTES = 64 * 1024
"""What `open` reads at a time."""


class PendingFile:
    """A `PendingBlob` in a temporary file of the directory, readable by its owner alone."""

    def __init__(self, directory: Path, file: IO[bytes], path: Path) -> None:
        self._directory = directory
        self._file = file
        self._path = path
        self._hash = hashlib.sha256()
        self._kept = False
        self._size = 0

    @classmethod
    def create(cls, directory: Path) -> Self:
        """:raises StorageError: the file cannot be created."""
        folder = directory / _INCOMING
        try:
            directory.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            directory.mkdir(mode=0o700, exist_ok=True)
            folder.mkdir(mode=0o700, exist_ok=True)
            number, path = tempfile.mkstemp(dir=folder)
        except OSError as error:
            raise _failed(error) from error
        _lock(number)
        return cls(directory, os.fdopen(number, "w+b"), Path(path))

    @property
    def size(self) -> int:
        return self._size

    @property
    def digest(self) -> str:
        return self._hash.hexdigest()

    @property
    def content(self) -> BinaryIO:
        try:
            self._file.flush()
        except OSError as error:
            raise _failed(error) from error
        return self._file  # type: ignore[return-value]

    async def write(self, data: bytes) -> None:
        await asyncio.to_thread(self._write, data)

    def _write(self, data: bytes) -> None:
        try:
            self._file.write(data)
        except OSError as error:
            raise _failed(error) from error
        self._hash.update(data)
        self._size += len(data)

    async def keep(self) -> None:
        await asyncio.to_thread(self._keep)

    def _keep(self) -> None:
        place = _place(self._directory, self.digest)
        try:
            if place.exists() and place.stat().st_size == self._size:
                os.utime(place)
                return
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            place.parent.mkdir(mode=0o700, exist_ok=True)
            self._path.replace(place)
            for folder in (place.parent, self._directory):
                _sync(folder)
            self._kept = True
        except OSError as error:
            raise _failed(error) from error

    def discard(self) -> None:
        with suppress(OSError):
            self._file.close()
        if not self._kept:
            self._path.unlink(missing_ok=True)


class DirectoryBlobStore:
    """The files in `directory`, which is created with the first of them. All work runs in threads."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def path(self, digest: str) -> Path:
        """Return the path of a blob, whether it exists or not."""
        return _place(self.directory, digest)

    async def begin(self) -> PendingFile:
        return await asyncio.to_thread(PendingFile.create, self.directory)

    async def info(self, digest: str) -> BlobInfo:
        try:
            status = await asyncio.to_thread(self.path(digest).stat)
        except OSError as error:
            raise StorageError("The file of this attachment is gone. Bring it back from a backup.") from error
        return BlobInfo(status.st_size, status.st_mtime)

    async def read(self, digest: str) -> bytes:
        return await asyncio.to_thread(self._read, digest)

    def _read(self, digest: str) -> bytes:
        try:
            data = self.path(digest).read_bytes()
        except OSError as error:
            raise _failed(error) from error
        if hashlib.sha256(data).hexdigest() != digest:
            raise StorageError("A file beside the database is not what it was. Bring it back from a backup.")
        return data

    async def open(self, digest: str, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        file = await asyncio.to_thread(_opened, self.path(digest), start)
        try:
            while end is None or start < end:
                most = CHUNK_BYTES if end is None else min(CHUNK_BYTES, end - start)
                chunk = await asyncio.to_thread(file.read, most)
                if not chunk:
                    if end is None:
                        return
                    raise StorageError("A file beside the database is shorter than it was. Check the disk.")
                start += len(chunk)
                yield chunk
        finally:
            file.close()

    async def delete(self, digest: str) -> None:
        await asyncio.to_thread(self._delete, digest)

    def _delete(self, digest: str) -> None:
        try:
            self.path(digest).unlink(missing_ok=True)
        except OSError as error:
            raise _failed(error) from error

    async def remove_abandoned(self) -> None:
        await asyncio.to_thread(self._remove_abandoned)

    def _remove_abandoned(self) -> None:
        folder = self.directory / _INCOMING
        for path in folder.iterdir() if folder.is_dir() else ():
            with suppress(FileNotFoundError):
                if _is_abandoned(path):
                    path.unlink()

    async def old(self, before: float) -> list[OldBlob]:
        return await asyncio.to_thread(self._old, before)

    def _old(self, before: float) -> list[OldBlob]:
        found = []
        for folder in self._folders():
            for entry in folder.iterdir():
                with suppress(FileNotFoundError):
                    if entry.stat().st_mtime < before:
                        digest = None if folder.name == _INCOMING else entry.name
                        found.append(OldBlob(f"{folder.name}/{entry.name}", digest))
        return found

    async def remove(self, blob: OldBlob, before: float) -> None:
        await asyncio.to_thread(self._remove, self.directory / blob.key, before)

    @staticmethod
    def _remove(path: Path, before: float) -> None:
        with suppress(FileNotFoundError):
            if path.stat().st_mtime < before:
                path.unlink()

    def _folders(self) -> list[Path]:
        if not self.directory.is_dir():
            return []
        return [each for each in self.directory.iterdir() if each.is_dir()]


def _opened(path: Path, start: int) -> BinaryIO:
    try:
        file = path.open("rb")
    except OSError as error:
        raise _failed(error) from error
    file.seek(start)
    return file


def _place(directory: Path, digest: str) -> Path:
    if len(digest) != 64 or not digest.isalnum():
        raise ValueError("that is no digest")
    return directory / digest[:2] / digest


def _sync(folder: Path) -> None:
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def _lock(number: int) -> None:
    """Mark a file as being written. The system takes the mark away when the file is closed or the process ends."""
    if fcntl is not None:
        with suppress(OSError):
            fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _is_abandoned(path: Path) -> bool:
    """Return whether no process writes this file; False if the file system has no locks."""
    if fcntl is None:  # pragma: no cover
        return False
    number = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(number)
    return True


def _failed(error: OSError) -> StorageError:
    if is_disk_full(error):
        return DiskFullError("The disk of the attachments is full. Make room there, and try again.")
    why = error.strerror or str(error)
    return StorageError(f"A file beside the database cannot be read or written ({why}). Check the disk.")
