"""A double of Ollama: its wire, and models that say the same tokens every time. `test_recordings` holds it to the real one."""

import asyncio
import json
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from .server import Server

TEMPLATE = """{{- if or .System .Tools }}<|im_start|>system
{{ .System }}
{{- range .Tools }}
{"type": "function", "function": {{ .Function }}}
{{- end }}<|im_end|>
{{ end }}
{{- range $i, $_ := .Messages }}{{- $last := eq (len (slice $.Messages $i)) 1 }}
{{- if eq .Role "user" }}<|im_start|>user
{{ .Content }}<|im_end|>
{{ else if eq .Role "assistant" }}<|im_start|>assistant
{{ if .Content }}{{ .Content }}
{{- else if .ToolCalls }}<tool_call>
{{ range .ToolCalls }}{"name": "{{ .Function.Name }}", "arguments": {{ .Function.Arguments }}}
{{ end }}</tool_call>
{{- end }}{{ if not $last }}<|im_end|>
{{ end }}
{{- else if eq .Role "tool" }}<|im_start|>user
<tool_response>
{{ .Content }}
</tool_response><|im_end|>
{{ end }}
{{- if and (ne .Role "assistant") $last }}<|im_start|>assistant
{{ end }}
{{- end }}"""

CLOSED_TEMPLATE = """{{- range .Messages }}<|im_start|>{{ .Role }}
{{ .Content }}<|im_end|>
{{ end }}<|im_start|>assistant
"""


@dataclass
class Scripted:
    """A model. Its tokens come as they are; those between think or tool tags become thinking and calls.

    `breaks_after` tokens the runner dies, `vanishes_after` so many the whole server is gone. `hold` is waited for before
    the first token, `pause` (tokens, event) in the middle. With `endless` the tokens begin again at their end.
    """

    tokens: list[str]
    thinks: bool = False
    sees: bool = False
    template: str = TEMPLATE
    endless: bool = False
    loaded: bool = False
    breaks_after: int | None = None
    vanishes_after: int | None = None
    hold: asyncio.Event | None = None
    pause: tuple[int, asyncio.Event] | None = None
    size: int = 1_100_000
    family: str = "llama"

    def details(self) -> dict[str, Any]:
        return {
            "parent_model": "",
            "format": "gguf",
            "family": self.family,
            "families": [self.family],
            "parameter_size": "282K",
            "quantization_level": "unknown",
        }

    def capabilities(self) -> list[str]:
        return [
            "completion",
            *(["vision"] if self.sees else []),
            *(["tools"] if ".Tools" in self.template else []),
            *(["thinking"] if self.thinks else []),
        ]


def words(text: str) -> list[str]:
    """A text as tokens: words with the space before them."""
    return re.findall(r"^\S+|\s+\S+", text)


def usual() -> dict[str, Scripted]:
    """The models of the recordings."""
    call = '\n{"name":"get_weather","arguments":{"city":"Paris"}}\n'
    return {
        "think": Scripted(
            ["<think>", *words("hmm let me see"), "</think>", *words("Forty two is what you want.")],
            thinks=True,
        ),
        "tool": Scripted(["<tool_call>", call, "</tool_call>"]),
        "loop": Scripted(words("again and forever it goes on"), endless=True),
        "plain": Scripted(
            words("The quick brown fox jumps over a lazy dog, while tokens arrive one by one.")
        ),
    }


@dataclass
class Spoken:
    """One line's worth: what to say, and how many tokens were made until then."""

    message: dict[str, Any]
    made: int


@dataclass
class Options:
    """Those the double understands. Like the real one it says so where a type is wrong."""

    num_predict: int = -1
    stop: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, options: dict[str, Any]) -> "Options":
        for name in ("num_ctx", "num_predict", "num_thread"):
            if not isinstance(options.get(name, 0), int):
                raise web.HTTPInternalServerError(text=f'option "{name}" must be of type integer')
        return cls(options.get("num_predict", -1), options.get("stop") or [])


