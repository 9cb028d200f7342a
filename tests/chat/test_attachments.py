"""What people attach is taken in whole or not at all, and only those have it who may."""

import asyncio
import hashlib
import os
import stat
import threading
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from msgspec.structs import replace
from tests.chat.conftest import ADA, BOB, ChatServer
from tests.chat.media.files import OTHER_PICTURE, PICTURE, SOUND, SPOKEN, data_url

from legato.chat import attachments as module
from legato.chat.attachments import AttachmentLimits, Attachments, clean_name
from legato.chat.media import MediaKind, find_kind
from legato.chat.service import utc
from legato.domain.message import AudioPart, ImagePart, TextPart, attached_parts
from legato.domain.submission import Submission
from legato.errors import (
    BusyError,
    ConflictError,
    InvalidError,
    NotFoundError,
    TooLargeError,
    UnsupportedError,
)
from legato.storage.base import TurnStarted
from legato.storage.directory_blobs import PendingFile


async def pieces(data: bytes, size: int = 1000) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


def files_of(server: ChatServer) -> list[str]:
    return sorted(path.name for path in server.files.directory.rglob("*") if path.is_file())


def aged(server: ChatServer) -> None:
    """Make all files old enough to be swept."""
    for path in server.files.directory.rglob("*"):
        if path.is_file():
            os.utime(path, (1, 1))


async def sent(server: ChatServer, *parts: ImagePart | AudioPart, **more: object) -> TurnStarted:
    started = await server.service.replies.send(ADA, Submission(text="Look:", parts=parts, **more))
    (await server.engine.asked()).finish()
    return started


async def test_an_upload_is_kept_under_its_digest_for_its_owner_alone(server):
    kept = await server.attachments.upload(ADA, pieces(PICTURE), "../../etc/my cat.png")
    assert (kept.media_type, kept.size, kept.name) == ("image/png", len(PICTURE), "my cat.png")
    assert kept.digest == hashlib.sha256(PICTURE).hexdigest()
    path = server.files.path(kept.digest)
    assert path == server.files.directory / kept.digest[:2] / kept.digest
    assert path.read_bytes() == PICTURE
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(server.files.directory.stat().st_mode) == 0o700
    assert files_of(server) == [kept.digest]
    assert await server.attachments.get(ADA, kept.id) == kept


async def test_the_same_bytes_are_kept_once_and_both_have_them(server):
    one = await server.attachments.upload(ADA, pieces(PICTURE))
    other = await server.attachments.upload(BOB, pieces(PICTURE))
    assert one.id != other.id
    assert len(files_of(server)) == 1


async def test_what_is_not_there_and_what_is_anothers_look_the_same(server):
    kept = await server.attachments.upload(ADA, pieces(PICTURE))
    with pytest.raises(NotFoundError) as foreign:
        await server.attachments.get(BOB, kept.id)
    with pytest.raises(NotFoundError) as none:
        await server.attachments.get(BOB, "nothing")
    assert foreign.value.message == none.value.message


async def test_what_is_of_no_known_kind_is_refused_before_the_rest_of_it_has_come(server):
    asked = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal asked
        while True:
            asked += 1
            yield b"<html>" + bytes(100)

    with pytest.raises(UnsupportedError):
        await server.attachments.upload(ADA, endless())
    assert asked == 1
    assert files_of(server) == []


async def test_an_upload_that_never_ends_is_refused_at_the_limit(server):
    server.attachments.rules = AttachmentLimits(file_bytes=100_000)
    given = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal given
        yield PICTURE
        while True:
            given += 10_000
            yield bytes(10_000)

    with pytest.raises(TooLargeError, match="too large"):
        await server.attachments.upload(ADA, endless())
    assert given <= 110_000
    assert files_of(server) == []


async def test_an_upload_that_breaks_off_leaves_nothing_behind(server):
    async def broken() -> AsyncIterator[bytes]:
        yield PICTURE[:200]
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        await server.attachments.upload(ADA, broken())
    with pytest.raises(InvalidError, match="cut off"):
        await server.attachments.upload(ADA, pieces(PICTURE[:200]))
    with pytest.raises(InvalidError, match="nothing in this file"):
        await server.attachments.upload(ADA, pieces(b""))
    assert files_of(server) == []


async def test_one_person_uploads_a_few_files_at_a_time(server):
    server.attachments.rules = AttachmentLimits(at_once=1)
    go = asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        await go.wait()
        yield PICTURE

    first = asyncio.create_task(server.attachments.upload(ADA, slow()))
    await asyncio.sleep(0)
    with pytest.raises(BusyError):
        await server.attachments.upload(ADA, pieces(PICTURE))
    await server.attachments.upload(BOB, pieces(PICTURE))
    go.set()
    await first
    await server.attachments.upload(ADA, pieces(PICTURE))


