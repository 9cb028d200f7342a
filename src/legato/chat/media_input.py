"""Pictures and recordings for a model: what it gets, what is transcribed for it, and what the user is told if it gets neither."""

import asyncio
import base64
import logging
from collections.abc import Sequence

from msgspec.structs import replace

from legato.chat.attachments import Attachments
from legato.chat.message_recorder import MessageRecorder
from legato.chat.reply import Reply
from legato.domain.attachment import Attachment
from legato.domain.message import (
    AudioPart,
    FilePart,
    ImagePart,
    Message,
    Part,
    TextPart,
    attached_parts,
    text_of,
)
from legato.domain.text_file import file_name, text_file_part
from legato.domain.validation import MAX_TEXT_LENGTH, clean_text
from legato.engines.base import Capabilities
from legato.engines.message_format import media_type_of
from legato.engines.transcription import Transcriber
from legato.errors import (
    EngineError,
    EngineRefusedError,
    EngineTimeoutError,
    EngineUnavailableError,
    LegatoError,
)
from legato.stream import State

logger = logging.getLogger(__name__)

PICTURES = 8
"""Pictures of one request at most; the last ones count."""

BYTES = 24 * 1024 * 1024
"""Bytes of all pictures and recordings of one request at most."""

LISTEN_SECONDS = 300.0
"""Seconds to transcribe one recording at most."""

HEARD = frozenset({"audio/wav", "audio/mpeg"})
"""Recordings as models take them (`input_audio` of OpenAI's protocol)."""

NAMES = {"image/png": "PNG", "image/jpeg": "JPEG", "image/gif": "GIF", "image/webp": "WebP"}


NOTHING_SAID = "[A recording in which nothing is said.]"


