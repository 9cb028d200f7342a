"""What of pictures and recordings reaches a model, and what a person hears where it does not."""

from collections.abc import AsyncIterator

import pytest
from tests.chat.conftest import ADA, Heard, House
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
async def listening(tmp_path) -> AsyncIterator[House]:
    house = House(f"sqlite:///{tmp_path / 'legato.db'}")
    house.transcriber = Listener("Good morning.")
    await house.start()
    yield house
    await house.stop()


async def ask(
    house: House, text: str, *parts: Part, of: str | None = None
) -> tuple[TurnStarted, ScriptedGeneration]:
    begun = await house.service.replies.send(ADA, Submission(conversation=of, text=text, parts=parts))
    return begun, await house.engine.asked()


async def answered(house: House, begun: TurnStarted, run: ScriptedGeneration, text: str = "Yes.") -> Message:
    heard = Heard()
    house.service.subscriptions.subscribe(ADA, begun.conversation.id, heard)
    run.say(text)
    run.finish()
    return await heard.ended(begun.reply.id)


async def refused(house: House, *parts: Part, text: str = "") -> Message:
    """The reply to what is not given to the engine."""
    begun = await house.service.replies.send(ADA, Submission(text=text, parts=parts))
    heard = Heard()
    house.service.subscriptions.subscribe(ADA, begun.conversation.id, heard)
    reply = (await house.service.conversations.get(ADA, begun.conversation.id)).messages[begun.reply.id]
    return reply if reply.status != "streaming" else await heard.ended(begun.reply.id)


def last(run: ScriptedGeneration) -> tuple[Part, ...]:
    return run.request.turns[-1].parts


async def test_a_model_that_sees_is_shown_the_picture(house):
    house.engine.can = SEES
    begun, run = await ask(house, "Look:", PNG)
    assert last(run) == (TextPart("Look:"), PNG)
    assert (await answered(house, begun, run)).detail is None


async def test_it_is_shown_again_with_what_is_asked_next(house):
    house.engine.can = SEES
    begun, run = await ask(house, "", PNG)
    await answered(house, begun, run)
    _, run = await ask(house, "And now?", WEBP, of=begun.conversation.id)
    assert [turn.parts for turn in run.request.turns] == [
        (PNG,),
        (TextPart("Yes."),),
        (TextPart("And now?"), WEBP),
    ]
    run.finish()


async def test_replies_without_a_word_take_no_room_in_the_history(tmp_path):
    house = House(f"sqlite:///{tmp_path / 'legato.db'}", Assistant(name="default", history=2))
    await house.start()
    begun, run = await ask(house, "One", PNG)
    run.fail(EngineUnavailableError("It is away."))
    await run.left()
    _, run = await ask(house, "Two", of=begun.conversation.id)
    # Neighbours of one role are one turn: templates demand that roles alternate.
    assert [turn.parts for turn in run.request.turns] == [
        (TextPart("One"), PNG, TextPart("\n\n"), TextPart("Two"))
    ]
    run.finish()
    await house.stop()


async def test_of_many_pictures_the_last_are_shown(house, monkeypatch):
    monkeypatch.setattr(media_input, "PICTURES", 1)
    house.engine.can = SEES
    begun, run = await ask(house, "", PNG)
    await answered(house, begun, run)
    begun, run = await ask(house, "And now?", WEBP, of=begun.conversation.id)
    assert run.request.turns[0].parts == (ImagePart(),)
    assert last(run)[1] == WEBP
    assert (await answered(house, begun, run)).detail is None


async def test_what_is_too_much_at_once_is_not_shown(house, monkeypatch):
    monkeypatch.setattr(media_input, "BYTES", len(PICTURE))
    house.engine.can = SEES
    begun, run = await ask(house, "Look:", PNG, WEBP)
    assert last(run)[1:] == (PNG, ImagePart())
    assert "and no more" in (await answered(house, begun, run)).detail


async def test_a_model_that_cannot_see_is_told_that_there_is_a_picture_and_so_is_the_person(house):
    house.engine.can = Capabilities()
    begun, run = await ask(house, "What is this?", PNG)
    assert last(run) == (TextPart("What is this?"), ImagePart())
    (said,) = flatten_turns(run.request.turns)
    assert said.text == f"What is this?\n\n{NOT_SHOWN}"
    run.tell("loading", detail="Almost there.")
    reply = await answered(house, begun, run)
    assert reply.detail == "scripted cannot see pictures. The answer is without a picture. Almost there."
    assert reply.status == "complete"


async def test_a_picture_alone_to_a_model_that_cannot_see_is_answered_by_a_sentence_and_no_model(house):
    house.engine.can = Capabilities()
    reply = await refused(house, PNG)
    assert reply.status == "interrupted"
    assert reply.detail == "scripted cannot see pictures. Say it in words, or ask a model that can."
    assert house.engine.requests == []


async def test_where_nothing_is_known_of_the_model_because_it_is_away_that_is_what_is_said(house):
    house.engine.can = Capabilities()
    house.engine.down = True
    assert (await refused(house, PNG)).detail == "scripted does not answer."


