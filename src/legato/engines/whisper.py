"""Transcription in this process, with faster-whisper (the extra `legato[audio]`)."""

import asyncio
import io
import logging
import threading
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from legato.disk import is_disk_full
from legato.engines.transcription import Transcript, TranscriptionRequest, TranscriptSegment
from legato.errors import EngineError, EngineRefusedError, EngineUnavailableError

logger = logging.getLogger(__name__)

MISSING = "The package faster-whisper is missing: install it with `pip install 'legato[audio]'`."


class WhisperTranscriber:
    """`model` is a size (`base`, `small` …), a repository with a model in the format of CTranslate2, or a directory with one.

    The model is loaded with the first recording, from `directory` or, if it is not there, from the network. One recording is
    transcribed at a time, on a thread of its own; cancelling a call does not stop its thread. If `threads` is None, the
    library chooses the number; `language` (ISO 639-1) helps if it is known.

    :raises EngineUnavailableError: the package is missing.
    """

    def __init__(
        self,
        model: str,
        *,
        directory: Path,
        language: str | None = None,
        threads: int | None = None,
    ) -> None:
        if find_spec("faster_whisper") is None:
            raise EngineUnavailableError(MISSING)
        self._name = model
        self._directory = directory
        self._language = language
        self._threads = threads
        self._model: Any = None
        self._lock = threading.Lock()

    @property
    def model(self) -> str:
        return self._name

    async def transcribe(self, data: bytes, media_type: str) -> str:
        return (await self.transcript(data, media_type, TranscriptionRequest())).text

    async def transcript(self, data: bytes, media_type: str, request: TranscriptionRequest) -> Transcript:
        return await asyncio.to_thread(self._transcribe, data, request)

    async def close(self) -> None:
        self._model = None

    def _transcribe(self, data: bytes, request: TranscriptionRequest) -> Transcript:
        options: dict[str, Any] = {"language": request.language or self._language, "vad_filter": True}
        if request.prompt is not None:
            options["initial_prompt"] = request.prompt
        if request.temperature is not None:
            options["temperature"] = request.temperature
        with self._lock:
            model = self._load()
            try:
                segments, info = model.transcribe(io.BytesIO(data), **options)
                listed = list(segments)
                text = "".join(segment.text for segment in listed).strip()
                if not request.detailed:
                    return Transcript(text)
                parts = tuple(TranscriptSegment(each.start, each.end, each.text) for each in listed)
                return Transcript(text, info.language, info.duration, parts)
            except Exception as error:
                # FFmpeg decodes the recording, and raises errors of many types.
                logger.info("A recording could not be read", exc_info=error)
                raise EngineRefusedError(
                    "The recording cannot be read. Record it anew, or send it as a WAV."
                ) from error

    def _load(self) -> Any:
        if self._model is None:
            from faster_whisper import WhisperModel

            try:
                self._model = WhisperModel(
                    self._name,
                    device="auto",
                    compute_type="default",
                    cpu_threads=self._threads or 0,
                    download_root=str(self._directory),
                )
            except Exception as error:
                raise self._load_error(error) from error
        return self._model

    def _load_error(self, error: Exception) -> EngineError:
        logger.warning("The whisper model %s cannot be loaded", self._name, exc_info=error)
        if is_disk_full(error):
            return EngineUnavailableError(
                f"The disk of {self._directory} is full, so the whisper model {self._name!r} could not be stored. Make room there, and try again."
            )
        return EngineUnavailableError(
            f"The whisper model {self._name!r} cannot be loaded or fetched. Set `model` in [audio] to a directory with one."
        )
