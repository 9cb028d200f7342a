"""Each example is started as it stands, and spoken to by a client of the system that it stands for.

Only what a machine of a test has not is put in its place, by the environment as a person would: where Ollama and MongoDB
are, which file the embedded model is, and the ports.
"""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from tests.dialects.clients.accumulating import accumulating
from tests.dialects.clients.chunks import thread
from tests.dialects.clients.rooms import room
from tests.dialects.clients.tokens import bubble, chat
from tests.dialects.serving import SECRET, token
from tests.doubles.ollama import OllamaDouble, Scripted, words
from tests.gateway.server import calling, serving
from tests.gateway.test_fleet import first_agent
from tests.services import mongo_server

from legato.gateway.config import load_settings
from legato.gateway.server import Server
from legato.gateway.settings import Settings

EXAMPLES = Path(__file__).parents[2] / "examples"

MEDICAL = (
    "⚠️ **Medical Disclaimer**: This information is for educational purposes only and should not replace "
    "professional medical advice. Please consult with a healthcare provider for medical concerns."
)

Start = Callable[..., AbstractAsyncContextManager[Server]]


def read(example: str, flags: dict[str, Any] | None = None, **environ: str) -> Settings:
    """The example as it would be on a machine with nothing else set."""
    return load_settings({"config": EXAMPLES / example / "legato.toml", **(flags or {})}, environ)


@pytest.fixture
def start(tmp_path: Path) -> Start:
    @asynccontextmanager
    async def one(example: str, flags: dict[str, Any] | None = None, **environ: str) -> AsyncIterator[Server]:
        away = {"port": 0, "data_dir": tmp_path / "data", **(flags or {})}
        async with serving(read(example, away, **environ)) as server:
            yield server

    return one


def test_every_example_is_here() -> None:
    found = {file.parent.name for file in EXAMPLES.glob("*/legato.toml")}
    assert found == {"ollama-chat", "room", "property", "orchestrator", "healthcare"}
    assert all((EXAMPLES / name / "README.md").is_file() for name in found)


class TestOllamaChat:
    MODELS = ("llama3:8b-instruct-q4_0", "phi3:mini-instruct")

    def test_it_is_set_as_that_system_was(self) -> None:
        assistant = read("ollama-chat").assistants["default"]
        assert (assistant.model, assistant.backup_model) == self.MODELS
        assert (assistant.history, assistant.timeout) == (20, 300)

    async def test_it_talks(self, start: Start) -> None:
        models = {name: Scripted(words(f"Hello from {name}.")) for name in self.MODELS}
        async with (
            OllamaDouble(models) as ollama,
            start("ollama-chat", OLLAMA_HOST=ollama.url) as server,
            accumulating(server.address) as client,
        ):
            answer = await client.ask("Hello")
            assert answer.bubble == "Hello from llama3:8b-instruct-q4_0."
            assert answer.first("message_complete")["model_used"] == self.MODELS[0]

    async def test_the_backup_answers_where_the_first_model_is_gone(self, start: Start) -> None:
        async with (
            OllamaDouble({self.MODELS[1]: Scripted(words("Hello from the other."))}) as ollama,
            start("ollama-chat", OLLAMA_HOST=ollama.url) as server,
            accumulating(server.address) as client,
        ):
            answer = await client.ask("Hello")
            assert answer.bubble == "Hello from the other."
            assert answer.first("message_complete")["model_used"] == self.MODELS[1]


@pytest.mark.llama
class TestRoom:
    @pytest.fixture
    def model(self, tmp_path: Path) -> str:
        pytest.importorskip("xllamacpp")
        pytest.importorskip("gguf")
        from legato.testing.gguf import scripted_model

        return str(scripted_model(tmp_path / "model.gguf", "Welcome both of you"))

    async def test_whoever_has_a_token_joins_and_hears_the_model(self, start: Start, model: str) -> None:
        environ = {"LEGATO_JWT_SECRET": SECRET, "LEGATO_ASSISTANTS__DEFAULT__MODEL": model}
        async with (
            start("room", **environ) as server,
            room(server.address, token=token("ada")) as ada,
            room(server.address, token=token("bob")) as bob,
        ):
            await ada.join("kitchen")
            await bob.join("kitchen")
            await ada.chat("Hello")
            assert [(await each.reply())["content"] for each in (ada, bob)] == ["Welcome both of you"] * 2
            await bob.chat("/who")
            assert "bob: member" in str(await bob.until("command_response"))


class LooksUp(OllamaDouble):
    """An Ollama whose model asks for a document first, and answers once it has it."""

    NAME = "qwen3:0.6b-fp16"

    def __init__(self) -> None:
        call = json.dumps(
            {"name": "find_documents", "arguments": {"collection": "bookings", "filter": {"guest": "Grace"}}}
        )
        self.call = Scripted(["<tool_call>", f"\n{call}\n", "</tool_call>"])
        self.answer = Scripted(words("Grace stays 3 nights."))
        super().__init__({self.NAME: self.call})

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        done = (await request.json())["messages"][-1]["role"] == "tool"
        self.models[self.NAME] = self.answer if done else self.call
        return await super()._chat(request)


