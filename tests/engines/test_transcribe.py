"""Recordings put into words by a server, and by whisper in this process."""

import sys
from collections.abc import Iterator
from importlib.machinery import ModuleSpec
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from tests.chat.media.files import SOUND, SPOKEN
from tests.doubles.transcriptions import TranscriptionsDouble

from legato.engines import whisper
from legato.engines.transcribe import OpenAITranscriber
from legato.engines.whisper import WhisperTranscriber
from legato.errors import (
    EngineBrokeError,
    EngineError,
    EngineRefusedError,
    EngineUnavailableError,
    ModelNotFoundError,
)


async def test_a_server_gets_the_recording_as_a_form_and_answers_with_its_words():
    async with TranscriptionsDouble(api_key="k") as server:
        ear = OpenAITranscriber(server.url, "whisper-1", api_key="k", language="en")
        assert await ear.transcribe(SPOKEN, "audio/webm") == "The quick brown fox."
        assert await ear.transcribe(SOUND, "audio/wav") == "The quick brown fox."
        await ear.close()
    fields = {"model": "whisper-1", "response_format": "json", "language": "en"}
    assert server.forms == [
        {**fields, "file": ("recording.webm", "audio/webm", SPOKEN)},
        {**fields, "file": ("recording.wav", "audio/wav", SOUND)},
    ]


@pytest.mark.parametrize(
    ("status", "body", "error", "said"),
    [
        (400, {"error": {"message": "Invalid file format."}}, EngineRefusedError, "Invalid file format"),
        (413, "too big", EngineRefusedError, "413"),
        (404, {"error": {"message": "The model `x` does not exist"}}, ModelNotFoundError, "no model w"),
        (404, "404 page not found", EngineRefusedError, "no recordings into words"),
        (503, {"error": {"message": "overloaded"}}, EngineUnavailableError, "no room"),
        (500, "oops", EngineUnavailableError, "500"),
        (200, "<html>", EngineBrokeError, "transcript"),
    ],
)
async def test_every_refusal_of_a_server_is_a_sentence(status, body, error, said):
    async with TranscriptionsDouble() as server:
        server.status, server.body = status, body
        ear = OpenAITranscriber(f"{server.url}/v1", "w")
        with pytest.raises(error, match=said):
            await ear.transcribe(SOUND, "audio/wav")
        await ear.close()


async def test_a_wrong_key_and_a_server_that_is_away_are_reported():
    async with TranscriptionsDouble(api_key="right") as server:
        ear = OpenAITranscriber(server.url, "w", api_key="wrong")
        with pytest.raises(EngineRefusedError, match="api_key"):
            await ear.transcribe(SOUND, "audio/wav")
    with pytest.raises(EngineUnavailableError, match="cannot be reached"):
        await ear.transcribe(SOUND, "audio/wav")
    await ear.close()


class FakeWhisper:
    """What of faster-whisper is used, in its shape (1.2): segments come as they are asked for."""

    made: list[tuple[Any, ...]]

    def __init__(self, model: str, **options: Any) -> None:
        type(self).made.append((model, options))
        if model == "missing":
            raise RuntimeError("Unable to open file 'model.bin' in model 'missing'")

    def transcribe(self, audio: Any, **options: Any) -> tuple[Iterator[Any], Any]:
        self.options = options
        if audio.read() == b"broken":
            raise ValueError("Invalid data found when processing input")
        words = [" Good", " morning."]
        return (SimpleNamespace(text=word) for word in words), SimpleNamespace(language="en")


@pytest.fixture
def library(monkeypatch) -> type[FakeWhisper]:
    module = ModuleType("faster_whisper")
    module.__spec__ = ModuleSpec("faster_whisper", None)
    FakeWhisper.made = []
    module.WhisperModel = FakeWhisper  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "faster_whisper", module)
    return FakeWhisper


async def test_whisper_loads_its_model_with_the_first_recording_and_keeps_it(library, tmp_path):
    ear = WhisperTranscriber("base", directory=tmp_path, threads=2)
    assert library.made == []
    assert await ear.transcribe(SOUND, "audio/wav") == "Good morning."
    assert await ear.transcribe(SOUND, "audio/wav") == "Good morning."
    ((model, options),) = library.made
    assert (model, options["download_root"], options["cpu_threads"]) == ("base", str(tmp_path), 2)
    await ear.close()


@pytest.mark.parametrize(
    ("model", "data", "error", "said"),
    [
        ("missing", SOUND, EngineUnavailableError, "'missing' cannot be loaded"),
        ("base", b"broken", EngineRefusedError, "cannot be read"),
    ],
)
async def test_a_model_that_is_missing_and_a_recording_that_is_broken_are_sentences(
    library, tmp_path, model, data, error: type[EngineError], said
):
    with pytest.raises(error, match=said):
        await WhisperTranscriber(model, directory=tmp_path).transcribe(data, "audio/wav")


def test_without_the_package_the_error_says_how_to_get_it(monkeypatch, tmp_path):
    monkeypatch.setattr(whisper, "find_spec", lambda name: None)
    with pytest.raises(EngineUnavailableError, match=r"legato\[audio\]"):
        WhisperTranscriber("base", directory=tmp_path)
