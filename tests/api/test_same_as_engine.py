"""The same request straight to an engine and through the server: the same text, reasoning, calls, ending, usage, log probabilities."""

import asyncio
import json
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import pytest
import pytest_asyncio
from tests.doubles.answering import WORDS, AnsweringOllama, AnsweringOpenAI
from tests.gateway.server import serving, settings_for

from legato.agent.agent import Agent
from legato.agent.engine_pool import EnginePool, EngineSource
from legato.domain.message import TextPart
from legato.engines.base import Request, Turn
from legato.engines.demo.engine import DemoEngine
from legato.engines.llama.engine import LlamaEngine
from legato.engines.ollama.engine import OllamaEngine
from legato.engines.openai.engine import OpenAIEngine
from legato.testing.engine import Recorder
from legato.testing.gguf import scripted_model

SPOKEN = "Once upon a time there was one small model which said every word of it"
ENGINES = ("openai", "ollama", "fleet-openai", "fleet-ollama")
pytestmark = pytest.mark.asyncio(loop_scope="module")


class Reply(NamedTuple):
    """What a client has of a reply."""

    text: str
    thought: str
    calls: list[tuple[str, str, Any]]
    finish: str
    usage: tuple[int, int]
    logprobs: list[Any]


class Places(NamedTuple):
    """Where to ask: the server, and the engine behind each model."""

    http: aiohttp.ClientSession
    server: str
    engines: dict[str, str]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def places(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Places]:
    folder: Path = tmp_path_factory.mktemp("same")
    async with AsyncExitStack() as stack:
        near = await stack.enter_async_context(AnsweringOpenAI("openai"))
        far = await stack.enter_async_context(AnsweringOpenAI("fleet-openai"))
        ollama = await stack.enter_async_context(AnsweringOllama("ollama:latest"))
        distant = await stack.enter_async_context(AnsweringOllama("fleet-ollama:latest"))
        settings = settings_for(
            folder,
            assistants={
                "default": {"engine": "demo", "model": "demo:echo"},
                "a": {"engine": "openai", "model": "openai"},
                "b": {"engine": "ollama", "model": "ollama"},
                "c": {"engine": "fleet", "model": "fleet-openai"},
            },
            engines={"openai": {"url": f"{near.url}/v1"}, "ollama": {"url": ollama.url}},
        )
        server = await stack.enter_async_context(serving(settings))
        pool = EnginePool([EngineSource(OpenAIEngine(far.url)), EngineSource(OllamaEngine(distant.url))])
        agent = Agent(server.address.replace("http", "ws") + "/ws/agents", pool, slots=64)
        running = asyncio.create_task(agent.run())
        http = await stack.enter_async_context(aiohttp.ClientSession())
        try:
            async with asyncio.timeout(30):
                while "fleet-openai" not in await (await http.get(f"{server.address}/v1/models")).text():
                    await asyncio.sleep(0.05)
            engines = dict(zip(ENGINES, (near.url, ollama.url, far.url, distant.url), strict=True))
            yield Places(http, server.address, engines)
        finally:
            agent.stop()
            agent.stop()
            await running


def texts(chance: random.Random) -> str:
    return " ".join(chance.choice((*WORDS, "what", "is", "there")) for _ in range(chance.randint(1, 8)))


def tools(chance: random.Random) -> list[dict[str, Any]]:
    names = chance.sample(("look", "find", "add"), chance.randint(1, 3))
    schema = {"type": "object", "properties": {"where": {"type": "string"}}}
    return [
        {"type": "function", "function": {"name": name, "description": texts(chance), "parameters": schema}}
        for name in names
    ]


