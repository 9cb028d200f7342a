"""A picture on its whole way: from a person to a model that sees, in this process, at an agent, or nowhere."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.chat.media.files import PICTURE, data_url
from tests.chat.media.test_sniff import png
from tests.doubles.ollama import OllamaDouble, Scripted, words
from tests.doubles.openai import OpenAIDouble
from tests.doubles.openai import said as saying

from legato.agent.agent import Agent
from legato.agent.engine_pool import EnginePool, EngineSource
from legato.engines.base import Capabilities
from legato.engines.message_format import NOT_SHOWN
from legato.engines.openai.engine import OpenAIEngine
from legato.gateway.server import Server
from legato.testing.engine import ScriptedEngine

from .server import calling, serving, settings_for
from .test_attachments import talked, uploaded
from .test_fleet import first_agent, until

FLEET = {"default": {"engine": "fleet", "model": "m"}}
LARGE = png(100, 100) + bytes(3_000_000)


@asynccontextmanager
async def agent(server: Server, engine: Any, slots: int = 1) -> AsyncIterator[None]:
    dialled = Agent(
        server.address.replace("http", "ws", 1) + "/ws/agents",
        EnginePool([EngineSource(engine, ("m",))]),
        slots=slots,
    )
    running = asyncio.create_task(dialled.run())
    async with calling(server) as http:
        await until(http, lambda fleet: bool(fleet["agents"]) and bool(fleet["agents"][0]["models"]))
    try:
        yield
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_a_large_picture_reaches_the_engine_of_an_agent_as_it_was_sent(tmp_path):
    async with OpenAIDouble() as model, serving(settings_for(tmp_path, assistants=FLEET)) as server:
        model.models[0]["id"] = "m"
        model.script = saying("A", " fox.")
        async with agent(server, OpenAIEngine(model.url)), calling(server) as http:
            made = await uploaded(http, LARGE)
            whole = await talked(http, {"type": "image", "attachment": made["id"]})
        (asked,) = model.completions
    assert asked["messages"][-1]["content"][1]["image_url"]["url"] == data_url(LARGE, "image/png")
    assert whole["messages"][-1]["text"] == "A fox."
    assert "cannot see" not in (whole["messages"][-1]["detail"] or "")


async def test_several_large_pictures_at_once_do_not_make_an_agent_seem_slow(tmp_path):
    engine = ScriptedEngine(models=("m",), capabilities=Capabilities(images=True), reply=("A fox.",))
    async with (
        serving(settings_for(tmp_path, assistants=FLEET)) as server,
        agent(server, engine, slots=4),
        calling(server) as http,
    ):
        made = await uploaded(http, LARGE)
        part = {"type": "image", "attachment": made["id"]}
        every = await asyncio.gather(*(talked(http, part) for _ in range(8)))
    assert {whole["messages"][-1]["text"] for whole in every} == {"A fox."}
    told = [whole["messages"][-1]["detail"] or "" for whole in every]
    assert not any("lost" in detail for detail in told)


async def test_where_an_agent_cannot_see_it_is_reported(tmp_path):
    engine = ScriptedEngine(models=("m",), capabilities=Capabilities(), reply=("What fox?",))
    async with (
        serving(settings_for(tmp_path, assistants=FLEET)) as server,
        agent(server, engine),
        calling(server) as http,
    ):
        whole = await talked(http, {"type": "image", "data": data_url(PICTURE, "image/png")})
        alone = await talked(http, {"type": "image", "data": data_url(PICTURE, "image/png")}, text="")
    assert "m cannot see pictures. The answer is without a picture." in whole["messages"][-1]["detail"]
    assert alone["messages"][-1]["detail"].startswith("m cannot see pictures.")
    assert len(engine.requests) == 1


async def test_an_agent_of_version_1_is_informed_that_there_is_a_picture(tmp_path):
    async with (
        serving(settings_for(tmp_path, assistants=FLEET)) as server,
        calling(server) as http,
        first_agent(server.address, words=["What fox?"]) as old,
    ):
        whole = await talked(http, {"type": "image", "data": data_url(PICTURE, "image/png")})
        job = await old.jobs.get()
    assert job["prompt"] == f"Look:\n\n{NOT_SHOWN}"
    assert "cannot see pictures" in whole["messages"][-1]["detail"]


async def test_an_ollama_gets_pictures_for_its_models_that_see_and_a_word_of_them_for_the_others(tmp_path):
    models = {"eyes": Scripted(words("A fox."), sees=True), "plain": Scripted(words("What fox?"))}
    assistants = {
        "default": {"engine": "ollama", "model": "eyes", "backup_model": "plain"},
        "blind": {"engine": "ollama", "model": "plain"},
    }
    async with OllamaDouble(models) as ollama:
        settings = settings_for(tmp_path, engines={"ollama": {"url": ollama.url}}, assistants=assistants)
        part = {"type": "image", "data": data_url(PICTURE, "image/png")}
        async with serving(settings) as server, calling(server) as http:
            seen = await talked(http, part)
            blind = await talked(http, part, assistant="blind")
            alone = await talked(http, part, assistant="blind", text="")
            del ollama.models["eyes"]
            backup = await talked(http, part)
        said = [chat["messages"][-1] for chat in ollama.chats]
    base64 = data_url(PICTURE, "").partition(",")[2]
    note = {"role": "user", "content": f"Look:\n\n{NOT_SHOWN}"}
    picture = {"role": "user", "content": "Look:", "images": [base64]}
    assert said[:2] == [picture, note]
    assert said[-1] == note
    assert seen["messages"][-1]["detail"] is None
    assert blind["messages"][-1]["detail"] == "plain cannot see pictures. The answer is without a picture."
    assert alone["messages"][-1]["status"] == "interrupted"
    assert "plain answers instead without what it cannot see or hear" in backup["messages"][-1]["detail"]


@pytest.mark.llama
async def test_a_picture_reaches_a_real_llama(tmp_path: Path) -> None:
    pytest.importorskip("xllamacpp")
    pytest.importorskip("gguf")
    from legato.testing.gguf import projector, scripted_model

    scripted_model(tmp_path / "eyes.gguf", "I see a small picture")
    settings = settings_for(
        tmp_path / "data",
        engines={"llama": {"mmproj": projector(tmp_path / "mmproj.gguf"), "slots": 1, "threads": 1}},
        assistants={
            "default": {
                "engine": "llama",
                "model": str(tmp_path / "eyes.gguf"),
                "options": {"temperature": 0, "max_tokens": 4},
            }
        },
    )
    async with serving(settings) as server, calling(server) as http:
        blind = await talked(http)
        made = await uploaded(http, PICTURE)
        seen = await talked(http, {"type": "image", "attachment": made["id"]})
    assert seen["messages"][-1]["detail"] is None
    assert seen["messages"][-1]["status"] == "complete"
    words, picture = (each["messages"][-1]["usage"]["prompt_tokens"] for each in (blind, seen))
    assert picture == words + 4, "a picture is four tokens to this model"
