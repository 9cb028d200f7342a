"""`POST /v1/audio/transcriptions`: the fields of the form and the response, without I/O. The format is that of OpenAI's reference, November 2026."""

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct

from legato.api.request_fields import InvalidFieldError
from legato.engines.transcription import Transcript, TranscriptionRequest

FORMATS = ("json", "text", "verbose_json")

_PROMPT_LENGTH = 4000


class TranscriptionForm(Struct, frozen=True):
    """What a form asks for."""

    model: str
    format: str
    request: TranscriptionRequest


def parse_transcription_form(fields: Mapping[str, Sequence[str]]) -> TranscriptionForm:
    """Return what the fields of a form ask for.

    :raises InvalidFieldError: a field is wrong, or asks for what no transcription here does.
    """
    found = {name.removesuffix("[]"): values for name, values in fields.items()}
    model = _one(found, "model")
    if not model:
        raise InvalidFieldError("`model` is required.", "model")
    wanted = _one(found, "response_format") or "json"
    if wanted not in FORMATS:
        raise InvalidFieldError("`response_format` is json, text or verbose_json.", "response_format")
    if (_one(found, "stream") or "false").lower() not in ("false", "0"):
        raise InvalidFieldError("`stream` is not supported here. Leave it out.", "stream")
    if set(found.get("timestamp_granularities", ())) - {"segment"}:
        raise InvalidFieldError("`timestamp_granularities` is segment only.", "timestamp_granularities")
    for name in ("include", "chunking_strategy", "known_speaker_names", "known_speaker_references"):
        if any(found.get(name, ())):
            raise InvalidFieldError(f"`{name}` is not supported here. Leave it out.", name)
    language = _one(found, "language") or None
    if language is not None and not (2 <= len(language) <= 3 and language.isascii() and language.isalpha()):
        raise InvalidFieldError("`language` is a code of ISO 639-1 such as en.", "language")
    prompt = (_one(found, "prompt") or "")[:_PROMPT_LENGTH] or None
    request = TranscriptionRequest(language, prompt, _temperature(found), wanted == "verbose_json")
    return TranscriptionForm(model, wanted, request)


def transcription_object(found: Transcript, *, detailed: bool) -> dict[str, Any]:
    """Return the response as JSON."""
    if not detailed:
        return {"text": found.text}
    return {
        "task": "transcribe",
        "language": found.language or "",
        "duration": found.duration or 0.0,
        "text": found.text,
        "segments": [
            {"id": index, "start": segment.start, "end": segment.end, "text": segment.text}
            for index, segment in enumerate(found.segments)
        ],
    }


def _one(fields: Mapping[str, Sequence[str]], name: str) -> str | None:
    return next(iter(fields.get(name, ())), None)


def _temperature(fields: Mapping[str, Sequence[str]]) -> float | None:
    text = _one(fields, "temperature")
    if not text:
        return None
    try:
        temperature = float(text)
    except ValueError:
        temperature = -1.0
    if not 0 <= temperature <= 1:
        raise InvalidFieldError("`temperature` is between 0 and 1.", "temperature")
    return temperature
