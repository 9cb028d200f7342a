"""What is refused, or fails on its way to the disk, leaves no file and no row."""

import asyncio
import errno
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.chat.conftest import ADA, BOB, ChatServer
from tests.chat.media.files import OTHER_PICTURE, PICTURE, SOUND, data_url
from tests.chat.test_attachments import files_of, pieces, sent

from legato.chat.attachments import AttachmentLimits
from legato.domain.message import ImagePart
from legato.domain.submission import Submission
from legato.errors import (
    ConflictError,
    DiskFullError,
    ForbiddenError,
    InvalidError,
    LegatoError,
    NotFoundError,
    StorageError,
    TooLargeError,
)
from legato.storage.directory_blobs import PendingFile
from legato.storage.sql import SqlStorage

INLINE = ImagePart(data_url(PICTURE, "image/png"))
OTHER = ImagePart(data_url(OTHER_PICTURE, "image/webp"))


async def rows(server: ChatServer) -> int:
    assert isinstance(server.storage, SqlStorage)
    return await server.storage.database.read(
        lambda connection: connection.exec_driver_sql("SELECT count(*) FROM attachments").scalar_one()
    )


async def test_what_is_over_the_quota_leaves_no_file(server: ChatServer) -> None:
    server.attachments.rules = AttachmentLimits(person_bytes=len(PICTURE) + 10)
    kept = await server.attachments.upload(ADA, pieces(PICTURE))
    for _ in range(3):
        with pytest.raises(TooLargeError, match="no room"):
            await server.attachments.upload(ADA, pieces(OTHER_PICTURE))
        with pytest.raises(TooLargeError, match="no room"):
            await sent(server, OTHER)
    assert files_of(server) == [kept.digest]
    assert await rows(server) == 1


async def test_a_refused_message_takes_its_inline_pictures_back(server: ChatServer) -> None:
    mine = await sent(server)
    refusals: list[tuple[type[Exception], dict[str, Any]]] = [
        (NotFoundError, {"conversation": "gone"}),
        (NotFoundError, {"conversation": mine.conversation.id, "parent": "gone"}),
        (InvalidError, {"client_message_id": "\n"}),
        (InvalidError, {"parts": (INLINE, ImagePart(data_url(SOUND, "image/png")))}),
        (InvalidError, {"parts": (INLINE, ImagePart(data_url(PICTURE[:99], "image/png")))}),
        (NotFoundError, {"parts": (INLINE, ImagePart(attachment="gone"))}),
    ]
    for error, wrong in refusals:
        with pytest.raises(error):
            await server.service.replies.send(ADA, Submission(**({"text": "x", "parts": (INLINE,)} | wrong)))
    assert files_of(server) == []
    assert await rows(server) == 0


async def test_what_others_need_stays_if_a_message_with_it_is_refused(server: ChatServer) -> None:
    kept = await server.attachments.upload(BOB, pieces(PICTURE))
    again = Submission("once", text="Look:", parts=(OTHER,))
    await server.service.replies.send(ADA, again)
    (await server.engine.asked()).finish()
    with pytest.raises(ConflictError):
        await server.service.replies.send(ADA, Submission("once", text="Look:", parts=(INLINE, OTHER)))
    assert await server.attachments.read(kept) == PICTURE
    assert len(files_of(server)) == 2
    assert await rows(server) == 2


@pytest.mark.parametrize("error", [StorageError, ForbiddenError, NotFoundError, TooLargeError])
async def test_a_message_that_the_database_refuses_leaves_no_picture(
    server: ChatServer, monkeypatch: pytest.MonkeyPatch, error: type[LegatoError]
) -> None:
    """The database is closed, the conversation was removed, the person may not write any more, or has no room."""

    async def begin(*_: object) -> None:
        raise error("No.")

    monkeypatch.setattr(server.storage, "begin", begin)
    with pytest.raises(error):
        await server.service.replies.send(ADA, Submission(text="x", parts=(INLINE,)))
    assert files_of(server) == []
    assert await rows(server) == 0


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("call", ["fsync", "mkstemp"])
async def test_a_full_disk_takes_no_file_and_says_so(
    server: ChatServer, monkeypatch: pytest.MonkeyPatch, call: str, code: int
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as broken:
        if call == "fsync":
            broken.setattr(os, "fsync", full)
        else:
            broken.setattr("tempfile.mkstemp", full)
        with pytest.raises(DiskFullError, match=r"full\. Make room"):
            await server.attachments.upload(ADA, pieces(PICTURE))
        with pytest.raises(DiskFullError, match=r"full\. Make room"):
            await sent(server, INLINE)
    assert files_of(server) == []
    assert await rows(server) == 0
    await server.attachments.upload(ADA, pieces(PICTURE))


async def test_a_buffer_that_does_not_fit_on_the_disk_is_a_full_disk(
    server: ChatServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(**where: Path) -> tuple[int, str]:
        path = where["dir"] / "full"
        path.touch()
        return os.open("/dev/full", os.O_RDWR), str(path)

    monkeypatch.setattr("tempfile.mkstemp", full)
    with pytest.raises(DiskFullError):
        await server.attachments.upload(ADA, pieces(PICTURE))
    assert files_of(server) == []


UPLOAD = """
import asyncio, pathlib, sys
from legato.storage.directory_blobs import PendingFile
pending = PendingFile.create(pathlib.Path(sys.argv[1])); print("begun", flush=True); sys.stdin.read()
"""


async def test_a_start_removes_what_a_killed_server_left_and_nothing_else(server: ChatServer) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", UPLOAD, str(server.files.directory)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"begun\n"
        pending = PendingFile.create(server.files.directory)
        await server.files.remove_abandoned()
        assert len(files_of(server)) == 2, "both are being written"
        process.kill()
    server.attachments.start()
    while len(files_of(server)) > 1:
        await asyncio.sleep(0.01)
    await pending.write(PICTURE)
    await pending.keep()
    pending.discard()
    assert files_of(server) == [pending.digest]
    await server.attachments.close()