class OllamaDouble(Server):
    """Run it with `async with`; then `url` is where it is, `chats` what it was asked, `left` how many clients went away."""

    def __init__(self, models: dict[str, Scripted] | None = None, **server: Any) -> None:
        super().__init__(**server)
        self.models = usual() if models is None else models
        self.chats: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.version = "0.17.4"
        self.full = False
        self.left = 0
        self.gone = asyncio.Event()
        self.raw: bytes | None = None
        """Sent in place of a stream, as it is."""
        self.app.router.add_get("/", self._root)
        self.app.router.add_get("/api/version", self._version)
        self.app.router.add_get("/api/tags", self._tags)
        self.app.router.add_get("/api/ps", self._ps)
        self.app.router.add_post("/api/show", self._show)
        self.app.router.add_post("/api/chat", self._chat)
        self.app.middlewares.append(_as_gin)

    def _find(self, name: str) -> Scripted | None:
        return self.models.get(name.removesuffix(":latest"))

    async def _root(self, request: web.Request) -> web.Response:
        return web.Response(text="Ollama is running")

    async def _version(self, request: web.Request) -> web.Response:
        return _json({"version": self.version})

    async def _tags(self, request: web.Request) -> web.Response:
        return _json(
            {
                "models": [
                    {
                        "name": f"{name}:latest",
                        "model": f"{name}:latest",
                        "modified_at": _now(),
                        "size": model.size,
                        "digest": "0" * 64,
                        "details": model.details(),
                    }
                    for name, model in self.models.items()
                ]
            }
        )

    async def _ps(self, request: web.Request) -> web.Response:
        return _json(
            {
                "models": [
                    {
                        "name": f"{name}:latest",
                        "model": f"{name}:latest",
                        "size": model.size,
                        "digest": "0" * 64,
                        "details": model.details(),
                        "expires_at": _now(),
                        "size_vram": 0,
                        "context_length": 4096,
                    }
                    for name, model in self.models.items()
                    if model.loaded
                ]
            }
        )

    async def _show(self, request: web.Request) -> web.Response:
        body = await request.json()
        model = self._find(body["model"])
        if model is None:
            return _json({"error": f"model '{body['model']}' not found"}, 404)
        return _json(
            {
                "modelfile": f'FROM x\nTEMPLATE """{model.template}"""\n',
                "parameters": "temperature                    0",
                "template": model.template,
                "details": model.details(),
                "model_info": {"general.architecture": "llama", "llama.context_length": 8192},
                "tensors": [],
                "capabilities": model.capabilities(),
                "modified_at": _now(),
            }
        )

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        self.headers.append(dict(request.headers))
        raw = await request.text()
        if not raw:
            return _json({"error": "missing request body"}, 400)
        try:
            body = json.loads(raw)
        except ValueError:
            return _json({"error": "unexpected EOF"}, 400)
        if not isinstance(body.get("messages"), list):
            return _json(
                {
                    "error": "json: cannot unmarshal string into Go struct field "
                    "ChatRequest.messages of type []api.Message"
                },
                400,
            )
        self.chats.append(body)
        name = body["model"]
        model = self._find(name)
        if model is None:
            return _json({"error": f"model '{name}' not found"}, 404)
        if not body["messages"] and body.get("keep_alive") == 0:
            model.loaded = False
            return _json(_line(name, {"content": ""}) | {"done": True, "done_reason": "unload"})
        if body.get("think") and not model.thinks:
            return _json({"error": f'"{name}" does not support thinking'}, 400)
        if body.get("tools") and ".Tools" not in model.template:
            return _json({"error": f"registry.ollama.ai/library/{name}:latest does not support tools"}, 400)
        options = Options.of(body.get("options") or {})
        if self.full:
            return _json({"error": "server busy, please try again.  maximum pending requests exceeded"}, 503)
        try:
            return await self._answer(request, body, model, options)
        except asyncio.CancelledError:
            self._leave()
            raise

    def _leave(self) -> None:
        self.left += 1
        self.gone.set()

    async def _answer(
        self, request: web.Request, body: dict[str, Any], model: Scripted, options: Options
    ) -> web.StreamResponse:
        name = body["model"]
        if not body["messages"]:
            model.loaded = True
            return _json(_line(name, {"content": ""}) | {"done": True, "done_reason": "load"})
        if model.hold is not None:
            await model.hold.wait()
        model.loaded = True
        if body.get("stream") is False:
            spoken = list(self._speak(body, model, options))
            text = "".join(one.message.get("content", "") for one in spoken)
            return _json(_line(name, {"content": text}) | _ending(spoken[-1], len(body["messages"])))
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        response.enable_chunked_encoding()
        await response.prepare(request)
        if self.raw is not None:
            await response.write(self.raw)
            return response
        for one in self._speak(body, model, options):
            if model.vanishes_after is not None and one.made > model.vanishes_after:
                assert request.transport is not None
                request.transport.close()
                return response
            if model.breaks_after is not None and one.made > model.breaks_after:
                await response.write(
                    _bytes({"error": "an error was encountered while running the model: unexpected EOF"})
                )
                return response
            if model.pause is not None and one.made > model.pause[0]:
                await model.pause[1].wait()
            line = _line(name, one.message)
            if "done_reason" in one.message:
                line = _line(name, {"content": ""}) | _ending(one, len(body["messages"]))
            try:
                await response.write(_bytes(line))
            except ConnectionResetError:
                self._leave()
                raise
            if model.endless:
                await asyncio.sleep(0)
        return response

    def _speak(self, body: dict[str, Any], model: Scripted, options: Options) -> Any:
        """What the model says now, token by token, and at the end how it ended."""
        tokens = list(model.tokens)
        last = body["messages"][-1]
        if last["role"] == "assistant" and model.template == TEMPLATE:
            written = last["content"]
            if "</think>" in tokens:
                tokens = tokens[tokens.index("</think>") + 1 :]
            while tokens and written.startswith(tokens[0]):
                written = written.removeprefix(tokens.pop(0))
        thinks = model.thinks and body.get("think", True) is not False
        inside = ""
        made = 0
        while True:
            for token in tokens:
                made += 1
                if 0 <= options.num_predict < made:
                    yield Spoken({"done_reason": "length"}, made - 1)
                    return
                if any(stop in token for stop in options.stop):
                    yield Spoken({"done_reason": "stop"}, made)
                    return
                if thinks and token in ("<think>", "</think>"):
                    inside = "think" if token == "<think>" else ""
                elif body.get("tools") and token in ("<tool_call>", "</tool_call>"):
                    inside = "tool" if token == "<tool_call>" else ""
                elif inside == "tool":
                    called = json.loads(token)
                    function = {"index": 0, "name": called["name"], "arguments": called["arguments"]}
                    yield Spoken(
                        {"content": "", "tool_calls": [{"id": "call_abcd1234", "function": function}]}, made
                    )
                elif inside == "think":
                    yield Spoken({"content": "", "thinking": token}, made)
                else:
                    yield Spoken({"content": token}, made)
            if not model.endless:
                break
        yield Spoken({"done_reason": "stop"}, made + 1)


