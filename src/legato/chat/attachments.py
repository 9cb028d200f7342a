"""Attachments: receive files, check them by their content, store each content once, and give them to users who may read them."""

import asyncio
import base64
import logging
import time
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime, timedelta
from itertools import islice
from weakref import WeakValueDictionary

from msgspec import Struct

from legato.chat.media import check_text, find_kind, looks_familiar, looks_like_text
from legato.chat.media.pictures import upright
from legato.chat.media.sniff import HEAD, NOT_TEXT, TEXT, TEXT_BYTES, TEXT_TOO_LARGE, UNKNOWN
from legato.domain.attachment import Attachment
from legato.domain.message import AudioPart, FilePart, ImagePart, Part
from legato.domain.user import User
from legato.domain.validation import check_id, one_line
from legato.errors import BusyError, InvalidError, LegatoError, NotFoundError, TooLargeError, UnsupportedError
from legato.storage.base import AttachmentStore
from legato.storage.blobs import BlobInfo, BlobStore, PendingBlob

logger = logging.getLogger(__name__)

NO_ATTACHMENT = "There is no such attachment. Upload it again."

NAME_LENGTH = 200

UNUSED = timedelta(hours=24)
"""How long an upload is kept without a message that uses it."""

SWEEP_SECONDS = 3600.0
"""Seconds between two sweeps."""

SOON_SECONDS = 2.0
"""Seconds until a sweep after a deletion."""

SETTLED_SECONDS = 2.0
"""Age in seconds below which a sweep leaves a file alone: the clock of the disk may differ a little from that of the server."""

_BLOCK = 256 * 1024
_BATCH = 500


class AttachmentLimits(Struct, frozen=True):
    """`file_bytes` bounds one file, `person_bytes` all files of a user; `at_once` uploads of one user run at a time."""

    file_bytes: int = 20 * 1024 * 1024
    person_bytes: int = 1024 * 1024 * 1024
    at_once: int = 10


