"""What of pictures and recordings reaches a model, and what a person hears where it does not."""

from collections.abc import AsyncIterator

import pytest
from tests.chat.conftest import ADA, ChatServer, RecordingWatcher
from tests.chat.media.files import OTHER_PICTURE, PICTURE, SOUND, SPOKEN, data_url
from tests.chat.media.test_pictures import four_corners

from legato.chat import media_input
from legato.chat.assistant import Assistant
from legato.chat.media.pictures import upright
from legato.domain.message import AudioPart, ImagePart, Message, Part, TextPart
from legato.domain.submission import Submission
from legato.engines.base import Capabilities
from legato.engines.message_format import NOT_HEARD, NOT_SHOWN, flatten_turns
from legato.errors import EngineUnavailableError
from legato.storage.base import TurnStarted
from legato.testing.engine import ScriptedGeneration

SEES = Capabilities(images=True)
HEARS = Capabilities(audio=True)

PNG = ImagePart(data_url(PICTURE, "image/png"))
WEBP = ImagePart(data_url(OTHER_PICTURE, "image/webp"))
WAV = AudioPart(data_url(SOUND, "audio/wav"))
WEBM = AudioPart(data_url(SPOKEN, "audio/webm"))


class Listener:
    """A transcriber that says what it is told to, or fails."""

    def __init__(self, *said: str | Exception) -> None:
        self.said = list(said)
        self.heard: list[tuple[bytes, str]] = []

    async def transcribe(self, data: bytes, media_type: str) -> str:
        self.heard.append((data, media_type))
        said = self.said.pop(0)
        if isinstance(said, Exception):
            raise said
        return said

    async def close(self) -> None: ...


@pytest.fixture
async def listening(tmp_path) -> AsyncIterator[ChatServer]:
    server = ChatServer(f"sqlite:///{tmp_path / 'legato.db'}")
    server.transcriber = Listener("Good morning.")
    await server.start()
    yield server
    await server.stop()


async def ask(
    server: ChatServer, text: str, *parts: Part, of: str | None = None
) -> tuple[TurnStarted, ScriptedGeneration]:
    started = await server.service.replies.send(ADA, Submission(conversation=of, text=text, parts=parts))
    return started, await server.engine.asked()


async def answered(
    server: ChatServer, started: TurnStarted, run: ScriptedGeneration, text: str = "Yes."
) -> Message:
    heard = RecordingWatcher()
    server.service.subscriptions.subscribe(ADA, started.conversation.id, heard)
    run.say(text)
    run.finish()
    return await heard.ended(started.reply.id)


async def refused(server: ChatServer, *parts: Part, text: str = "") -> Message:
    """The reply to what is not given to the engine."""
    started = await server.service.replies.send(ADA, Submission(text=text, parts=parts))
    heard = RecordingWatcher()
    server.service.subscriptions.subscribe(ADA, started.conversation.id, heard)
    reply = (await server.service.conversations.get(ADA, started.conversation.id)).messages[started.reply.id]
    return reply if reply.status != "streaming" else await heard.ended(started.reply.id)


def last(run: ScriptedGeneration) -> tuple[Part, ...]:
    return run.request.turns[-1].parts


async def test_a_model_that_sees_is_shown_the_picture(server):
    server.engine.can = SEES
    started, run = await ask(server, "Look:", PNG)
    assert last(run) == (TextPart("Look:"), PNG)
    assert (await answered(server, started, run)).detail is None


async def test_it_is_shown_again_with_what_is_asked_next(server):
    server.engine.can = SEES
    started, run = await ask(server, "", PNG)
    await answered(server, started, run)
    _, run = await ask(server, "And now?", WEBP, of=started.conversation.id)
    assert [turn.parts for turn in run.request.turns] == [
        (PNG,),
        (TextPart("Yes."),),
        (TextPart("And now?"), WEBP),
    ]
    run.finish()


