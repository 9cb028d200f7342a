"""OpenAI's transcription of recordings: the official SDK on a real port."""

import io
import wave
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import openai
import pytest
from tests.doubles.transcriptions import TranscriptionsDouble
from tests.gateway.server import calling, serving, settings_for

from legato.api.openai.transcription import transcription_object
from legato.engines.transcription import Transcript, TranscriptSegment
from legato.gateway.server import Server


def recording() -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8000)
        sound.writeframes(b"\0\0" * 800)
    return file.getvalue()


@pytest.fixture
async def double() -> AsyncIterator[TranscriptionsDouble]:
    async with TranscriptionsDouble() as double:
        yield double


@pytest.fixture
async def server(tmp_path: Path, double: TranscriptionsDouble) -> AsyncIterator[Server]:
    audio = {"engine": "openai", "url": f"{double.url}/v1", "model": "tiny"}
    async with serving(settings_for(tmp_path, audio=audio)) as server:
        yield server


@pytest.fixture
async def client(server: Server) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=f"{server.address}/v1", api_key="none", max_retries=0) as client:
        yield client


async def test_a_recording_in_all_formats(
    server: Server, client: openai.AsyncOpenAI, double: TranscriptionsDouble
) -> None:
    file = ("speech.wav", recording())
    done = await client.audio.transcriptions.create(
        model="whisper-1", file=file, language="en", prompt="Names: Ada", temperature=0.5
    )
    assert done.text == double.text
    assert {name: double.forms[0][name] for name in ("model", "language", "prompt", "temperature")} == {
        "model": "tiny",
        "language": "en",
        "prompt": "Names: Ada",
        "temperature": "0.5",
    }
    assert double.forms[0]["file"][1:] == ("audio/wav", recording())
    text = await client.audio.transcriptions.create(model="tiny", file=file, response_format="text")
    assert text == double.text + "\n"
    detailed = await client.audio.transcriptions.create(
        model="tiny", file=file, response_format="verbose_json", timestamp_granularities=["segment"]
    )
    assert detailed.text == double.text
    assert double.forms[-1]["response_format"] == "verbose_json"
    async with calling(server) as http, http.get("/api/usage") as answer:
        assert (await answer.json())["total"]["requests"] == 3


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"response_format": "srt"}, "response_format"),
        ({"file": ("a.wav", b"no sound")}, "file"),
        ({"temperature": 2}, "temperature"),
        ({"language": "english"}, "language"),
        ({"timestamp_granularities": ["word"]}, "timestamp_granularities"),
        ({"include": ["logprobs"]}, "include"),
        ({"extra_body": {"stream": "true"}}, "stream"),
    ],
)
async def test_what_cannot_be_done_names_its_field(
    client: openai.AsyncOpenAI, fields: dict[str, Any], param: str
) -> None:
    asked: dict[str, Any] = {"model": "tiny", "file": ("speech.wav", recording())}
    with pytest.raises(openai.BadRequestError) as caught:
        await client.audio.transcriptions.create(**(asked | fields))
    assert caught.value.param == param


async def test_errors_are_openais(
    client: openai.AsyncOpenAI, server: Server, double: TranscriptionsDouble
) -> None:
    with pytest.raises(openai.NotFoundError, match="puts recordings into words"):
        await client.audio.transcriptions.create(model="none", file=("speech.wav", recording()))
    double.status, double.body = 400, {"error": {"message": "Too short."}}
    with pytest.raises(openai.BadRequestError, match="Too short"):
        await client.audio.transcriptions.create(model="tiny", file=("speech.wav", recording()))
    async with aiohttp.ClientSession(server.address) as http:
        for body in ({"data": b"x"}, {"json": {"model": "tiny"}}, {"data": {"model": "tiny"}}):
            answer = await http.post("/v1/audio/transcriptions", **body)
            assert answer.status == 400
            assert (await answer.json())["error"]["type"] == "invalid_request_error"
        broken = {"content-type": "multipart/form-data; boundary=x"}
        answer = await http.post("/v1/audio/transcriptions", data=b"--y\r\nno", headers=broken)
        assert answer.status == 400
        assert "error" in await answer.json()


async def test_without_a_transcriber_the_error_says_what_to_set(tmp_path: Path) -> None:
    async with (
        serving(settings_for(tmp_path)) as server,
        openai.AsyncOpenAI(base_url=f"{server.address}/v1", api_key="none", max_retries=0) as client,
    ):
        with pytest.raises(openai.BadRequestError, match=r"engine` in \[audio\]"):
            await client.audio.transcriptions.create(model="whisper-1", file=("a.wav", recording()))


def test_segments_have_their_times() -> None:
    found = Transcript(
        "a b", "en", 2.0, (TranscriptSegment(0.0, 1.0, "a"), TranscriptSegment(1.0, 2.0, " b"))
    )
    told = transcription_object(found, detailed=True)
    assert (told["language"], told["duration"], told["text"]) == ("en", 2.0, "a b")
    assert told["segments"][1] == {"id": 1, "start": 1.0, "end": 2.0, "text": " b"}