class MediaInput:
    """Prepares media; one object for a server. `recorder` stores a message again, with its transcript."""

    def __init__(
        self,
        attachments: Attachments | None,
        transcriber: Transcriber | None,
        recorder: MessageRecorder,
    ) -> None:
        self._attachments = attachments
        self._transcriber = transcriber
        self._recorder = recorder

    async def prepare(self, reply: Reply, branch: list[Message]) -> list[Message]:
        """Return the last messages of the branch as the reply's model takes them, as many as it may read.

        A picture or recording that the model takes has its `data`; a transcribed recording is text; one of which the model gets
        nothing is an empty part, and the engine tells the model so. `reply.notice` is what the user is told.

        :raises EngineRefusedError: the last message is nothing but what cannot be perceived.
        """
        branch = [message for message in branch if message.parts][-reply.assistant.config.history - 1 :]
        if not any(attached_parts(message.parts) for message in branch):
            return branch
        can = await reply.assistant.engine.capabilities(reply.assistant.model)
        ids = [
            part.attachment for message in branch for part in attached_parts(message.parts) if part.attachment
        ]
        found = await self._attachments.find(ids) if self._attachments is not None else {}
        look = _Look(reply, can, found)
        perceived = [await self._message(look, message, n == 0) for n, message in enumerate(reversed(branch))]
        perceived.reverse()
        if look.troubles:
            await self._tell(look, branch[-1], perceived[-1])
        return perceived

    async def _message(self, look: "_Look", message: Message, last: bool) -> Message:
        if not attached_parts(message.parts):
            return message
        heard = list(message.parts)
        parts: list[Part] = []
        for n, part in enumerate(message.parts):
            look.trouble = ""
            match part:
                case ImagePart():
                    shown: Part = await self._picture(look, part)
                case AudioPart():
                    heard[n], shown = await self._recording(look, part)
                case FilePart():
                    shown = await self._file(look, part)
                case _:
                    shown = part
            if (
                isinstance(part, AudioPart | FilePart)
                and isinstance(shown, TextPart)
                and text_of(tuple(parts))
            ):
                shown = TextPart(f"\n\n{shown.text}")
            parts.append(shown)
            if last and look.trouble and look.trouble not in look.troubles:
                look.troubles.append(look.trouble)
        if heard != list(message.parts):
            await self._recorder.rewrite(replace(message, parts=tuple(heard)))
        return replace(message, parts=tuple(parts))

    async def _picture(self, look: "_Look", part: ImagePart) -> Part:
        if not look.can.images:
            look.trouble = f"{look.model} cannot see pictures"
            return ImagePart()
        kind = look.kind(part)
        if kind and not look.can.sees(kind):
            look.trouble = f"{look.model} cannot read {NAMES.get(kind, 'such')} pictures"
            return ImagePart()
        if not look.pictures:
            look.trouble = f"{look.model} is shown {PICTURES} pictures at once, and no more"
            return ImagePart()
        data = part.data or await self._data(look, part.attachment)
        if data:
            look.pictures -= 1
        return ImagePart(data)

    async def _recording(self, look: "_Look", part: AudioPart) -> tuple[AudioPart, Part]:
        """Return the part as it is stored from now on, and as the model takes it."""
        attachment = look.found.get(part.attachment or "")
        if look.can.audio and attachment is not None and attachment.media_type in HEARD:
            data = await self._data(look, part.attachment)
            if data:
                return part, AudioPart(data)
        if part.transcript is None:
            part = await self._listened(look, part, attachment)
        if part.transcript is None:
            return part, AudioPart()
        return part, TextPart(part.transcript or NOTHING_SAID)

    async def _file(self, look: "_Look", part: FilePart) -> TextPart:
        """Return the text of a file in a fenced block below its name."""
        found = look.found.get(part.attachment)
        data = await self._bytes(look, found)
        if data is None:
            return TextPart(f"[The file {file_name(part.name)} cannot be read. Do not guess what is in it.]")
        return text_file_part(part.name, data)

    async def _listened(self, look: "_Look", part: AudioPart, attachment: Attachment | None) -> AudioPart:
        if attachment is None or self._attachments is None:
            look.trouble = "The recording is gone"
        elif self._transcriber is None:
            why = "cannot hear this kind of recording" if look.can.audio else "cannot hear recordings"
            look.trouble = f"{look.model} {why}, and this server does not transcribe them"
        else:
            look.reply.state(State("reading", model=look.model, detail="Listening to the recording."))
            try:
                data = await self._attachments.read(attachment)
                async with asyncio.timeout(LISTEN_SECONDS):
                    said = await self._transcriber.transcribe(data, attachment.media_type)
                return replace(part, transcript=clean_text(said).strip()[:MAX_TEXT_LENGTH])
            except TimeoutError:
                look.failure = EngineTimeoutError(
                    f"Nobody came to the end of the recording within {LISTEN_SECONDS:g} s. Send a shorter one."
                )
            except EngineError as error:
                look.failure = error
            except LegatoError as error:
                look.failure = EngineUnavailableError(error.message)
            look.trouble = f"The recording could not be put into words: {look.failure.message.rstrip('.')}"
        return part

    async def _data(self, look: "_Look", attachment: str | None) -> str:
        """Return the `data:` URL of an attachment; empty if it is gone, or too large beside the others."""
        found = look.found.get(attachment or "")
        data = await self._bytes(look, found)
        if data is None or found is None:
            return ""
        encoded = await asyncio.to_thread(base64.b64encode, data)
        return f"data:{found.media_type};base64,{encoded.decode()}"

    async def _bytes(self, look: "_Look", found: Attachment | None) -> bytes | None:
        """Return the bytes of an attachment; None if it is gone, or too large beside the others."""
        if found is None or self._attachments is None:
            look.trouble = "What was sent is gone"
            return None
        if found.size > look.bytes:
            look.trouble = f"{look.model} is shown {BYTES // (1024 * 1024)} MiB at once, and no more"
            return None
        try:
            data = await self._attachments.read_upright(found)
        except LegatoError as error:
            logger.warning("Attachment %s: %s", found.id, error.message)
            look.trouble = "The file of what was sent is gone"
            return None
        look.bytes -= len(data)
        return data

    async def _tell(self, look: "_Look", asked: Message, perceived: Message) -> None:
        """Tell the user what of the last message the model does not get. If that is all of it, raise: there is nothing to answer."""
        because = ". ".join(look.troubles)
        some = any(isinstance(part, ImagePart | AudioPart) and part.data for part in perceived.parts)
        if text_of(perceived.parts).strip() or some:
            look.reply.notice = f"{because}. The answer is without {_what(asked.parts)}."
            return
        if look.failure is not None:
            raise look.failure
        health = await look.reply.assistant.engine.health()
        if not health.ok:
            raise EngineUnavailableError(health.detail)
        raise EngineRefusedError(f"{because}. Say it in words, or ask a model that can.")


class _Look:
    """What one request may still hold, and what went wrong so far."""

    def __init__(self, reply: Reply, can: Capabilities, found: dict[str, Attachment]) -> None:
        self.reply = reply
        self.can = can
        self.found = found
        self.model = reply.assistant.model or "The model"
        self.pictures = PICTURES
        self.bytes = BYTES
        self.trouble = ""
        self.troubles: list[str] = []
        self.failure: EngineError | None = None

    def kind(self, part: ImagePart) -> str:
        """Return the media type of a picture; empty if it is gone, which is found out when it is read."""
        if part.data:
            return media_type_of(part.data)
        found = self.found.get(part.attachment or "")
        return found.media_type if found is not None else ""


def _what(parts: Sequence[Part]) -> str:
    pictures = any(isinstance(part, ImagePart) for part in parts)
    recordings = any(isinstance(part, AudioPart) for part in parts)
    files = any(isinstance(part, FilePart) for part in parts)
    if pictures + recordings + files > 1:
        return "some of it"
    return "a picture" if pictures else "a recording" if recordings else "a file"