async def test_a_kind_of_picture_that_a_model_cannot_read_is_not_shown_to_it(house):
    house.engine.can = Capabilities(images=True, image_types=("image/png",))
    begun, run = await ask(house, "Look:", PNG, WEBP)
    assert last(run)[1:] == (PNG, ImagePart())
    assert (await answered(house, begun, run)).detail.startswith("scripted cannot read WebP pictures.")


async def test_a_model_that_hears_gets_the_recording(house):
    house.engine.can = HEARS
    begun, run = await ask(house, "", WAV)
    assert last(run) == (WAV,)
    await answered(house, begun, run)


async def test_a_recording_is_put_into_words_once_and_they_are_kept_and_found(listening):
    begun, run = await ask(listening, "Listen:", WEBM)
    assert last(run) == (TextPart("Listen:"), TextPart("\n\nGood morning."))
    assert listening.transcriber.heard == [(SPOKEN, "audio/webm")]
    await answered(listening, begun, run)
    tree = await listening.service.conversations.get(ADA, begun.conversation.id)
    attachment = begun.question.parts[1].attachment
    kept = AudioPart(attachment=attachment, transcript="Good morning.")
    assert tree.messages[begun.question.id].parts == (TextPart("Listen:"), kept)
    assert (await listening.storage.message(begun.question.id)).parts == (TextPart("Listen:"), kept)
    assert [hit.message for hit in await listening.service.conversations.search(ADA, "morning")] == [
        begun.question.id
    ]
    begun, run = await ask(listening, "Again?", of=begun.conversation.id)
    assert run.request.turns[0].parts == (TextPart("Listen:"), TextPart("\n\nGood morning."))
    assert len(listening.transcriber.heard) == 1
    await answered(listening, begun, run)


async def test_those_who_watch_hear_that_somebody_listened(listening):
    begun, run = await ask(listening, "One", TextPart("two"))
    heard = Heard()
    listening.service.subscriptions.subscribe(ADA, begun.conversation.id, heard)
    await answered(listening, begun, run)
    begun, run = await ask(listening, "", WEBM, of=begun.conversation.id)
    await heard.until(
        lambda heard: any(
            isinstance(part, AudioPart) and part.transcript
            for message in heard.messages
            for part in message.parts
        )
    )
    await answered(listening, begun, run)


async def test_a_recording_that_a_model_cannot_take_as_it_is_is_put_into_words(listening):
    listening.engine.can = HEARS
    begun, run = await ask(listening, "", WEBM)
    assert last(run) == (TextPart("Good morning."),)
    await answered(listening, begun, run)


async def test_silence_is_said_to_be_silence(listening):
    listening.transcriber.said = [" "]
    begun, run = await ask(listening, "", WEBM)
    assert last(run) == (TextPart(media_input.NOTHING_SAID),)
    await answered(listening, begun, run)
    assert len(listening.transcriber.heard) == 1


async def test_a_listener_that_fails_is_told_and_asked_again_the_next_time(listening):
    listening.transcriber.said = [EngineUnavailableError("The ear is away."), "Good morning."]
    begun, run = await ask(listening, "Listen:", WEBM)
    assert last(run) == (TextPart("Listen:"), AudioPart())
    (said,) = flatten_turns(run.request.turns)
    assert said.text == f"Listen:\n\n{NOT_HEARD}"
    reply = await answered(listening, begun, run)
    assert (
        reply.detail
        == "The recording could not be put into words: The ear is away. The answer is without a recording."
    )
    _, run = await ask(listening, "And now?", of=begun.conversation.id)
    assert run.request.turns[0].parts == (TextPart("Listen:"), TextPart("\n\nGood morning."))
    run.finish()


async def test_a_recording_alone_that_nobody_can_hear_is_answered_by_a_sentence(listening, house):
    listening.transcriber.said = [EngineUnavailableError("The ear is away.")]
    assert (await refused(listening, WEBM)).detail == "The ear is away."
    house.engine.can = Capabilities()
    reply = await refused(house, WAV)
    assert "cannot hear recordings" in reply.detail
    assert "[audio]" in reply.detail


async def test_a_picture_whose_file_is_gone_is_said_to_be_gone(house):
    house.engine.can = SEES
    kept = await house.attachments.upload(ADA, _one(PICTURE))
    house.files.path(kept.digest).unlink()
    begun, run = await ask(house, "Look:", ImagePart(attachment=kept.id))
    assert last(run)[1] == ImagePart()
    assert "gone" in (await answered(house, begun, run)).detail


async def _one(data: bytes) -> AsyncIterator[bytes]:
    yield data


async def test_a_picture_that_was_taken_sideways_is_shown_upright_and_kept_as_it_was_sent(house):
    house.engine.can = SEES
    sideways = four_corners("jpeg", 6)
    begun, run = await ask(house, "Look:", ImagePart(data_url(sideways, "image/jpeg")))
    shown = last(run)[1].data
    assert shown == data_url(upright(sideways, "image/jpeg"), "image/jpeg")
    assert shown != data_url(sideways, "image/jpeg")
    kept = await house.attachments.get(ADA, begun.question.parts[1].attachment)
    assert await house.attachments.read(kept) == sideways
    run.finish()
