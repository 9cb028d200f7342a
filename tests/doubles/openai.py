"""A double of a server that speaks OpenAI's chat completions: it says what it was told to say, on the real wire."""

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from .server import Server


@dataclass
class Script:
    """One reply. `chunks` are sent in order: a dict as an event, bytes as they are, an event is waited for, and None cuts
    the connection. `status` other than 200 answers with `body` and `headers` instead."""

    chunks: list[dict[str, Any] | bytes | asyncio.Event | None] = field(default_factory=list)
    status: int = 200
    body: object = None
    headers: dict[str, str] = field(default_factory=dict)


def chunk(
    delta: dict[str, Any] | None = None, finish: str | None = None, model: str = "plain", **more: Any
) -> dict[str, Any]:
    """One chunk as Ollama's `/v1` and llama.cpp's server write it. Without a delta it has no choices."""
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish}]
    return {
        "id": "chatcmpl-120",
        "object": "chat.completion.chunk",
        "created": 1795236921,
        "model": model,
        "system_fingerprint": "fp_double",
        "choices": choices,
        **more,
    }


DONE = b"data: [DONE]\n\n"


def said(*tokens: str, model: str = "plain", finish: str = "stop", usage: bool = True) -> Script:
    """A reply that is whole."""
    spoken = [chunk({"role": "assistant", "content": token}, model=model) for token in tokens]
    counted = {"prompt_tokens": 10, "completion_tokens": len(tokens) + 1, "total_tokens": len(tokens) + 11}
    end = [chunk({"role": "assistant", "content": ""}, finish, model=model)]
    return Script([*spoken, *end, *([chunk(model=model, usage=counted)] if usage else []), DONE])


class OpenAIDouble(Server):
    """Run it with `async with`. `script` is said to whoever asks next, `completions` is what was asked,
    `peers` are the connections that asked."""

    def __init__(self, api_key: str | None = None, **server: Any) -> None:
        super().__init__(**server)
        self.api_key = api_key
        self.script = Script()
        self.models: list[dict[str, Any]] = [
            {"id": "plain", "object": "model", "created": 1795236916, "owned_by": "library"}
        ]
        self.completions: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.peers: set[object] = set()
        self.gone = asyncio.Event()
        self.app.router.add_get("/v1/models", self._models)
        self.app.router.add_post("/v1/chat/completions", self._complete)

    def _refused(self, request: web.Request) -> web.Response | None:
        if self.api_key is None or request.headers.get("Authorization") == f"Bearer {self.api_key}":
            return None
        error = {"message": "Incorrect API key provided: sk-wr**ng.", "code": "invalid_api_key"}
        return web.json_response({"error": error}, status=401)

    async def _models(self, request: web.Request) -> web.Response:
        return self._refused(request) or web.json_response({"object": "list", "data": self.models})

    async def _complete(self, request: web.Request) -> web.StreamResponse:
        if refused := self._refused(request):
            return refused
        body = await request.json()
        self.headers.append(dict(request.headers))
        self.completions.append(body)
        self.peers.add(request.transport and request.transport.get_extra_info("peername"))
        if body["model"] not in {model["id"].removesuffix(":latest") for model in self.models}:
            error = {
                "message": f"model '{body['model']}' not found",
                "type": "api_error",
                "param": None,
                "code": None,
            }
            return web.json_response({"error": error}, status=404)
        script = self.script
        if script.status != 200:
            text = script.body if isinstance(script.body, str) else json.dumps(script.body)
            kind = "text/html" if isinstance(script.body, str) else "application/json"
            return web.Response(status=script.status, text=text, content_type=kind, headers=script.headers)
        try:
            return await self._stream(request, script)
        except (asyncio.CancelledError, ConnectionResetError):
            self.gone.set()
            raise

    async def _stream(self, request: web.Request, script: Script) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        response.enable_chunked_encoding()
        await response.prepare(request)
        for one in script.chunks:
            match one:
                case None:
                    assert request.transport is not None
                    request.transport.close()
                case asyncio.Event():
                    await one.wait()
                case bytes() if one is script.chunks[-1]:
                    await response.write_eof(one)
                case bytes():
                    await response.write(one)
                case dict():
                    await response.write(
                        b"data: " + json.dumps(one, separators=(",", ":")).encode() + b"\n\n"
                    )
        return response