async def test_replies_without_a_word_take_no_room_in_the_history(tmp_path):
    server = ChatServer(f"sqlite:///{tmp_path / 'legato.db'}", Assistant(name="default", history=2))
    await server.start()
    started, run = await ask(server, "One", PNG)
    run.fail(EngineUnavailableError("It is away."))
    await run.left()
    _, run = await ask(server, "Two", of=started.conversation.id)
    # Neighbours of one role are one turn: templates demand that roles alternate.
    assert [turn.parts for turn in run.request.turns] == [
        (TextPart("One"), PNG, TextPart("\n\n"), TextPart("Two"))
    ]
    run.finish()
    await server.stop()


async def test_of_many_pictures_the_last_are_shown(server, monkeypatch):
    monkeypatch.setattr(media_input, "PICTURES", 1)
    server.engine.can = SEES
    started, run = await ask(server, "", PNG)
    await answered(server, started, run)
    started, run = await ask(server, "And now?", WEBP, of=started.conversation.id)
    assert run.request.turns[0].parts == (ImagePart(),)
    assert last(run)[1] == WEBP
    assert (await answered(server, started, run)).detail is None


async def test_what_is_too_much_at_once_is_not_shown(server, monkeypatch):
    monkeypatch.setattr(media_input, "BYTES", len(PICTURE))
    server.engine.can = SEES
    started, run = await ask(server, "Look:", PNG, WEBP)
    assert last(run)[1:] == (PNG, ImagePart())
    assert "and no more" in (await answered(server, started, run)).detail


async def test_a_model_that_cannot_see_is_told_that_there_is_a_picture_and_so_is_the_person(server):
    server.engine.can = Capabilities()
    started, run = await ask(server, "What is this?", PNG)
    assert last(run) == (TextPart("What is this?"), ImagePart())
    (said,) = flatten_turns(run.request.turns)
    assert said.text == f"What is this?\n\n{NOT_SHOWN}"
    run.tell("loading", detail="Almost there.")
    reply = await answered(server, started, run)
    assert reply.detail == "scripted cannot see pictures. The answer is without a picture. Almost there."
    assert reply.status == "complete"


async def test_a_picture_alone_to_a_model_that_cannot_see_is_answered_by_a_sentence_and_no_model(server):
    server.engine.can = Capabilities()
    reply = await refused(server, PNG)
    assert reply.status == "interrupted"
    assert reply.detail == "scripted cannot see pictures. Say it in words, or ask a model that can."
    assert server.engine.requests == []


async def test_where_nothing_is_known_of_the_model_because_it_is_away_that_is_what_is_said(server):
    server.engine.can = Capabilities()
    server.engine.down = True
    assert (await refused(server, PNG)).detail == "scripted does not answer."


async def test_a_kind_of_picture_that_a_model_cannot_read_is_not_shown_to_it(server):
    server.engine.can = Capabilities(images=True, image_types=("image/png",))
    started, run = await ask(server, "Look:", PNG, WEBP)
    assert last(run)[1:] == (PNG, ImagePart())
    assert (await answered(server, started, run)).detail.startswith("scripted cannot read WebP pictures.")


async def test_a_model_that_hears_gets_the_recording(server):
    server.engine.can = HEARS
    started, run = await ask(server, "", WAV)
    assert last(run) == (WAV,)
    await answered(server, started, run)


async def test_a_recording_is_put_into_words_once_and_they_are_kept_and_found(listening):
    started, run = await ask(listening, "Listen:", WEBM)
    assert last(run) == (TextPart("Listen:"), TextPart("\n\nGood morning."))
    assert listening.transcriber.heard == [(SPOKEN, "audio/webm")]
    await answered(listening, started, run)
    tree = await listening.service.conversations.get(ADA, started.conversation.id)
    attachment = started.question.parts[1].attachment
    kept = AudioPart(attachment=attachment, transcript="Good morning.")
    assert tree.messages[started.question.id].parts == (TextPart("Listen:"), kept)
    assert (await listening.storage.message(started.question.id)).parts == (TextPart("Listen:"), kept)
    assert [hit.message for hit in await listening.service.conversations.search(ADA, "morning")] == [
        started.question.id
    ]
    started, run = await ask(listening, "Again?", of=started.conversation.id)
    assert run.request.turns[0].parts == (TextPart("Listen:"), TextPart("\n\nGood morning."))
    assert len(listening.transcriber.heard) == 1
    await answered(listening, started, run)


