"""The fleet over real sockets: agents of both generations, written from the protocol alone, and old browsers."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from legato.errors import SettingsError
from legato.gateway.auth import issue_token
from legato.gateway.config import load_settings
from legato.gateway.server import Server
from legato.gateway.settings import AuthSettings, Settings

from .server import calling, serving, settings_for


class FirstAgent:
    """An agent of the first generation: it registers, takes a job, sends a token a frame, and says that it is complete.

    `words` are what its Ollama says; None keeps it silent until `release`d.
    """

    def __init__(self, socket: aiohttp.ClientWebSocketResponse, words: list[str] | None) -> None:
        self.socket = socket
        self.words = words
        self.jobs: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.registered = asyncio.Event()
        self.heard: list[dict[str, Any]] = []

    async def run(self, models: list[str]) -> None:
        async for message in self.socket:
            frame = json.loads(message.data)
            self.heard.append(frame)
            match frame["type"]:
                case "welcome":
                    await self.send(type="register", models=models)
                case "registered":
                    self.registered.set()
                case "job":
                    self.jobs.put_nowait(frame)
                    await self.send(type="status", status="busy")
                    if self.words is not None:
                        await self.write(frame, self.words)

    async def write(self, job: dict[str, Any], words: list[str]) -> None:
        for word in words:
            await self.send(type="token", jobId=job["jobId"], token=word, done=False)
        await self.send(type="status", status="idle")
        await self.send(type="job_complete", jobId=job["jobId"])

    async def send(self, **message: Any) -> None:
        await self.socket.send_str(json.dumps(message))


@asynccontextmanager
async def first_agent(
    address: str, models: list[str] | None = None, words: list[str] | None = None, path: str = "/ws/agents"
) -> AsyncIterator[FirstAgent]:
    async with aiohttp.ClientSession() as http, http.ws_connect(address + path) as socket:
        agent = FirstAgent(socket, words)
        running = asyncio.create_task(agent.run(["m"] if models is None else models))
        await agent.registered.wait()
        yield agent
        await socket.close()
        await running


async def complete(http: aiohttp.ClientSession, text: str = "Hello", **more: Any) -> list[str]:
    """The `data:` lines of a completion."""
    body = {"messages": [{"role": "user", "content": text}], "model": "m", **more}
    async with http.post("/api/chat/completions", json=body) as response:
        assert response.status == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        assert response.headers["cache-control"] == "no-cache"
        assert response.headers["x-accel-buffering"] == "no"
        lines = (await response.text()).split("\n\n")
    return [line.removeprefix("data: ") for line in lines if line]


def fleet_settings(folder: Path, **sections: dict[str, Any]) -> Settings:
    return settings_for(folder, assistants={"default": {"engine": "fleet"}}, **sections)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    async with serving(fleet_settings(tmp_path)) as server:
        yield server


WORDS = ["Grüße", " ", "an", " die 🌍", "\n\n", "data: [DONE]", '"quoted"']


async def test_a_reply_through_version_1_is_equal_a_token_an_event(server: Server) -> None:
    async with first_agent(server.address, words=WORDS) as agent, calling(server) as http:
        lines = await complete(http, "Hello", parameters={"temperature": 0.5})
        job = await agent.jobs.get()
    assert [json.loads(line) for line in lines[:-1]] == [{"token": word, "done": False} for word in WORDS]
    assert lines[-1] == "[DONE]"
    assert (job["prompt"], job["parameters"]) == ("Hello", {"temperature": 0.5})
    assert set(job) == {"type", "jobId", "model", "prompt", "parameters"}


def told(lines: list[str]) -> str:
    """The words of a completion."""
    return "".join(json.loads(line).get("token", "") for line in lines if line != "[DONE]")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["One ", "two"], "One two\n\nNo advice."),
        (["One\n"], "One\n\nNo advice."),
        (["No ", "adv", "ice. Hello"], " Hello\n\nNo advice."),
        (["Well. ", "No advice."], "Well. \n\nNo advice."),
        (["No advice."], "No advice."),
        (["There is No adv"], "There is No adv\n\nNo advice."),
    ],
)
async def test_the_disclaimer_follows_once_whatever_the_fleet_says(
    tmp_path: Path, words: list[str], said: str
) -> None:
    settings = settings_for(tmp_path, assistants={"default": {"disclaimer": "No advice.", "engine": "fleet"}})
    async with (
        serving(settings) as server,
        first_agent(server.address, words=words),
        calling(server) as http,
    ):
        lines = await complete(http)
        assert (told(lines), lines[-1]) == (said, "[DONE]")


async def test_a_completion_that_breaks_off_has_its_disclaimer_and_one_without_a_word_none(
    tmp_path: Path,
) -> None:
    settings = settings_for(tmp_path, assistants={"default": {"disclaimer": "No advice.", "engine": "fleet"}})
    async with serving(settings) as server, calling(server) as http:
        async with first_agent(server.address) as agent:
            asked = asyncio.create_task(complete(http))
            job = (await agent.jobs.get())["jobId"]
            await agent.send(type="token", jobId=job, token="Half", done=False)
            await agent.send(type="job_error", jobId=job, error="out of paper")
            lines = await asked
        assert told(lines) == "Half\n\nNo advice."
        assert "out of paper" in json.loads(lines[-1])["error"]
        assert await complete(http) == ['{"error":"No available agents"}']


@pytest.mark.parametrize("last", ["!", ""])
async def test_a_token_that_says_it_is_the_last_says_so_to_the_client(server: Server, last: str) -> None:
    async with first_agent(server.address) as agent, calling(server) as http:
        asked = asyncio.create_task(complete(http))
        job = (await agent.jobs.get())["jobId"]
        await agent.send(type="token", jobId=job, token="Hello", done=False)
        await agent.send(type="token", jobId=job, token=last, done=True)
        await agent.send(type="job_complete", jobId=job)
        lines = await asked
        again = asyncio.create_task(complete(http))
        job = (await agent.jobs.get())["jobId"]
        await agent.send(type="token", jobId=job, token="", done=True)
        silent = await again
    assert [json.loads(line) for line in lines[:-1]] == [
        {"token": "Hello", "done": False},
        {"token": last, "done": True},
    ]
    assert lines[-1] == "[DONE]"
    assert [json.loads(line) for line in silent] == [{"error": "the model said nothing"}]


async def test_the_disclaimer_is_the_last_token_of_a_client_that_stops_there(tmp_path: Path) -> None:
    assistant = {"engine": "fleet", "disclaimer": "No advice."}
    async with (
        serving(settings_for(tmp_path, assistants={"default": assistant})) as server,
        first_agent(server.address) as agent,
        calling(server) as http,
    ):
        asked = asyncio.create_task(complete(http))
        job = (await agent.jobs.get())["jobId"]
        await agent.send(type="token", jobId=job, token="Hello", done=True)
        lines = await asked
    assert [json.loads(line) for line in lines[:-1]] == [
        {"token": "Hello", "done": False},
        {"token": "\n\nNo advice.", "done": True},
    ]


async def test_an_agent_that_registers_again_has_other_models(server: Server) -> None:
    async with first_agent(server.address, [], words=["Hello"]) as agent, calling(server) as http:
        agent.registered.clear()
        await agent.send(type="register", models=["other"])
        await agent.registered.wait()
        assert json.loads((await complete(http, model="m"))[-1]) == {"error": "No available agents"}
        assert told(await complete(http, model="other")) == "Hello"
        agent.registered.clear()
        await agent.send(type="register", models=[])
        await agent.registered.wait()
        assert told(await complete(http, model="m")) == "Hello"


async def test_frames_that_are_no_messages_take_no_reply_back(server: Server) -> None:
    async with first_agent(server.address) as agent, calling(server) as http:
        asked = asyncio.create_task(complete(http))
        job = (await agent.jobs.get())["jobId"]
        await agent.send(type="token", jobId=job, token="Hello", done=False)
        for frame in ["no JSON", "[]", '{"type":"dance"}'] * 20:
            await agent.socket.send_str(frame)
        await agent.send(type="token", jobId=job, token=" you", done=False)
        await agent.send(type="job_complete", jobId=job)
        assert told(await asked) == "Hello you"
        await agent.socket.send_str("no JSON")
        heard = await until(http, lambda view: not view["agents"])
        assert heard["agents"] == []


async def test_parameters_that_no_assistant_allows_reach_no_agent(tmp_path: Path) -> None:
    assistant = {"engine": "fleet", "options": {"num_predict": 64}}
    async with (
        serving(settings_for(tmp_path, assistants={"default": assistant})) as server,
        first_agent(server.address, words=["Hello"]) as agent,
        calling(server) as http,
    ):
        asked = {"num_gpu": 9, "model": "/etc/passwd", "num_predict": 10**9, "stop": ["x"] * 1000, "top_p": 7}
        assert (
            told(await complete(http, parameters=asked | {"options": {"num_ctx": 10**9, "seed": 1}}))
            == "Hello"
        )
        job = await agent.jobs.get()
    assert job["model"] == "m"
    assert job["parameters"] == {"num_predict": 64, "stop": ["x"] * 8, "top_p": 1.0, "options": {"seed": 1}}


async def test_parameters_are_never_null_and_a_history_is_a_transcript(server: Server) -> None:
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Hi"},
        {"role": "user", "content": "And?"},
    ]
    async with first_agent(server.address, words=["x"]) as agent, calling(server) as http:
        await complete(http, messages=messages, parameters=None)
        job = await agent.jobs.get()
    assert job["parameters"] == {}
    assert job["prompt"] == "System: Be brief.\n\nUser: Hello\n\nAssistant: Hi\n\nUser: And?\n\nAssistant:"


async def test_an_agent_that_names_no_models_is_asked_for_any(server: Server) -> None:
    for models in ([], [""]):
        async with first_agent(server.address, models, ["x"]), calling(server) as http:
            assert (await complete(http, model="whatever"))[-1] == "[DONE]"


async def test_names_of_models_may_stand_apart(server: Server) -> None:
    async with first_agent(server.address, ["llama2", " mistral"], ["x"]) as agent, calling(server) as http:
        assert (await complete(http, model="mistral"))[-1] == "[DONE]"
        assert (await agent.jobs.get())["model"] == "mistral"


async def test_without_an_agent_the_error_comes_at_once(server: Server) -> None:
    async with calling(server) as http:
        assert await complete(http) == ['{"error":"No available agents"}']
        async with first_agent(server.address, ["other"]):
            assert await complete(http) == ['{"error":"No available agents"}']


async def test_a_busy_fleet_without_a_queue_refuses_at_once(tmp_path: Path) -> None:
    async with (
        serving(fleet_settings(tmp_path, fleet={"queue_seconds": 0})) as server,
        calling(server) as http,
        first_agent(server.address) as agent,
    ):
        first = asyncio.create_task(complete(http))
        job = await agent.jobs.get()
        assert await complete(http) == ['{"error":"No available agents"}']
        await agent.write(job, ["x"])
        await first


async def test_a_full_line_says_when_to_come_again(tmp_path: Path) -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
    async with (
        serving(fleet_settings(tmp_path, fleet={"queue_size": 1})) as server,
        calling(server) as http,
        first_agent(server.address) as agent,
    ):
        first = asyncio.create_task(complete(http))
        job = await agent.jobs.get()
        second = asyncio.create_task(complete(http))
        await until(http, lambda fleet: fleet["queue"] == 1)
        async with http.post("/api/chat/completions", json=body) as response:
            assert response.status == 429
            assert int(response.headers["retry-after"]) >= 1
            assert response.headers["content-type"].startswith("text/event-stream")
            assert await response.text() == 'data: {"error":"No available agents"}\n\n'
        await agent.write(job, ["x"])
        await agent.write(await agent.jobs.get(), ["x"])
        await asyncio.gather(first, second)


async def test_an_agent_that_says_nothing_is_given_up_for_another(tmp_path: Path) -> None:
    patience = {"default": {"engine": "fleet", "timeout": 60, "first_token_timeout": 0.05}}
    async with (
        serving(settings_for(tmp_path, assistants=patience)) as server,
        calling(server) as http,
        first_agent(server.address) as silent,
    ):
        asked = asyncio.create_task(complete(http))
        await silent.jobs.get()
        async with first_agent(server.address, words=["here"]):
            assert await asked == ['{"token":"here","done":false}', "[DONE]"]


async def test_an_agent_that_falls_silent_in_mid_reply_is_reported(tmp_path: Path) -> None:
    patience = {"default": {"engine": "fleet", "timeout": 0.05}}
    async with (
        serving(settings_for(tmp_path, assistants=patience)) as server,
        calling(server) as http,
        first_agent(server.address) as agent,
    ):
        asked = asyncio.create_task(complete(http))
        job = await agent.jobs.get()
        await agent.send(type="token", jobId=job["jobId"], token="a", done=False)
        word, error = await asked
        assert word == '{"token":"a","done":false}'
        assert error == '{"error":"m said nothing more for 0.05 s. Please try again."}'


async def test_an_empty_reply_and_an_agents_error_are_reported(server: Server) -> None:
    async with first_agent(server.address, words=[]), calling(server) as http:
        assert await complete(http) == ['{"error":"the model said nothing"}']
    async with first_agent(server.address) as agent, calling(server) as http:
        asked = asyncio.create_task(complete(http))
        await agent.send(type="job_error", jobId=(await agent.jobs.get())["jobId"], error="out of memory")
        assert await asked == ['{"error":"out of memory"}']


async def test_a_client_that_leaves_frees_the_agent_once_it_is_done(server: Server) -> None:
    async with first_agent(server.address) as agent, calling(server) as http:
        async with http.post(
            "/api/chat/completions", json={"model": "m", "messages": [{"role": "user", "content": "x"}]}
        ) as response:
            job = await agent.jobs.get()
            await agent.send(type="token", jobId=job["jobId"], token="a", done=False)
            await response.content.readany()
        second = asyncio.create_task(complete(http))
        await until(http, lambda fleet: fleet["queue"] == 1 or fleet["running"] == 0)
        await agent.write(job, ["never seen"])
        await agent.write(await agent.jobs.get(), ["b"])
        assert await second == ['{"token":"b","done":false}', "[DONE]"]


async def until(http: aiohttp.ClientSession, condition: Any) -> dict[str, Any]:
    """Follow the fleet until this holds of it."""
    async with http.get("/api/fleet/stream") as response:
        async for line in response.content:
            if line.startswith(b"data: "):
                fleet: dict[str, Any] = json.loads(line[6:])
                if condition(fleet):
                    return fleet
    raise AssertionError("the stream of the fleet has ended")


async def test_the_fleet_is_described_and_counted(server: Server) -> None:
    async with first_agent(server.address) as agent, calling(server) as http:
        async with http.get("/api/agents/status") as response:
            assert await response.json() == {"total": 1, "idle": 1, "busy": 0}
        asked = asyncio.create_task(complete(http))
        job = await agent.jobs.get()
        fleet = await until(http, lambda fleet: fleet["running"] == 1)
        assert [(each["generation"], each["status"]) for each in fleet["agents"]] == [(1, "busy")]
        async with http.get("/api/agents/status") as response:
            assert await response.json() == {"total": 1, "idle": 0, "busy": 1}
        await agent.write(job, ["x"])
        await asked
        async with http.get("/api/fleet") as response:
            assert (await response.json())["jobs"] == 1


async def test_the_fleet_is_a_stream_to_one_who_accepts_one(server: Server) -> None:
    async with (
        calling(server) as http,
        http.get("/api/fleet", headers={"accept": "text/event-stream"}) as response,
    ):
        assert response.content_type == "text/event-stream"
        assert (await response.content.readline()).startswith(b"data: {")


SECRET = "a secret that is long enough for HS256"
FOREIGN = {"origin": "https://elsewhere.example"}
COMPLETION: dict[str, Any] = {"messages": [{}]}


async def test_with_a_token_any_site_may_ask_unless_those_that_may_are_named(tmp_path: Path) -> None:
    auth = {"jwt_secret": SECRET}
    token = issue_token(AuthSettings.model_validate(auth), "ann", 600, time.time())
    async with (
        serving(fleet_settings(tmp_path / "all", auth=auth)) as server,
        calling(server, token) as http,
    ):
        async with http.options("/api/chat/completions", headers=FOREIGN) as response:
            assert (response.status, response.headers["access-control-allow-origin"]) == (204, "*")
        async with http.post("/api/chat/completions", headers=FOREIGN, json=COMPLETION) as response:
            assert (response.status, response.headers["access-control-allow-origin"]) == (200, "*")
        async with http.post("/api/conversations", headers=FOREIGN, json={}) as response:
            assert response.status == 403
    named = {"cors_origins": ["https://ours.example"]}
    async with (
        serving(fleet_settings(tmp_path / "named", server=named, auth=auth)) as other,
        calling(other, token) as http,
        http.post("/api/chat/completions", headers=FOREIGN, json=COMPLETION) as response,
    ):
        assert response.status == 403


@pytest.mark.parametrize("kind", ["text/plain", "application/json", "application/x-www-form-urlencoded"])
async def test_without_a_token_no_other_site_uses_the_fleet(server: Server, kind: str) -> None:
    body = b'{"messages": [{"content": "Hello"}]}'
    async with calling(server) as http:
        async with http.post(
            "/api/chat/completions", headers={**FOREIGN, "content-type": kind}, data=body
        ) as response:
            assert response.status == 403
            assert "access-control-allow-origin" not in response.headers
        async with http.get("/api/agents/status", headers=FOREIGN) as response:
            assert "access-control-allow-origin" not in response.headers
        async with http.options("/api/chat/completions", headers=FOREIGN) as response:
            assert "access-control-allow-origin" not in response.headers


async def test_without_a_token_a_site_that_is_named_may_use_the_fleet(tmp_path: Path) -> None:
    ours = "https://elsewhere.example"
    async with (
        serving(fleet_settings(tmp_path, server={"cors_origins": [ours]})) as server,
        calling(server) as http,
        http.post("/api/chat/completions", headers=FOREIGN, json=COMPLETION) as response,
    ):
        assert (response.status, response.headers["access-control-allow-origin"]) == (200, ours)


async def test_a_conversation_continues_with_another_agent(server: Server) -> None:
    async with (
        calling(server) as http,
        first_agent(server.address) as lost,
        first_agent(server.address) as kept,
    ):
        async with http.post("/api/conversations", json={}) as response:
            conversation = (await response.json())["id"]
        path = f"/api/conversations/{conversation}"
        async with http.post(f"{path}/messages", json={"text": "Hello"}) as response:
            reply = (await response.json())["reply"]
        job = await lost.jobs.get()
        await lost.send(type="token", jobId=job["jobId"], token="one ", done=False)
        await until(http, lambda fleet: fleet["tokens"] >= 1)
        await lost.socket.close()
        await kept.write(await kept.jobs.get(), ["two ", "three"])
        async with http.get(f"/api/streams/{reply}") as response:
            told = await response.text()
        async with http.get(path) as response:
            message = (await response.json())["messages"][-1]
    assert '"rewound"' in told
    assert (message["status"], message["text"], message["model"]) == ("complete", "two three", "m")
    assert "lost after 4 characters" in message["detail"]


class TestKeys:
    SECRET = "a secret that is long enough for anybody to be content"

    async def refused(self, server: Server, **how: Any) -> tuple[str, int | None]:
        async with aiohttp.ClientSession() as http:
            query = how.pop("query", "")
            async with http.ws_connect(f"{server.address}/ws/agents{query}", **how) as socket:
                first = await socket.receive_json()
                await socket.receive()
                return first["type"], socket.close_code

    async def test_with_keys_no_one_comes_in_without_one(self, tmp_path: Path) -> None:
        fleet = {"agent_keys": ["one", "two"], "keys": {"gpu": {"key": "three", "models": ["m"]}}}
        async with serving(fleet_settings(tmp_path, fleet=fleet)) as server:
            assert await self.refused(server) == ("error", 4001)
            assert await self.refused(server, query="?key=wrong") == ("error", 4001)
            wrong = {"authorization": "Bearer wrong"}
            assert await self.refused(server, headers=wrong) == ("error", 4001)
            async with first_agent(server.address, path="/ws/agents?key=two"):
                pass
            async with (
                first_agent(server.address, ["m", "n"], path="/ws/agents?key=three"),
                calling(server) as http,
            ):
                async with http.get("/api/fleet") as response:
                    (agent,) = (await response.json())["agents"]
                assert [each["name"] for each in agent["models"]] == ["m"]

    async def test_a_persons_token_opens_no_agents_endpoint_and_an_agents_key_no_other(
        self, tmp_path: Path
    ) -> None:
        settings = fleet_settings(tmp_path, auth={"jwt_secret": self.SECRET}, fleet={"agent_keys": ["one"]})
        token = issue_token(settings.auth, "ada", 60, time.time())
        async with serving(settings) as server:
            assert await self.refused(server, headers={"authorization": f"Bearer {token}"}) == ("error", 4001)
            async with calling(server, "one") as http, http.get("/api/fleet") as response:
                assert response.status == 401
            async with calling(server) as http, http.post("/api/chat/completions", json={}) as response:
                assert response.status == 401
            async with calling(server, token) as http, http.get("/api/agents/status") as response:
                assert response.status == 200

    async def test_where_people_need_a_token_agents_need_a_key(self, tmp_path: Path) -> None:
        settings = fleet_settings(tmp_path, auth={"jwt_secret": self.SECRET})
        async with serving(settings) as server:
            assert await self.refused(server) == ("error", 4003)


async def test_on_their_own_port_agents_come_in_by_any_path(tmp_path: Path) -> None:
    async with serving(fleet_settings(tmp_path, server={"agents_port": 0})) as server:
        async with first_agent(server.agents_address, words=["x"], path="/"), calling(server) as http:
            assert (await complete(http))[-1] == "[DONE]"
        async with aiohttp.request("GET", server.agents_address.replace("ws", "http", 1)) as response:
            assert response.status == 404


async def test_an_agent_sends_as_many_frames_as_it_likes(server: Server) -> None:
    words = [f"{number} " for number in range(5000)]
    async with first_agent(server.address, words=words), calling(server) as http:
        lines = await complete(http)
    assert "".join(json.loads(line)["token"] for line in lines[:-1]) == "".join(words)


def test_keys_come_from_the_environment_and_the_file(tmp_path: Path) -> None:
    config = tmp_path / "legato.toml"
    config.write_text('[fleet]\nqueue_seconds = 0\n[fleet.keys.gpu]\nkey = "three"\nmodels = ["m"]\n')
    settings = load_settings(
        {"config": config, "agents_port": 0}, {"LEGATO_AGENT_KEYS": "one, two"}, tmp_path
    )
    assert [key.get_secret_value() for key in settings.fleet.agent_keys] == ["one", "two"]
    assert (settings.fleet.queue_seconds, settings.fleet.keys["gpu"].models) == (0, ("m",))
    assert settings.server.agents_port == 0
    with pytest.raises(SettingsError):
        load_settings({"config": config}, {"LEGATO_FLEET__QUEUE_SECONDS": "soon"}, tmp_path)


class SecondAgent:
    """An agent of the second generation, line by line: numbered events, and what is not acknowledged sent again."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.secret: str | None = None
        self.running: list[dict[str, Any]] = []

    @asynccontextmanager
    async def line(self) -> AsyncIterator["SecondAgent"]:
        async with (
            aiohttp.ClientSession() as http,
            http.ws_connect(f"{self.address}/ws/agents") as self.socket,
        ):
            assert (await self.hear())["type"] == "welcome"
            facts = [{"name": "m", "can": {"continues": True}}]
            await self.send(
                type="register",
                models=["m"],
                protocol=2,
                facts=facts,
                instance="i",
                secret=self.secret,
                running=self.running,
            )
            self.registered = await self.hear()
            self.secret = self.registered["secret"]
            yield self

    async def hear(self) -> dict[str, Any]:
        frame: dict[str, Any] = await self.socket.receive_json()
        return frame

    async def send(self, **message: Any) -> None:
        await self.socket.send_str(json.dumps(message))

    async def write(self, job: dict[str, Any], begin: int, *events: dict[str, Any]) -> None:
        key = {"jobId": job["jobId"], "attempt": job["attempt"]}
        await self.send(type="events", **key, **{"from": begin}, events=list(events))