class TestProperty:
    def test_it_is_set_as_that_system_was(self) -> None:
        settings = read("property")
        assistant = settings.assistants["default"]
        assert assistant.model == "qwen3:0.6b-fp16"
        assert assistant.options == {
            "temperature": 0.3,
            "num_ctx": 2048,
            "num_predict": 256,
            "num_thread": 8,
        }
        assert settings.server.port == 8000
        assert assistant.tools == ("mongodb",)

    @pytest.mark.mongodb
    async def test_it_looks_things_up_where_one_can_watch(self, start: Start) -> None:
        pymongo = pytest.importorskip("pymongo")
        with mongo_server() as mongodb:
            with pymongo.MongoClient(mongodb.uri) as documents:
                documents["pms"]["bookings"].insert_one({"guest": "Grace", "nights": 3})
            async with (
                LooksUp() as ollama,
                start("property", OLLAMA_HOST=ollama.url, LEGATO_TOOLS__MONGODB__URI=mongodb.uri) as server,
                chat(server.address) as client,
            ):
                await client.say("How long does Grace stay?")
                frames = await client.answer()
        kinds = [frame["type"] for frame in frames if frame["type"] != "token"]
        assert kinds == ["tool_start", "tool_end", "complete"]
        started, ended = frames[0], frames[1]
        assert started["tool_name"] == ended["tool_name"] == "find_documents"
        assert '"nights":3' in ended["output"].replace(" ", "")
        assert bubble(frames) == "Grace stays 3 nights."
        assert ollama.chats[0]["options"]["num_ctx"] == 2048


class TestOrchestrator:
    def test_agents_come_in_at_8081(self) -> None:
        assert read("orchestrator").server.agents_port == 8081

    async def test_an_agent_of_the_first_generation_answers_a_browser_and_a_conversation(
        self, start: Start
    ) -> None:
        async with start("orchestrator", {"agents_port": 0}) as server:
            assert server.agents_address is not None
            said = ["Hello", " there"]
            async with (
                first_agent(server.agents_address, ["llama2"], said, path="/") as agent,
                calling(server) as http,
                accumulating(server.address) as client,
            ):
                body = {"messages": [{"role": "user", "content": "Hi"}], "model": "llama2"}
                async with http.post("/api/chat/completions", json=body) as response:
                    lines = [line for line in (await response.text()).split("\n\n") if line]
                assert [json.loads(line[6:])["token"] for line in lines[:-1]] == said
                assert lines[-1] == "data: [DONE]"
                assert (await client.ask("Hi")).bubble == "Hello there"
                assert len([frame for frame in agent.heard if frame["type"] == "job"]) == 2


class TestHealthcare:
    @pytest.mark.parametrize("assistant", [None, "echo", "markov"])
    async def test_every_reply_ends_with_the_disclaimer(self, start: Start, assistant: str | None) -> None:
        query = {"assistant": assistant} if assistant else {}
        at_once = {
            f"LEGATO_ASSISTANTS__{name}__OPTIONS__TOKENS_PER_SECOND": "0" for name in ("DEFAULT", "MARKOV")
        }
        async with (
            start("healthcare", **at_once) as server,
            thread(server.address, "visit", **query) as client,
        ):
            done = await client.ask("Say nothing of a disclaimer")
            text = done["text"]
            assert text.endswith(f"\n\n{MEDICAL}")
            assert text.count(MEDICAL) == 1
            if assistant == "echo":
                assert text == f"Say nothing of a disclaimer\n\n{MEDICAL}"

    async def test_without_a_socket_and_over_rest_it_is_the_same(self, start: Start) -> None:
        async with start("healthcare") as server, calling(server) as http:
            path = "/api/conversations/visit/messages/chat?assistant=echo"
            async with http.post(path, json={"text": MEDICAL}) as response:
                assert (await response.json())["text"] == MEDICAL
            async with http.get("/api/conversations/visit") as response:
                messages = (await response.json())["messages"]
            assert [each["text"] for each in messages] == [MEDICAL, MEDICAL]

    async def test_the_model_is_an_assistant_beside_them(self, start: Start) -> None:
        models = {"llama3:8b-instruct-q4_0": Scripted(words("Rest and drink."))}
        async with (
            OllamaDouble(models) as ollama,
            start("healthcare", OLLAMA_HOST=ollama.url) as server,
            thread(server.address, "visit", assistant="ollama") as client,
        ):
            done = await client.ask("I have a cold")
            assert done["text"] == f"Rest and drink.\n\n{MEDICAL}"
            await client.ask("And now?")
            assert not any(MEDICAL in turn["content"] for turn in ollama.chats[-1]["messages"])
