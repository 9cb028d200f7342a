"""The bytes of attachments: a directory of files, each named by the SHA-256 of what is in it.

A file is written under a name of its own, brought to the disk, and only then given its digest as a name: what has a
digest for a name is whole. Calls here block, and belong off the event loop.
"""

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, BinaryIO, Self

from legato.errors import StorageError

_INCOMING = "incoming"


class PendingBlob:
    """A file that is being written. `keep` or `discard` ends it."""

    def __init__(self, directory: Path, file: IO[bytes], path: Path) -> None:
        self._directory = directory
        self._file = file
        self._path = path
        self._hash = hashlib.sha256()
        self._kept = False
        self.size = 0

    @classmethod
    def begin(cls, directory: Path) -> Self:
        """:raises StorageError: there is no place for it."""
        folder = directory / _INCOMING
        try:
            directory.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            directory.mkdir(mode=0o700, exist_ok=True)
            folder.mkdir(mode=0o700, exist_ok=True)
            number, path = tempfile.mkstemp(dir=folder)  # for its owner alone
        except OSError as error:
            raise _failed(error) from error
        return cls(directory, os.fdopen(number, "w+b"), Path(path))

    @property
    def content(self) -> BinaryIO:
        """What was written so far, to look at."""
        self._file.flush()
        return self._file  # type: ignore[return-value]

    @property
    def digest(self) -> str:
        return self._hash.hexdigest()

    def write(self, data: bytes) -> None:
        """:raises StorageError: the disk is full, or fails."""
        try:
            self._file.write(data)
        except OSError as error:
            raise _failed(error) from error
        self._hash.update(data)
        self.size += len(data)

    def keep(self) -> None:
        """Give it its name. It survives a power cut from here on.

        :raises StorageError: the disk is full, or fails.
        """
        place = _place(self._directory, self.digest)
        try:
            if place.exists() and place.stat().st_size == self.size:
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
        """Take it away, unless it was kept."""
        with suppress(OSError):
            self._file.close()
        if not self._kept:
            self._path.unlink(missing_ok=True)


class BlobStore:
    """The files in `directory`, which is made when the first of them comes."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def begin(self) -> PendingBlob:
        """:raises StorageError: there is no place for it."""
        return PendingBlob.begin(self.directory)

    def path(self, digest: str) -> Path:
        """Where the bytes of this digest stand, if they do."""
        return _place(self.directory, digest)

    def read(self, digest: str) -> bytes:
        """:raises StorageError: they are not there, or are not what they were."""
        try:
            data = self.path(digest).read_bytes()
        except OSError as error:
            raise _failed(error) from error
        if hashlib.sha256(data).hexdigest() != digest:
            raise StorageError("A file beside the database is not what it was. Bring it back from a backup.")
        return data

    def old(self, before: float) -> Iterator[tuple[str | None, Path]]:
        """Files last written before that time (seconds since 1970) with their digests; None for those never kept."""
        for folder in self._folders():
            for entry in folder.iterdir():
                with suppress(FileNotFoundError):
                    if entry.stat().st_mtime < before:
                        yield (None if folder.name == _INCOMING else entry.name), entry

    @staticmethod
    def remove(path: Path, before: float) -> None:
        """Take a file away, unless it was written again meanwhile."""
        with suppress(FileNotFoundError):
            if path.stat().st_mtime < before:
                path.unlink()

    def _folders(self) -> list[Path]:
        if not self.directory.is_dir():
            return []
        return [each for each in self.directory.iterdir() if each.is_dir()]


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


def _failed(error: OSError) -> StorageError:
    why = error.strerror or str(error)
    return StorageError(f"A file beside the database cannot be read or written ({why}). Check the disk.")
