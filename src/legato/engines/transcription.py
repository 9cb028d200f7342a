"""What is asked of a transcription, and what comes of it."""

from typing import Protocol

from msgspec import Struct


class TranscriptionRequest(Struct, frozen=True):
    """What a caller asks for beside the recording. `language` is ISO 639-1, `prompt` a text that leads the model's spelling. `detailed`:
    the segments are asked for, too.
    """

    language: str | None = None
    prompt: str | None = None
    temperature: float | None = None
    detailed: bool = False


class TranscriptSegment(Struct, frozen=True):
    """A part of a recording, in seconds, and what is said in it."""

    start: float
    end: float
    text: str


class Transcript(Struct, frozen=True):
    """The speech of a recording. `language` and `duration` (seconds) are None, and there are no segments, if they were not asked for or are
    not known.
    """

    text: str
    language: str | None = None
    duration: float | None = None
    segments: tuple[TranscriptSegment, ...] = ()


class Transcriber(Protocol):
    """Transcribes recordings."""

    @property
    def model(self) -> str:
        """The name of its model."""
        ...

    async def transcript(self, data: bytes, media_type: str, request: TranscriptionRequest) -> Transcript:
        """Return the speech of a recording.

        :raises EngineError: it failed; the sentence says why.
        """
        ...

    async def transcribe(self, data: bytes, media_type: str) -> str:
        """Return the speech of a recording as text; empty if there is none.

        :raises EngineError: it failed; the sentence says why.
        """
        ...

    async def close(self) -> None: ...