def openai_request(chance: random.Random) -> dict[str, Any]:
    """A request of OpenAI's API, with any of its options."""
    messages: list[dict[str, Any]] = []
    if chance.random() < 0.5:
        messages.append({"role": chance.choice(("system", "developer")), "content": texts(chance)})
    for number in range(chance.randint(0, 2)):
        messages.append({"role": "user", "content": texts(chance)})
        if chance.random() < 0.5:
            call = {"name": "look", "arguments": json.dumps({"where": texts(chance)})}
            calls = [{"id": f"call_{number}", "type": "function", "function": call}]
            messages.append({"role": "assistant", "content": None, "tool_calls": calls})
            messages.append({"role": "tool", "tool_call_id": f"call_{number}", "content": texts(chance)})
        messages.append({"role": "assistant", "content": texts(chance)})
    last: Any = texts(chance)
    if chance.random() < 0.3:
        last = [{"type": "text", "text": last}]
        if chance.random() < 0.5:
            last.append({"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}})
    messages.append({"role": "user", "content": last})
    body: dict[str, Any] = {"messages": messages}
    values: dict[str, Any] = {
        "temperature": round(chance.uniform(0, 2), 2),
        "top_p": round(chance.random(), 2),
        "seed": chance.randint(0, 1000),
        "presence_penalty": 0.5,
        "frequency_penalty": -0.5,
        "logit_bias": {"50256": -100},
        "stop": chance.choice(("###", ["a", "b"])),
        "reasoning_effort": chance.choice(("low", "medium", "high")),
        chance.choice(("max_tokens", "max_completion_tokens")): chance.randint(1, 8),
        "user": "somebody",
        "metadata": {"a": "b"},
    }
    for name in chance.sample(list(values), chance.randint(0, 5)):
        body[name] = values[name]
    if chance.random() < 0.4:
        body["tools"] = tools(chance)
        first = body["tools"][0]["function"]["name"]
        named = {"type": "function", "function": {"name": first}}
        body |= chance.choice(
            (
                {},
                {"tool_choice": "auto"},
                {"tool_choice": "none"},
                {"tool_choice": "required"},
                {"tool_choice": named},
            )
        )
        body |= chance.choice(({}, {"parallel_tool_calls": False}, {"parallel_tool_calls": True}))
    elif chance.random() < 0.4:
        schema = {"name": "it", "schema": {"type": "object"}, "strict": chance.random() < 0.5}
        body["response_format"] = chance.choice(
            ({"type": "json_object"}, {"type": "json_schema", "json_schema": schema})
        )
    if chance.random() < 0.3:
        body |= chance.choice(({"logprobs": True}, {"logprobs": True, "top_logprobs": 3}))
    if chance.random() < 0.6:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    return body


def ollama_request(chance: random.Random) -> dict[str, Any]:
    """A request of Ollama's API, with any of its options."""
    messages: list[dict[str, Any]] = []
    if chance.random() < 0.5:
        messages.append({"role": "system", "content": texts(chance)})
    for _ in range(chance.randint(0, 2)):
        messages.append({"role": "user", "content": texts(chance)})
        if chance.random() < 0.5:
            call = {"function": {"name": "look", "arguments": {"where": texts(chance)}}}
            messages.append({"role": "assistant", "content": "", "tool_calls": [call]})
            messages.append({"role": "tool", "tool_name": "look", "content": texts(chance)})
        messages.append({"role": "assistant", "content": texts(chance)})
    messages.append({"role": "user", "content": texts(chance)})
    body: dict[str, Any] = {"messages": messages}
    values = {
        "temperature": 0.5, "top_k": 5, "top_p": 0.5, "min_p": 0.1, "seed": 7, "num_predict": chance.randint(1, 8),
        "stop": ["###"], "repeat_penalty": 1.1, "presence_penalty": 0.5, "num_ctx": 8192, "mirostat": 1,
    }  # fmt: skip
    if chosen := chance.sample(list(values), chance.randint(0, 5)):
        body["options"] = {name: values[name] for name in chosen}
    if chance.random() < 0.4:
        body["tools"] = tools(chance)
    elif chance.random() < 0.4:
        body["format"] = chance.choice(("json", {"type": "object"}))
    if chance.random() < 0.4:
        body["think"] = chance.choice((True, "low"))
    if chance.random() < 0.3:
        body |= {"logprobs": True, "top_logprobs": chance.randint(0, 3)}
    return body | chance.choice(({}, {"stream": True}, {"stream": False}))


async def ask(http: aiohttp.ClientSession, url: str, body: dict[str, Any]) -> list[dict[str, Any]]:
    """The objects of the answer: one, or the chunks of a stream."""
    async with http.post(url, json=body) as answer:
        data = await answer.read()
        assert answer.status == 200, data
    if answer.content_type == "text/event-stream":
        events = [line[6:] for line in data.split(b"\n") if line.startswith(b"data: ")]
        assert events.pop() == b"[DONE]"
        return [json.loads(each) for each in events]
    return [json.loads(line) for line in data.split(b"\n") if line.strip()]


def openai_reply(chunks: list[dict[str, Any]]) -> Reply:
    text = thought = finish = ""
    calls: dict[int, list[Any]] = {}
    logprobs: list[Any] = []
    usage = (-1, -1)
    for chunk in chunks:
        if told := chunk.get("usage"):
            usage = (told["prompt_tokens"], told["completion_tokens"])
            assert "legato_counted" not in told
        for choice in chunk["choices"]:
            part = choice.get("delta") or choice.get("message") or {}
            text += part.get("content") or ""
            thought += part.get("reasoning_content") or ""
            finish = choice["finish_reason"] or finish
            logprobs += (choice.get("logprobs") or {}).get("content") or []
            for index, call in enumerate(part.get("tool_calls") or ()):
                known = calls.setdefault(call.get("index", index), ["", "", ""])
                known[0] += call.get("id") or ""
                known[1] += call["function"].get("name") or ""
                known[2] += call["function"].get("arguments") or ""
    found = [(each[0], each[1], json.loads(each[2])) for each in calls.values()]
    return Reply(text, thought, found, finish, usage, logprobs)


def ollama_reply(lines: list[dict[str, Any]]) -> Reply:
    text = thought = ""
    calls: list[tuple[str, str, Any]] = []
    logprobs: list[Any] = []
    for line in lines:
        text += line["message"]["content"]
        thought += line["message"].get("thinking") or ""
        logprobs += line.get("logprobs") or []
        calls += [
            (call["id"], call["function"]["name"], call["function"]["arguments"])
            for call in line["message"].get("tool_calls") or ()
        ]
    last = lines[-1]
    assert last["done"]
    assert "legato_counted" not in last
    usage = (last["prompt_eval_count"], last["eval_count"])
    return Reply(text, thought, calls, last["done_reason"], usage, logprobs)


def cases() -> Iterator[tuple[str, dict[str, Any]]]:
    """200 requests, the same in each run."""
    chance = random.Random(11)
    for number in range(200):
        model = ENGINES[number % len(ENGINES)]
        body = ollama_request(chance) if "ollama" in model else openai_request(chance)
        yield model, {"model": model, **body}


async def test_two_hundred_requests(places: Places) -> None:
    at_once = asyncio.Semaphore(16)
    kinds: set[str] = set()

    async def compare(model: str, body: dict[str, Any]) -> None:
        ollama = "ollama" in model
        path, read = ("/api/chat", ollama_reply) if ollama else ("/v1/chat/completions", openai_reply)
        async with at_once:
            straight = read(await ask(places.http, places.engines[model] + path, body))
            through = read(await ask(places.http, places.server + path, body))
        assert through == straight, body
        kinds.update((straight.finish, "calls" * bool(straight.calls), "thought" * bool(straight.thought)))
        kinds.add("logprobs" * bool(straight.logprobs))

    async with asyncio.timeout(60):
        await asyncio.gather(*[compare(*case) for case in cases()])
    assert {"stop", "length", "tool_calls", "calls", "thought", "logprobs"} <= kinds


@pytest.mark.parametrize("model", ["openai", "fleet-openai"])
async def test_embeddings(places: Places, model: str) -> None:
    for more in ({}, {"dimensions": 5}):
        body = {"model": model, "input": [f"text {number}" for number in range(40)], **more}
        [near], [far] = [
            await ask(places.http, f"{url}/v1/embeddings", body)
            for url in (places.engines[model], places.server)
        ]
        assert [each["embedding"] for each in far["data"]] == [each["embedding"] for each in near["data"]]
        assert far["usage"]["prompt_tokens"] == near["usage"]["prompt_tokens"]


async def test_the_demo_engine(places: Places) -> None:
    chance = random.Random(12)
    for _ in range(10):
        text = texts(chance)
        options = chance.choice(({}, {"stop": ["what"]}, {"max_tokens": 2}))
        asked = {"messages": [{"role": "user", "content": text}], **options}
        names = {"max_tokens": "num_predict"}
        own = {names.get(name, name): value for name, value in options.items()}
        out = Recorder()
        request = Request("demo:echo", (Turn("user", (TextPart(text),)),), options=own)
        outcome = await DemoEngine().generate(request, out)
        usage = outcome.usage
        assert usage is not None
        straight = Reply(
            out.said, "", [], outcome.reason, (usage.prompt_tokens or 0, usage.completion_tokens or 0), []
        )
        url = f"{places.server}/v1/chat/completions"
        assert openai_reply(await ask(places.http, url, {"model": "demo:echo", **asked})) == straight


async def test_the_embedded_engine(tmp_path: Path) -> None:
    file = tmp_path / "spoken.gguf"
    scripted_model(file, SPOKEN)
    straight = LlamaEngine(str(file), directory=tmp_path, threads=1, slots=1)
    settings = settings_for(
        tmp_path,
        assistants={"default": {"engine": "llama", "model": str(file)}},
        engines={"llama": {"threads": 1, "slots": 1}},
    )
    async with serving(settings) as server, aiohttp.ClientSession() as http:
        try:
            await straight.start()
            child = await straight.ready()
            connector = aiohttp.UnixConnector(str(child.socket))
            headers = {"authorization": f"Bearer {child.key}"}
            async with aiohttp.ClientSession(connector=connector, headers=headers) as engine:
                for number, options in enumerate(
                    (
                        {},
                        {"max_tokens": 3},
                        {"stop": ["small"]},
                        {"logprobs": True, "top_logprobs": 2, "max_tokens": 4},
                        {"seed": 7, "top_p": 0.5, "max_completion_tokens": 5},
                    )
                ):
                    for stream in ({}, {"stream": True, "stream_options": {"include_usage": True}}):
                        messages = [{"role": "user", "content": f"Say it {number}"}]
                        body = {
                            "model": "spoken",
                            "messages": messages,
                            "temperature": 0,
                            **options,
                            **stream,
                        }
                        near = openai_reply(await ask(engine, "http://llama/v1/chat/completions", body))
                        far = openai_reply(await ask(http, f"{server.address}/v1/chat/completions", body))
                        near = near._replace(logprobs=[_plain(each) for each in near.logprobs])
                        assert far == near
                for prompt in ({"prompt": "Say it"}, {"prompt": "Say it", "max_tokens": 3, "logprobs": 1}):
                    body = {"model": "spoken", "temperature": 0, **prompt}
                    near, far = [
                        (await ask(place, f"{address}/v1/completions", body))[0]
                        for place, address in ((engine, "http://llama"), (http, server.address))
                    ]
                    names = ("prompt_tokens", "completion_tokens")
                    assert [far["usage"][name] for name in names] == [near["usage"][name] for name in names]
                    for name in ("text", "finish_reason"):
                        assert far["choices"][0][name] == near["choices"][0][name]
                    if told := near["choices"][0].get("logprobs"):
                        tokens = [each["token"] for each in told["content"]]
                        assert far["choices"][0]["logprobs"]["tokens"] == tokens
            long = [{"role": "user", "content": "upon " * 6000}]
            for path, body, code in (
                ("/v1/chat/completions", {"messages": long}, "context_length_exceeded"),
                ("/v1/completions", {"prompt": long[0]["content"]}, "context_length_exceeded"),
                ("/v1/messages", {"messages": long, "max_tokens": 5}, "prompt is too long"),
                ("/api/chat", {"messages": long}, "context"),
            ):
                async with http.post(f"{server.address}{path}", json={"model": "spoken", **body}) as answer:
                    assert (answer.status, code in await answer.text()) == (400, True), (
                        path,
                        await answer.text(),
                    )
            forced = {"type": "function", "function": {"name": "look"}}
            refusals: list[tuple[dict[str, Any], str]] = [
                ({"suffix": "end", "prompt": "x"}, "suffix"),
                ({"messages": long[:0]}, "messages"),
                ({"messages": [{"role": "user", "content": "x"}], "tool_choice": forced}, "tool_choice"),
            ]
            for body, param in refusals:
                path = "completions" if "prompt" in body else "chat/completions"
                async with http.post(
                    f"{server.address}/v1/{path}", json={"model": "spoken", **body}
                ) as answer:
                    assert (answer.status, (await answer.json())["error"]["param"]) == (400, param)
        finally:
            await straight.close()


def _plain(token: dict[str, Any]) -> dict[str, Any]:
    """A token without what only llama.cpp tells of it."""
    one = {name: token[name] for name in ("token", "logprob", "bytes")}
    tops = [{name: top[name] for name in ("token", "logprob", "bytes")} for top in token["top_logprobs"]]
    return {**one, "top_logprobs": tops}
