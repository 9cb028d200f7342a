"""What people attach: taken in, checked by its content, kept once, and given to those who may have it."""

import asyncio
import base64
import logging
import time
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime, timedelta
from itertools import islice
from weakref import WeakValueDictionary

from msgspec import Struct

from legato.chat.media import find_kind, looks_familiar
from legato.chat.media.pictures import upright
from legato.chat.media.sniff import HEAD, UNKNOWN
from legato.domain.attachment import Attachment
from legato.domain.message import AudioPart, ImagePart, Part
from legato.domain.user import User
from legato.domain.validation import check_id, one_line
from legato.errors import BusyError, InvalidError, LegatoError, NotFoundError, TooLargeError, UnsupportedError
from legato.storage.base import AttachmentStore
from legato.storage.blobs import BlobInfo, BlobStore, PendingBlob

logger = logging.getLogger(__name__)

NO_ATTACHMENT = "There is no such attachment. Upload it again."

NAME_LENGTH = 200

UNUSED = timedelta(hours=24)
"""How long an upload waits for a message that uses it."""

SWEEP_SECONDS = 3600.0
"""How often what nobody needs any more is taken away."""

SOON_SECONDS = 2.0
"""How soon that is done where something was deleted."""

SETTLED_SECONDS = 600.0
"""Files written later than so long ago are left alone: their rows may be about to be written, by another server even."""

_BLOCK = 256 * 1024
_BATCH = 500


class AttachmentLimits(Struct, frozen=True):
    """`file_bytes` is what one file may have, `person_bytes` all of a person's; `at_once` uploads of one person run at a time."""

    file_bytes: int = 20 * 1024 * 1024
    person_bytes: int = 1024 * 1024 * 1024
    at_once: int = 10