async def test_a_person_has_so_much_room(server):
    server.attachments.rules = AttachmentLimits(person_bytes=len(PICTURE) + 10)
    await server.attachments.upload(ADA, pieces(PICTURE))
    with pytest.raises(TooLargeError, match="no room"):
        await server.attachments.upload(ADA, pieces(OTHER_PICTURE))
    await server.attachments.upload(BOB, pieces(OTHER_PICTURE))


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        (None, None),
        ("", None),
        ("C:\\pictures\\cat.png", "cat.png"),
        ("a/b/../c\r\nSet-Cookie: x", "c Set-Cookie: x"),
        ("\ud800", "\ufffd"),
        ("x" * 999, "x" * 200),
    ],
)
def test_a_name_is_one_short_line_and_no_path(name, shown):
    assert clean_name(name) == shown


async def test_an_inline_picture_becomes_an_attachment(server):
    started = await sent(
        server, ImagePart(data_url(PICTURE, "image/png")), AudioPart(data_url(SOUND, "audio/wav"))
    )
    text, picture, sound = started.question.parts
    assert text == TextPart("Look:")
    assert picture.data == sound.data == ""
    kept = await server.attachments.get(ADA, picture.attachment)
    assert (kept.media_type, await server.attachments.read(kept)) == ("image/png", PICTURE)
    assert (await server.attachments.get(ADA, sound.attachment)).media_type == "audio/wav"


@pytest.mark.parametrize(
    ("part", "error"),
    [
        (ImagePart(data_url(b"<svg/>", "image/png")), UnsupportedError),
        (ImagePart(data_url(PICTURE[:100], "image/png")), InvalidError),
        (ImagePart(data_url(SOUND, "image/png")), InvalidError),
        (AudioPart(data_url(PICTURE, "audio/wav")), InvalidError),
        (ImagePart(attachment="nothing"), NotFoundError),
        (ImagePart(attachment=""), InvalidError),
        (ImagePart(attachment="a\0b"), InvalidError),
        (ImagePart(data_url(PICTURE, "image/png"), attachment="x"), InvalidError),
        (ImagePart("http://169.254.169.254/"), InvalidError),
        (AudioPart("data:audio/wav;base64,!!"), InvalidError),
        (AudioPart(), InvalidError),
    ],
)
async def test_a_part_that_is_not_what_it_says_is_refused_and_nothing_is_stored(server, part, error):
    with pytest.raises(error):
        await server.service.replies.send(ADA, Submission(text="Look:", parts=(part,)))
    assert await server.service.conversations.page(ADA) == []


async def test_too_many_pictures_in_one_message_are_refused(server):
    with pytest.raises(InvalidError, match="10 pictures"):
        await server.service.replies.send(ADA, Submission(parts=(ImagePart(attachment="x"),) * 11))


async def test_an_attachment_named_by_one_who_may_not_have_it_is_as_if_it_were_not_there(server):
    kept = await server.attachments.upload(BOB, pieces(PICTURE))
    with pytest.raises(NotFoundError, match="no such attachment"):
        await server.service.replies.send(ADA, Submission(parts=(ImagePart(attachment=kept.id),)))


async def test_a_message_sent_again_and_again_at_once_is_one_message(server):
    parts = (ImagePart(data_url(PICTURE, "image/png")),)
    submission = Submission("once", text="Look:", parts=parts)
    started = await asyncio.gather(*(server.service.replies.send(ADA, submission) for _ in range(20)))
    (await server.engine.asked()).finish()
    assert len({each.question.id for each in started}) == 1
    assert sum(not each.duplicate for each in started) == 1
    other = replace(submission, parts=(ImagePart(data_url(OTHER_PICTURE, "image/webp")),))
    with pytest.raises(ConflictError):
        await server.service.replies.send(ADA, other)


async def test_a_sent_picture_is_taken_along_when_its_text_is_edited(server):
    started = await sent(server, ImagePart(data_url(PICTURE, "image/png")))
    edited = await server.service.replies.edit(
        ADA, started.conversation.id, started.question.id, "Look again:"
    )
    (await server.engine.asked()).finish()
    assert attached_parts(edited.question.parts) == attached_parts(started.question.parts)


async def test_what_no_message_used_is_swept_away_after_a_day(server, tmp_path):
    kept = await server.attachments.upload(ADA, pieces(PICTURE))
    used = await sent(server, ImagePart(data_url(OTHER_PICTURE, "image/webp")))
    aged(server)
    await server.attachments.sweep()
    assert len(files_of(server)) == 2
    tomorrow = Attachments(
        server.storage, server.files, now=lambda: utc() + timedelta(hours=25), new_id=lambda: "x"
    )
    await tomorrow.sweep()
    with pytest.raises(NotFoundError):
        await server.attachments.get(ADA, kept.id)
    picture = used.question.parts[1]
    assert (
        await server.attachments.read(await server.attachments.get(ADA, picture.attachment)) == OTHER_PICTURE
    )
    assert len(files_of(server)) == 1


