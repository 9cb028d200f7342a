"""Doubles of model servers whose answers depend on all of a request: one that comes changed gets another answer."""

import hashlib
import json
import random
from typing import Any

from aiohttp import web

from .server import Server

WORDS = (
    "ein",
    "süßes",
    "Ei",
    "🥚",
    "two\n\nlines",
    "data:",
    "[DONE]",
    "a\\b",
    '"q"',
    "\u2028",
    "x" * 50,
    "{}",
)


def fits(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


class Answer:
    """The answer to what a request means. `limit` is the largest number of its tokens."""

    def __init__(
        self, meaning: Any, tools: list[str], forced: str | None, limit: int | None, single: bool
    ) -> None:
        key = json.dumps(meaning, sort_keys=True)
        chance = random.Random(fits(key))
        self.id = fits(key)[:8]
        self.prompt = len(key) // 7 + 1
        self.thought = [f"{chance.choice(WORDS)} " for _ in range(chance.choice((0, 0, 3)))]
        self.words = [f"{chance.choice(WORDS)} " for _ in range(chance.randint(1, 12))]
        self.finish = "stop"
        self.calls: list[dict[str, Any]] = []
        if tools and (forced or chance.random() < 0.6):
            names = [forced] if forced and forced != "required" else tools
            for number in range(1 if single else chance.randint(1, 2)):
                arguments = {"where": chance.choice(WORDS), "n": chance.randint(0, 9)}
                name = chance.choice(names)
                self.calls.append({"id": f"call_{self.id}_{number}", "name": name, "arguments": arguments})
            self.finish = "tool_calls"
            self.words = self.words[: chance.choice((0, 2))]
        elif limit is not None and len(self.words) > limit:
            self.words = self.words[:limit]
            self.finish = "length"
        self.tokens = len(self.words) + len(self.thought) + 2

    def logprob(self, index: int) -> dict[str, Any]:
        word = self.words[index]
        one = {"token": word, "logprob": -0.25 * (index + 1), "bytes": list(word.encode())}
        return {**one, "top_logprobs": [one]}


class AnsweringOpenAI(Server):
    """An OpenAI-compatible server with the models in `names`."""

    def __init__(self, *names: str) -> None:
        super().__init__()
        self.names = names
        self.app.router.add_get("/v1/models", self._models)
        self.app.router.add_post("/v1/chat/completions", self._chat)
        self.app.router.add_post("/v1/embeddings", self._embed)

    async def _embed(self, request: web.Request) -> web.Response:
        body = await request.json()
        data = [
            {
                "index": index,
                "embedding": [int(digit, 16) / 16 for digit in fits(text)[: body.get("dimensions", 8)]],
            }
            for index, text in enumerate(body["input"])
        ]
        usage = {"prompt_tokens": sum(map(len, body["input"]))}
        return web.json_response({"model": body["model"], "data": data, "usage": usage})

    async def _models(self, request: web.Request) -> web.Response:
        return web.json_response(
            {"object": "list", "data": [{"id": name, "object": "model"} for name in self.names]}
        )

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        choice = body.get("tool_choice")
        tools = [] if choice == "none" else [tool["function"] for tool in body.get("tools") or ()]
        forced = (
            choice["function"]["name"]
            if isinstance(choice, dict)
            else choice
            if choice == "required"
            else None
        )
        limit = body.get("max_completion_tokens", body.get("max_tokens"))
        meaning = {
            name: body.get(name)
            for name in (
                "temperature", "top_p", "seed", "presence_penalty", "frequency_penalty", "logit_bias", "stop",
                "response_format", "reasoning_effort", "logprobs", "top_logprobs", "parallel_tool_calls",
            )
        }  # fmt: skip
        meaning |= {"messages": [message_meaning(each) for each in body["messages"]], "limit": limit}
        meaning |= {
            "forced": forced,
            "tools": [[t["name"], t.get("description") or "", t["parameters"]] for t in tools],
        }
        if meaning["logit_bias"]:
            meaning["logit_bias"] = {name: float(value) for name, value in meaning["logit_bias"].items()}
        for name in ("temperature", "top_p"):
            meaning[name] = None if meaning[name] is None else float(meaning[name])
        if not tools:
            meaning["parallel_tool_calls"] = None
        if isinstance(meaning["stop"], str):
            meaning["stop"] = [meaning["stop"]]
        names = [tool["name"] for tool in tools]
        answer = Answer(meaning, names, forced, limit, body.get("parallel_tool_calls") is False)
        usage = {"prompt_tokens": answer.prompt, "completion_tokens": answer.tokens}
        usage["total_tokens"] = sum(usage.values())
        calls = [
            {
                "index": index,
                "id": call["id"],
                "type": "function",
                "function": {"name": call["name"], "arguments": json.dumps(call["arguments"])},
            }
            for index, call in enumerate(answer.calls)
        ]
        logprobs = (
            [answer.logprob(index) for index in range(len(answer.words))] if body.get("logprobs") else None
        )
        if not body.get("stream"):
            message: dict[str, Any] = {"role": "assistant", "content": "".join(answer.words)}
            if answer.thought:
                message["reasoning_content"] = "".join(answer.thought)
            if calls:
                message["tool_calls"] = calls
            one = {"index": 0, "message": message, "finish_reason": answer.finish}
            one["logprobs"] = {"content": logprobs} if logprobs else None
            return web.json_response(
                {"object": "chat.completion", "model": body["model"], "choices": [one], "usage": usage}
            )
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)

        async def send(delta: dict[str, Any], finish: str | None = None, told: Any = None) -> None:
            one = {"index": 0, "delta": delta, "finish_reason": finish, "logprobs": told}
            await response.write(event({"model": body["model"], "choices": [one]}))

        await send({"role": "assistant", "content": ""})
        for thought in answer.thought:
            await send({"reasoning_content": thought})
        for index, word in enumerate(answer.words):
            await send({"content": word}, told={"content": [logprobs[index]]} if logprobs else None)
        for call in calls:
            await send({"tool_calls": [call]})
        await send({}, answer.finish)
        if (body.get("stream_options") or {}).get("include_usage"):
            await response.write(event({"model": body["model"], "choices": [], "usage": usage}))
        await response.write_eof(b"data: [DONE]\n\n")
        return response