class Attachments:
    """The attachments of a server. `now` is the time of day, `new_id` makes ids that nobody can guess."""

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
        # By the person: what they have is counted before more is added to it.
        self._adding: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        # One picture at a time: each may take hundreds of MiB while it is decoded.
        self._decoder = ThreadPoolExecutor(1, "pictures")
        self._sweeper: asyncio.Task[None] | None = None
        self._swept = asyncio.Event()

    def start(self) -> None:
        """Begin to take away what nobody needs."""
        self._sweeper = asyncio.create_task(self._sweep_for_ever(), name="attachments")

    async def close(self) -> None:
        if self._sweeper is not None:
            self._sweeper.cancel()
            await asyncio.gather(self._sweeper, return_exceptions=True)
        self._decoder.shutdown(wait=False, cancel_futures=True)

    async def upload(self, person: User, chunks: AsyncIterable[bytes], name: str | None = None) -> Attachment:
        """Take a file as it comes. No more of it than a block is in memory, and one that cannot be taken is refused as soon
        as that is seen.

        :raises UnsupportedError: it is none of the kinds that are taken. :raises InvalidError: it is broken.
        :raises TooLargeError: it, or all that the person has, is too large. :raises BusyError: too many at once.
        """
        name = clean_name(name)
        with self._one_more(person):
            incoming = await self._blobs.begin()
            try:
                await self._receive(incoming, chunks)
                return await self._keep(person, incoming, name)
            finally:
                incoming.discard()

    async def get(self, person: User, attachment: str) -> Attachment:
        """:raises NotFoundError: there is none of this id that the person may have."""
        found = await self._storage.attachment(check_id(attachment, "The attachment's id"), person.id)
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

    async def enclosed(self, person: User, parts: tuple[Part, ...]) -> tuple[Part, ...]:
        """The parts of a message as they are stored: each picture and recording by the id of its attachment.

        :raises NotFoundError: an id is of none that the person may have.
        :raises InvalidError: what is in a part is not what the part is, or cannot be taken.
        """
        return tuple([await self._enclosed(person, part) for part in parts])

    async def find(self, ids: Iterable[str]) -> dict[str, Attachment]:
        """Those of these ids that there are, whoever may read them."""
        wanted = list(dict.fromkeys(ids))
        found = await self._storage.attachments(wanted) if wanted else []
        return {each.id: each for each in found}

    async def read(self, attachment: Attachment) -> bytes:
        """:raises StorageError: its bytes are gone, or are not what they were."""
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
        """Something was deleted."""
        self._swept.set()

    async def sweep(self) -> None:
        """Take away uploads that no message used, and files that no attachment needs."""
        await self._storage.drop_attachments(self._now() - UNUSED)
        before = time.time() - SETTLED_SECONDS
        rest = iter(await self._blobs.old(before))
        while batch := list(islice(rest, _BATCH)):
            known = await self._storage.known_digests([blob.digest for blob in batch if blob.digest])
            for blob in [blob for blob in batch if blob.digest not in known]:
                async with self._placing.setdefault(blob.digest or blob.key, asyncio.Lock()):
                    await self._blobs.remove(blob, before)

    async def _sweep_for_ever(self) -> None:
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
    def _one_more(self, person: User) -> Iterator[None]:
        running = self._uploads.get(person.id, 0)
        if running >= self.rules.at_once:
            raise BusyError("You are uploading too many files at once. Wait until one of them is done.")
        self._uploads[person.id] = running + 1
        try:
            yield
        finally:
            self._uploads[person.id] -= 1
            if not self._uploads[person.id]:
                del self._uploads[person.id]

    async def _receive(self, incoming: PendingBlob, chunks: AsyncIterable[bytes]) -> None:
        pending = bytearray()
        known = False
        async for chunk in chunks:
            pending += chunk
            if incoming.size + len(pending) > self.rules.file_bytes:
                raise self._too_large()
            if not known and len(pending) >= HEAD:
                if not looks_familiar(bytes(pending[:HEAD])):
                    raise UnsupportedError(UNKNOWN)
                known = True
            if len(pending) >= _BLOCK:
                await incoming.write(bytes(pending))
                pending.clear()
        await incoming.write(bytes(pending))
        if not incoming.size:
            raise InvalidError("There is nothing in this file. Send the file itself as the body.")

    async def _keep(self, person: User, incoming: PendingBlob, name: str | None) -> Attachment:
        loop = asyncio.get_running_loop()
        kind = await loop.run_in_executor(self._decoder, find_kind, incoming.content)
        attachment = Attachment(
            self._new_id(), person.id, kind.media_type, incoming.size, incoming.digest, self._now(), name
        )
        async with self._placing.setdefault(incoming.digest, asyncio.Lock()):
            await incoming.keep()
        async with self._adding.setdefault(person.id, asyncio.Lock()):
            return await self._storage.add_attachment(attachment, self.rules.person_bytes)

    async def _enclosed(self, person: User, part: Part) -> Part:
        if not isinstance(part, ImagePart | AudioPart):
            return part
        if part.data:
            attachment = await self._inline(person, part.data)
        else:
            attachment = await self.get(person, part.attachment or "")
        if attachment.media_type.startswith("image/") != isinstance(part, ImagePart):
            is_, said = ("picture", "recording") if isinstance(part, AudioPart) else ("recording", "picture")
            raise InvalidError(f"This is a {is_}, not a {said}. Send it as what it is.")
        return type(part)(attachment=attachment.id)

    async def _inline(self, person: User, url: str) -> Attachment:
        data = base64.b64decode(url.partition(",")[2])
        if len(data) > self.rules.file_bytes:
            raise self._too_large()
        incoming = await self._blobs.begin()
        try:
            await incoming.write(data)
            return await self._keep(person, incoming, None)
        finally:
            incoming.discard()

    def _too_large(self) -> TooLargeError:
        most = self.rules.file_bytes / (1024 * 1024)
        return TooLargeError(
            f"This file is too large: {most:.3g} MiB is the most. Make it smaller and send it again."
        )


def clean_name(name: str | None) -> str | None:
    """What a file was called, to show to people: the last of its path, on one line. Nothing is ever stored under it."""
    if name is None:
        return None
    return one_line(name.replace("\\", "/").rpartition("/")[2], NAME_LENGTH) or None