async def test_an_agent_whose_connection_is_cut_reconnects_and_continues(server: Server) -> None:
    agent = SecondAgent(server.address)
    said = [{"type": "text", "text": word} for word in ("one ", "two ", "three ", "four")]
    async with calling(server) as http:
        async with agent.line():
            assert agent.registered["protocol"] == 2
            asked = asyncio.create_task(complete(http))
            job = await agent.hear()
            assert job["turns"][0]["parts"][0]["text"] == "Hello"
            await agent.write(job, 0, *said[:2])
            assert (await agent.hear())["offset"] == 2
        agent.running = [{"jobId": job["jobId"], "attempt": 1, "first": 2, "next": 4}]
        async with agent.line():
            assert agent.registered["resume"] == [{"jobId": job["jobId"], "attempt": 1, "offset": 2}]
            await agent.write(job, 2, *said[2:], {"type": "ended", "reason": "stop", "model": "m"})
            assert (await agent.hear())["offset"] == 5
            lines = await asked
    assert [json.loads(line)["token"] for line in lines[:-1]] == ["one ", "two ", "three ", "four"]


async def test_a_reader_who_leaves_stops_the_agent(server: Server) -> None:
    async with calling(server) as http, SecondAgent(server.address).line() as agent:
        body = {"model": "m", "messages": [{"content": "x"}]}
        async with http.post("/api/chat/completions", json=body):
            job = await agent.hear()
        assert await agent.hear() == {"type": "cancel", "jobId": job["jobId"], "attempt": 1}
        await agent.send(type="cancelled", jobId=job["jobId"], attempt=1)
        await until(http, lambda fleet: fleet["running"] == 0)


@pytest.mark.parametrize("begin", [1, 7])
async def test_of_a_rogue_no_byte_reaches_a_person(server: Server, begin: int) -> None:
    async with calling(server) as http, SecondAgent(server.address).line() as agent:
        asked = asyncio.create_task(complete(http))
        await agent.write(await agent.hear(), begin, {"type": "text", "text": "poison"})
        assert (await agent.hear())["type"] == "error"
        await agent.socket.receive()
        assert agent.socket.close_code == 4000
        async with first_agent(server.address, words=["fine"]):
            assert await asked == ['{"token":"fine","done":false}', "[DONE]"]


@pytest.mark.parametrize("transport", ["direct", "asgi"])
async def test_both_transports_take_agents(tmp_path: Path, transport: str) -> None:
    async with (
        serving(fleet_settings(tmp_path, server={"websocket": transport})) as server,
        first_agent(server.address, words=WORDS),
        calling(server) as http,
    ):
        assert len(await complete(http)) == len(WORDS) + 1