class AnsweringOllama(Server):
    """An Ollama with the models in `names`."""

    def __init__(self, *names: str) -> None:
        super().__init__()
        self.names = names
        for method, path, handler in (
            ("GET", "/api/tags", self._tags),
            ("GET", "/api/ps", self._ps),
            ("GET", "/api/version", self._version),
            ("POST", "/api/show", self._show),
            ("POST", "/api/chat", self._chat),
        ):
            self.app.router.add_route(method, path, handler)

    async def _tags(self, request: web.Request) -> web.Response:
        return web.json_response({"models": [{"name": name, "size": 1} for name in self.names]})

    async def _ps(self, request: web.Request) -> web.Response:
        return web.json_response({"models": [{"name": name, "size": 1} for name in self.names]})

    async def _version(self, request: web.Request) -> web.Response:
        return web.json_response({"version": "0.17.4"})

    async def _show(self, request: web.Request) -> web.Response:
        return web.json_response(
            {"template": "{{ .Prompt }}", "capabilities": ["completion", "tools", "thinking"]}
        )

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        tools = [tool["function"] for tool in body.get("tools") or ()]
        options = body.get("options") or {}
        limit = options.get("num_predict")
        meaning = {"options": options, "format": body.get("format"), "think": body.get("think")}
        meaning["logprobs"] = [bool(body.get("logprobs")), body.get("top_logprobs") or 0]
        meaning["messages"] = [ollama_meaning(each) for each in body["messages"]]
        meaning["tools"] = [[t["name"], t.get("description") or "", t["parameters"]] for t in tools]
        answer = Answer(meaning, [tool["name"] for tool in tools], None, limit, single=False)
        end = {
            "done": True,
            "done_reason": "length" if answer.finish == "length" else "stop",
            "total_duration": 5_000_000,
            "load_duration": 1_000_000,
            "prompt_eval_count": answer.prompt,
            "prompt_eval_duration": 1_000_000,
            "eval_count": answer.tokens,
            "eval_duration": 3_000_000,
        }
        calls = [
            {
                "id": call["id"],
                "function": {"index": index, "name": call["name"], "arguments": call["arguments"]},
            }
            for index, call in enumerate(answer.calls)
        ]
        base = {"model": body["model"], "created_at": "2026-12-01T00:00:00Z"}
        logprobs = (
            [answer.logprob(index) for index in range(len(answer.words))] if body.get("logprobs") else None
        )
        thought = {"thinking": "".join(answer.thought)} if answer.thought else {}
        if body.get("stream") is False:
            message = {"role": "assistant", "content": "".join(answer.words), **thought}
            if calls:
                message["tool_calls"] = calls
            more = {"logprobs": logprobs} if logprobs else {}
            return web.json_response({**base, "message": message, **end, **more})
        response = web.StreamResponse(headers={"content-type": "application/x-ndjson"})
        await response.prepare(request)

        async def send(message: dict[str, Any], **more: Any) -> None:
            whole = {"role": "assistant", "content": "", **message}
            await response.write(
                json.dumps({**base, "message": whole, "done": False, **more}).encode() + b"\n"
            )

        for each in answer.thought:
            await send({"thinking": each})
        for index, word in enumerate(answer.words):
            await send({"content": word}, **({"logprobs": [logprobs[index]]} if logprobs else {}))
        if calls:
            await send({"tool_calls": calls})
        await send({}, **end)
        await response.write_eof()
        return response


def message_meaning(message: dict[str, Any]) -> list[Any]:
    """Return what a message of OpenAI's API means, however it is written."""
    content = message.get("content") or ""
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
    text = "".join(part.get("text", "") for part in parts)
    beside = [part for part in parts if part["type"] != "text"]
    calls = [
        [call["id"], call["function"]["name"], call["function"]["arguments"]]
        for call in message.get("tool_calls") or ()
    ]
    role = "system" if message["role"] == "developer" else message["role"]
    return [role, text, beside, calls, message.get("tool_call_id")]


def ollama_meaning(message: dict[str, Any]) -> list[Any]:
    """Return what a message of Ollama's API means."""
    calls = [
        [call["function"]["name"], call["function"]["arguments"]] for call in message.get("tool_calls") or ()
    ]
    return [
        message["role"],
        message.get("content") or "",
        message.get("images") or [],
        calls,
        message.get("tool_name"),
    ]


def event(value: object) -> bytes:
    return b"data: " + json.dumps(value).encode() + b"\n\n"
