"""The contract of blobs: the bytes of attachments, each stored once under the SHA-256 of its content.

The database knows which blobs are needed; a store knows only bytes. Every call may raise StorageError if the store fails.
"""

from collections.abc import AsyncIterator
from typing import BinaryIO, Protocol

from msgspec import Struct


class BlobInfo(Struct, frozen=True):
    """The size of a blob in bytes, and when it was last kept, in seconds since the epoch."""

    size: int
    modified: float


class OldBlob(Struct, frozen=True):
    """A blob that was not kept again lately. `digest` is None if it was begun and never kept. `key` names it in its store."""

    key: str
    digest: str | None


class PendingBlob(Protocol):
    """A blob that is being written. `keep` or `discard` ends it; until then its bytes are on this machine."""

    @property
    def size(self) -> int:
        """Bytes written so far."""
        ...

    @property
    def digest(self) -> str:
        """The SHA-256 of what was written so far, in hex."""
        ...

    @property
    def content(self) -> BinaryIO:
        """What was written so far, to be read in a thread. It can be searched."""
        ...

    async def write(self, data: bytes) -> None: ...

    async def keep(self) -> None:
        """Store the blob under its digest. When this returns, it is complete and survives a power cut.

        Keeping the same bytes twice is harmless, and makes them new again for `old`.
        """
        ...

    def discard(self) -> None:
        """Delete the blob unless it was kept."""
        ...


class BlobStore(Protocol):
    """Stored blobs."""

    async def begin(self) -> PendingBlob: ...

    async def info(self, digest: str) -> BlobInfo:
        """:raises StorageError: there is no such blob."""
        ...

    async def read(self, digest: str) -> bytes:
        """Return all bytes of a blob.

        :raises StorageError: there is no such blob, or its bytes do not match the digest.
        """
        ...

    def open(self, digest: str, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """Return the bytes from `start` up to, but without, `end` (None: to the end), in chunks.

        :raises StorageError: there is no such blob, or it ends before `end`.
        """
        ...

    async def old(self, before: float) -> list[OldBlob]:
        """Return the blobs that were last kept or begun before this time, in seconds since the epoch."""
        ...

    async def remove(self, blob: OldBlob, before: float) -> None:
        """Delete a blob unless it was kept again since `before`. Harmless if it is gone."""
        ...

    async def delete(self, digest: str) -> None:
        """Delete a blob. Harmless if it is gone."""
        ...

    async def remove_abandoned(self) -> None:
        """Delete what a process began and neither kept nor discarded before it ended. What other processes write stays."""
        ...