async def test_bytes_that_several_share_live_until_the_last_of_them_goes(server):
    mine = await sent(server, ImagePart(data_url(PICTURE, "image/png")))
    his = await server.attachments.upload(BOB, pieces(PICTURE))
    await server.service.conversations.delete(ADA, mine.conversation.id)
    aged(server)
    await server.attachments.sweep()
    assert await server.attachments.read(his) == PICTURE
    with pytest.raises(NotFoundError):
        await server.attachments.get(ADA, mine.question.parts[1].attachment)


async def test_a_deleted_conversation_takes_its_pictures_along_by_itself(server, monkeypatch):
    monkeypatch.setattr(module, "SOON_SECONDS", 0.0)
    started = await sent(server, ImagePart(data_url(PICTURE, "image/png")))
    aged(server)
    server.attachments.start()
    try:
        await server.service.conversations.delete(ADA, started.conversation.id)
        while files_of(server):
            await asyncio.sleep(0.01)
    finally:
        await server.attachments.close()


async def test_a_file_that_was_just_written_is_left_alone(server):
    (server.files.directory / "ab").mkdir(parents=True)
    lone = server.files.directory / "ab" / ("ab" * 32)
    lone.write_bytes(b"x")
    await server.attachments.sweep()
    assert lone.exists()
    aged(server)
    await server.attachments.sweep()
    assert not lone.exists()


async def test_a_slow_disk_holds_up_nobody_else(server, monkeypatch):
    reached, go_on = asyncio.Event(), threading.Event()
    loop, keep = asyncio.get_running_loop(), PendingFile._keep

    def slowly(incoming: PendingFile) -> None:
        if incoming.digest == hashlib.sha256(PICTURE).hexdigest():
            loop.call_soon_threadsafe(reached.set)
            assert go_on.wait(10)
        keep(incoming)

    monkeypatch.setattr(PendingFile, "_keep", slowly)
    slow = asyncio.create_task(server.attachments.upload(ADA, pieces(PICTURE)))
    try:
        async with asyncio.timeout(5):
            await reached.wait()
            for person in (ADA, BOB):
                await server.attachments.upload(person, pieces(OTHER_PICTURE))
            await server.attachments.sweep()
        assert not slow.done()
    finally:
        go_on.set()
    assert (await slow).size == len(PICTURE)


async def test_what_is_uploaded_again_as_it_is_swept_is_there_in_the_end(server, monkeypatch):
    kept = await server.attachments.upload(ADA, pieces(PICTURE))
    await server.storage.drop_attachments(utc() + timedelta(days=1))
    aged(server)
    looked, go_on = asyncio.Event(), threading.Event()
    loop, unlink = asyncio.get_running_loop(), Path.unlink

    def slowly(path: Path, missing_ok: bool = False) -> None:
        if path.name == kept.digest:
            loop.call_soon_threadsafe(looked.set)
            assert go_on.wait(10)
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", slowly)
    sweeping = asyncio.create_task(server.attachments.sweep())
    async with asyncio.timeout(5):
        await looked.wait()
    again = asyncio.create_task(server.attachments.upload(ADA, pieces(PICTURE)))
    done, _ = await asyncio.wait({again}, timeout=0.3)
    assert not done
    go_on.set()
    await sweeping
    assert await server.attachments.read(await again) == PICTURE


async def test_a_recording_of_a_browser_is_taken(server):
    kept = await server.attachments.upload(ADA, pieces(SPOKEN))
    assert kept.media_type == "audio/webm"
    part = AudioPart(f"data:audio/webm;codecs=opus;base64,{data_url(SPOKEN, 'x').partition(',')[2]}")
    started = await sent(server, part)
    assert started.question.parts[1].attachment == kept.id


async def test_the_event_loop_runs_on_while_a_picture_is_decoded(server, monkeypatch):
    started, go = threading.Event(), threading.Event()

    def slow(content: object) -> MediaKind:
        started.set()
        assert go.wait(10)
        return find_kind(content)

    monkeypatch.setattr(module, "find_kind", slow)
    uploading = asyncio.create_task(server.attachments.upload(ADA, pieces(PICTURE)))
    assert await asyncio.to_thread(started.wait, 10)
    await server.service.conversations.page(ADA)
    assert not uploading.done()
    go.set()
    assert (await uploading).media_type == "image/png"