async def test_those_who_watch_hear_that_somebody_listened(listening):
    started, run = await ask(listening, "One", TextPart("two"))
    heard = RecordingWatcher()
    listening.service.subscriptions.subscribe(ADA, started.conversation.id, heard)
    await answered(listening, started, run)
    started, run = await ask(listening, "", WEBM, of=started.conversation.id)
    await heard.until(
        lambda heard: any(
            isinstance(part, AudioPart) and part.transcript
            for message in heard.messages
            for part in message.parts
        )
    )
    await answered(listening, started, run)


async def test_a_recording_that_a_model_cannot_take_as_it_is_is_put_into_words(listening):
    listening.engine.can = HEARS
    started, run = await ask(listening, "", WEBM)
    assert last(run) == (TextPart("Good morning."),)
    await answered(listening, started, run)


async def test_silence_is_said_to_be_silence(listening):
    listening.transcriber.said = [" "]
    started, run = await ask(listening, "", WEBM)
    assert last(run) == (TextPart(media_input.NOTHING_SAID),)
    await answered(listening, started, run)
    assert len(listening.transcriber.heard) == 1


async def test_a_listener_that_fails_is_told_and_asked_again_the_next_time(listening):
    listening.transcriber.said = [EngineUnavailableError("The ear is away."), "Good morning."]
    started, run = await ask(listening, "Listen:", WEBM)
    assert last(run) == (TextPart("Listen:"), AudioPart())
    (said,) = flatten_turns(run.request.turns)
    assert said.text == f"Listen:\n\n{NOT_HEARD}"
    reply = await answered(listening, started, run)
    assert (
        reply.detail
        == "The recording could not be put into words: The ear is away. The answer is without a recording."
    )
    _, run = await ask(listening, "And now?", of=started.conversation.id)
    assert run.request.turns[0].parts == (TextPart("Listen:"), TextPart("\n\nGood morning."))
    run.finish()


async def test_a_recording_alone_that_nobody_can_hear_is_answered_by_a_sentence(listening, server):
    listening.transcriber.said = [EngineUnavailableError("The ear is away.")]
    assert (await refused(listening, WEBM)).detail == "The ear is away."
    server.engine.can = Capabilities()
    reply = await refused(server, WAV)
    assert "cannot hear recordings" in reply.detail
    assert "does not transcribe them" in reply.detail


async def test_a_picture_whose_file_is_gone_is_said_to_be_gone(server):
    server.engine.can = SEES
    kept = await server.attachments.upload(ADA, _one(PICTURE))
    server.files.path(kept.digest).unlink()
    started, run = await ask(server, "Look:", ImagePart(attachment=kept.id))
    assert last(run)[1] == ImagePart()
    assert "gone" in (await answered(server, started, run)).detail


async def _one(data: bytes) -> AsyncIterator[bytes]:
    yield data


async def test_a_picture_that_was_taken_sideways_is_shown_upright_and_kept_as_it_was_sent(server):
    server.engine.can = SEES
    sideways = four_corners("jpeg", 6)
    started, run = await ask(server, "Look:", ImagePart(data_url(sideways, "image/jpeg")))
    shown = last(run)[1].data
    assert shown == data_url(upright(sideways, "image/jpeg"), "image/jpeg")
    assert shown != data_url(sideways, "image/jpeg")
    kept = await server.attachments.get(ADA, started.question.parts[1].attachment)
    assert await server.attachments.read(kept) == sideways
    run.finish()