class Attachments:
    """The attachments of a server. `now` is the time of day, `new_id` makes ids that cannot be guessed."""

    def __init__(
        self,
        storage: AttachmentStore,
        blobs: BlobStore,
        rules: AttachmentLimits | None = None,
        *,
        now: Callable[[], datetime],
        new_id: Callable[[], str],
    ) -> None:
        self.rules = rules or AttachmentLimits()
        self._storage = storage
        self._blobs = blobs
        self._now = now
        self._new_id = new_id
        self._uploads: dict[str, int] = {}
        # By digest: a blob that is kept again must not be removed as old at the same moment.
        self._placing: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        # By the user: what a user has is counted before more is added to it.
        self._adding: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        # One picture at a time: each may take hundreds of MiB while it is decoded.
        self._decoder = ThreadPoolExecutor(1, "pictures")
        self._sweeper: asyncio.Task[None] | None = None
        self._swept = asyncio.Event()

    def start(self) -> None:
        """Start the task that sweeps."""
        self._sweeper = asyncio.create_task(self._sweep_for_ever(), name="attachments")

    async def close(self) -> None:
        if self._sweeper is not None:
            self._sweeper.cancel()
            await asyncio.gather(self._sweeper, return_exceptions=True)
        self._decoder.shutdown(wait=False, cancel_futures=True)

    async def upload(
        self, user: User, chunks: AsyncIterable[bytes], name: str | None = None, *, text: bool = False
    ) -> Attachment:
        """Receive a file chunk by chunk. At most one block of it is in memory. A file that is not allowed is refused as soon as
        that is known. If `text`, it must be a text file; otherwise it must be a picture or a recording.

        :raises UnsupportedError: its kind is not allowed. :raises InvalidError: it is broken.
        :raises TooLargeError: the file, or all files of the user, are too large. :raises BusyError: too many uploads at once.
        """
        name = clean_name(name)
        with self._one_more(user):
            incoming = await self._blobs.begin()
            try:
                await self._receive(incoming, chunks, text)
                stored, _ = await self._keep(user, incoming, name, text)
                return stored
            finally:
                incoming.discard()

    async def get(self, user: User, attachment: str) -> Attachment:
        """Return an attachment.

        :raises NotFoundError: there is none with this id that the user may read.
        """
        found = await self._storage.attachment(check_id(attachment, "The attachment's id"), user.id)
        if found is None:
            raise NotFoundError(NO_ATTACHMENT)
        return found

    async def info(self, attachment: Attachment) -> BlobInfo:
        """:raises StorageError: its bytes are gone."""
        return await self._blobs.info(attachment.digest)

    def open(self, attachment: Attachment, start: int, end: int) -> AsyncIterator[bytes]:
        """Return its bytes from `start` up to, but without, `end`, in chunks.

        :raises StorageError: its bytes are gone, or are fewer.
        """
        return self._blobs.open(attachment.digest, start, end)

    @asynccontextmanager
    async def enclosed(self, user: User, parts: tuple[Part, ...]) -> AsyncIterator[tuple[Part, ...]]:
        """Yield the parts of a message as they are stored: each picture and recording by the id of its attachment.

        If the block raises a LegatoError, the message was refused: what was stored for it alone is removed again.

        :raises NotFoundError: an id is of none that the user may read.
        :raises InvalidError: the content of a part is not what the part says, or is not allowed.
        """
        added: list[Attachment] = []
        try:
            yield tuple([await self._enclosed(user, part, added) for part in parts])
        except LegatoError:
            for attachment in added:
                async with self._placing.setdefault(attachment.digest, asyncio.Lock()):
                    await self._withdraw(attachment)
            raise

    async def find(self, ids: Iterable[str]) -> dict[str, Attachment]:
        """Return the attachments with these ids that exist, whoever may read them."""
        wanted = list(dict.fromkeys(ids))
        found = await self._storage.attachments(wanted) if wanted else []
        return {each.id: each for each in found}

    async def read(self, attachment: Attachment) -> bytes:
        """Return the bytes of an attachment.

        :raises StorageError: its bytes are gone, or have changed.
        """
        return await self._blobs.read(attachment.digest)

    async def read_upright(self, attachment: Attachment) -> bytes:
        """Return the bytes to show to a model: a picture is turned as its EXIF orientation says.

        :raises StorageError: its bytes are gone, or are not what they were.
        """
        data = await self.read(attachment)
        if not attachment.media_type.startswith("image/"):
            return data
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._decoder, upright, data, attachment.media_type)

    def sweep_soon(self) -> None:
        """Sweep soon: something was deleted."""
        self._swept.set()

    async def sweep(self) -> None:
        """Remove uploads that no message uses, and files that no attachment needs."""
        await self._storage.drop_attachments(self._now() - UNUSED)
        before = time.time() - SETTLED_SECONDS
        rest = iter(await self._blobs.old(before))
        while batch := list(islice(rest, _BATCH)):
            known = await self._storage.known_digests([blob.digest for blob in batch if blob.digest])
            for blob in [blob for blob in batch if blob.digest not in known]:
                async with self._placing.setdefault(blob.digest or blob.key, asyncio.Lock()):
                    await self._blobs.remove(blob, before)

    async def _sweep_for_ever(self) -> None:
        try:
            await self._blobs.remove_abandoned()
        except (LegatoError, OSError) as error:
            logger.warning("Uploads that a killed server left could not be removed: %s", error)
        while True:
            try:
                await self.sweep()
            except LegatoError as error:
                logger.warning("Attachments could not be swept: %s", error.message)
            except Exception:
                logger.exception("Attachments could not be swept")
            self._swept.clear()
            try:
                async with asyncio.timeout(SWEEP_SECONDS):
                    await self._swept.wait()
            except TimeoutError:
                continue
            await asyncio.sleep(SOON_SECONDS)

    @contextmanager
    def _one_more(self, user: User) -> Iterator[None]:
        running = self._uploads.get(user.id, 0)
        if running >= self.rules.at_once:
            raise BusyError("You are uploading too many files at once. Wait until one of them is done.")
        self._uploads[user.id] = running + 1
        try:
            yield
        finally:
            self._uploads[user.id] -= 1
            if not self._uploads[user.id]:
                del self._uploads[user.id]

    async def _receive(self, incoming: PendingBlob, chunks: AsyncIterable[bytes], text: bool) -> None:
        pending = bytearray()
        known = False
        async for chunk in chunks:
            pending += chunk
            if incoming.size + len(pending) > self.rules.file_bytes:
                raise self._too_large()
            if text and incoming.size + len(pending) > TEXT_BYTES:
                raise TooLargeError(TEXT_TOO_LARGE)
            if not known and len(pending) >= HEAD:
                known = (looks_like_text if text else looks_familiar)(bytes(pending[:HEAD]))
                if not known:
                    raise UnsupportedError(NOT_TEXT if text else UNKNOWN)
            if len(pending) >= _BLOCK:
                await incoming.write(bytes(pending))
                pending.clear()
        await incoming.write(bytes(pending))
        if not incoming.size:
            raise InvalidError("There is nothing in this file. Send the file itself as the body.")

    async def _keep(
        self, user: User, incoming: PendingBlob, name: str | None, text: bool = False
    ) -> tuple[Attachment, bool]:
        """Return the attachment, and whether it is a new one."""
        loop = asyncio.get_running_loop()
        kind = await loop.run_in_executor(self._decoder, check_text if text else find_kind, incoming.content)
        attachment = Attachment(
            self._new_id(), user.id, kind.media_type, incoming.size, incoming.digest, self._now(), name
        )
        async with self._placing.setdefault(incoming.digest, asyncio.Lock()):
            # The row comes first: a file without a row counts for nobody.
            async with self._adding.setdefault(user.id, asyncio.Lock()):
                stored = await self._storage.add_attachment(attachment, self.rules.person_bytes)
            try:
                await incoming.keep()
            except LegatoError:
                if stored.id == attachment.id:
                    await self._withdraw(stored)
                raise
        return stored, stored.id == attachment.id

    async def _withdraw(self, attachment: Attachment) -> None:
        """Remove an attachment that was added for nothing, and its bytes if nothing else needs them. If that fails, a sweep does it later."""
        try:
            if not await self._storage.withdraw_attachment(attachment):
                return
            if not await self._storage.known_digests([attachment.digest]):
                await self._blobs.delete(attachment.digest)
        except LegatoError as error:
            logger.warning("Attachment %s could not be removed yet: %s", attachment.id, error.message)

    async def _enclosed(self, user: User, part: Part, added: list[Attachment]) -> Part:
        if isinstance(part, FilePart):
            file = await self.get(user, part.attachment)
            if file.media_type != TEXT.media_type:
                raise InvalidError("This is not a text file. Send it as the picture or recording that it is.")
            return FilePart(file.id, file.name or "", file.size)
        if not isinstance(part, ImagePart | AudioPart):
            return part
        if part.data:
            attachment = await self._inline(user, part.data, added)
        else:
            attachment = await self.get(user, part.attachment or "")
        if attachment.media_type == TEXT.media_type:
            raise InvalidError("This is a text file. Send it as a file.")
        if attachment.media_type.startswith("image/") != isinstance(part, ImagePart):
            is_, said = ("picture", "recording") if isinstance(part, AudioPart) else ("recording", "picture")
            raise InvalidError(f"This is a {is_}, not a {said}. Send it as what it is.")
        return type(part)(attachment=attachment.id)

    async def _inline(self, user: User, url: str, added: list[Attachment]) -> Attachment:
        """Store the content of a data URL, and append its attachment to `added` if it is a new one."""
        data = base64.b64decode(url.partition(",")[2])
        if len(data) > self.rules.file_bytes:
            raise self._too_large()
        incoming = await self._blobs.begin()
        try:
            await incoming.write(data)
            stored, new = await self._keep(user, incoming, None)
        finally:
            incoming.discard()
        if new:
            added.append(stored)
        return stored

    def _too_large(self) -> TooLargeError:
        most = self.rules.file_bytes / (1024 * 1024)
        return TooLargeError(
            f"This file is too large: {most:.3g} MiB is the most. Make it smaller and send it again."
        )


def clean_name(name: str | None) -> str | None:
    """Return the display name of a file: the last part of its path, on one line. Nothing is ever stored under it."""
    if name is None:
        return None
    return one_line(name.replace("\\", "/").rpartition("/")[2], NAME_LENGTH) or None
