"""Transcription of recordings by any server with OpenAI's `/v1/audio/transcriptions`."""

import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from legato.engines.http import HttpClient, HttpResponse
from legato.engines.openai.engine import base_url
from legato.engines.openai.errors import failure
from legato.engines.transcription import Transcript, TranscriptionRequest, TranscriptSegment
from legato.errors import EngineBrokeError, EngineError, EngineRefusedError, ModelNotFoundError

SUFFIXES: Final = {
    "audio/wav": "wav",
    "audio/mpeg": "mp3",
    "audio/ogg": "ogg",
    "audio/flac": "flac",
    "audio/mp4": "m4a",
    "audio/aac": "aac",
    "audio/webm": "webm",
}
"""Extensions of recordings: servers detect the format by the file name."""


class _Segment(Struct):
    start: float = 0.0
    end: float = 0.0
    text: str = ""


class _TranscriptionResponse(Struct):
    text: str
    language: str | None = None
    duration: float | str | None = None
    segments: list[_Segment] | None = None


class OpenAITranscriber:
    """Requests `model` of the server at `url` (with or without `/v1`). `language` (ISO 639-1) helps if it is known.

    :raises SettingsError: the URL is invalid, or `ca_file` cannot be read.
    """

    def __init__(
        self,
        url: str,
        model: str,
        *,
        api_key: str | None = None,
        language: str | None = None,
        ca_file: str | Path | None = None,
    ) -> None:
        self._server = HttpClient(
            base_url(url),
            who="The transcription server",
            remedy="Check that it runs, and that its URL in [audio] is right.",
            ca_file=ca_file,
            headers={"Authorization": f"Bearer {api_key}"} if api_key else {},
        )
        self._model = model
        self._language = language

    @property
    def model(self) -> str:
        return self._model

    async def transcribe(self, data: bytes, media_type: str) -> str:
        return (await self.transcript(data, media_type, TranscriptionRequest())).text

    async def transcript(self, data: bytes, media_type: str, request: TranscriptionRequest) -> Transcript:
        fields = {"model": self._model, "response_format": "verbose_json" if request.detailed else "json"}
        if (language := request.language or self._language) is not None:
            fields["language"] = language
        if request.prompt is not None:
            # A prompt may have the characters of a form's lines, but not its boundary, which is random.
            fields["prompt"] = request.prompt
        if request.temperature is not None:
            fields["temperature"] = f"{request.temperature:g}"
        boundary = secrets.token_hex(16)
        body = form(boundary, fields, f"recording.{SUFFIXES.get(media_type, 'bin')}", media_type, data)
        kind = f"multipart/form-data; boundary={boundary}"
        async with self._server.request("POST", "audio/transcriptions", body, kind) as answer:
            if answer.status != 200:
                raise await self._error(answer)
            body = await answer.read()
        try:
            found = msgspec.json.decode(body, type=_TranscriptionResponse)
            duration = None if found.duration is None else float(found.duration)
        except (msgspec.DecodeError, ValueError) as error:
            raise EngineBrokeError(
                f"{self._server.who} did not answer with a transcript. Check its URL."
            ) from error
        segments = tuple(TranscriptSegment(each.start, each.end, each.text) for each in found.segments or ())
        return Transcript(found.text, found.language, duration, segments)

    async def close(self) -> None:
        await self._server.close()

    async def _error(self, answer: HttpResponse) -> EngineError:
        status, who = answer.status, self._server.who
        found = failure(await answer.error_body())
        body_text = found.message if found else ""
        if status in (401, 403):
            return EngineRefusedError(f"{who} does not accept the key: set `api_key` in [audio].")
        if status == 404 and "model" in body_text.lower():
            return ModelNotFoundError(f"{who} has no model {self._model}: set another `model` in [audio].")
        if status == 404:
            return EngineRefusedError(f"{who} puts no recordings into words. Check the URL in [audio].")
        if status in (400, 413, 415, 422):
            return EngineRefusedError(f"{who} does not take this recording: {body_text or status}.")
        return self._server.unexpected_status(status, answer.headers, body_text)


def form(boundary: str, fields: Mapping[str, str], name: str, media_type: str, data: bytes) -> bytes:
    """Return a `multipart/form-data` body (RFC 7578) of fields and one file. No name of a field may contain a quote or a line break."""
    lines = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n'
        for key, value in fields.items()
    ]
    head = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n'
        f"Content-Type: {media_type}\r\n\r\n"
    )
    return b"".join(["".join(lines).encode(), head.encode(), data, f"\r\n--{boundary}--\r\n".encode()])