@web.middleware
async def _as_gin(request: web.Request, handler: Any) -> web.StreamResponse:
    """Errors as Ollama's router and handlers write them."""
    try:
        response: web.StreamResponse = await handler(request)
    except web.HTTPInternalServerError as error:
        return _json({"error": error.text}, 500)
    except web.HTTPMethodNotAllowed:
        return _plain("405 method not allowed", 405)
    except web.HTTPNotFound:
        return _plain("404 page not found", 404)
    return response


def _plain(text: str, status: int) -> web.Response:
    return web.Response(status=status, body=text.encode(), headers={"Content-Type": "text/plain"})


def _now() -> str:
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")


def _bytes(value: object) -> bytes:
    # Go escapes what could be HTML.
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026").encode() + b"\n"


def _json(value: object, status: int = 200) -> web.Response:
    headers = {"Content-Type": "application/json; charset=utf-8"}
    return web.Response(status=status, body=_bytes(value).rstrip(b"\n"), headers=headers)


def _line(model: str, message: dict[str, Any]) -> dict[str, Any]:
    said = {"role": "assistant", **message}
    return {"model": model, "created_at": _now(), "message": said, "done": False}


def _ending(spoken: Spoken, messages: int) -> dict[str, Any]:
    return {
        "done": True,
        "done_reason": spoken.message["done_reason"],
        "total_duration": 408398183,
        "load_duration": 288499283,
        "prompt_eval_count": 10 * messages,
        "prompt_eval_duration": 2795139,
        "eval_count": spoken.made,
        "eval_duration": 115006885,
    }
