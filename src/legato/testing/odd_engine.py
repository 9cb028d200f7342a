"""A model server that sends exact bytes over a real socket, for tests of what engines do with peers that err.

A test of an oddity is a few lines:

    async with OddEngine(sse(chunk("one "), b"data: ping\\n\\n", chunk("two", "stop"), DONE)) as odd:
        answer = await odd.ask_openai()
    assert answer.said == "one two"
    assert answer.error is None
"""

import asyncio
import json
import socket
import struct
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, Literal, Self, TypeAlias

import msgspec

from legato.domain.message import TextPart
from legato.engines.base import Engine, Outcome, Request, Turn
from legato.engines.ollama.engine import OllamaEngine
from legato.engines.openai.engine import OpenAIEngine
from legato.errors import EngineError
from legato.testing.engine import Recorder

CUT: Literal["cut"] = "cut"
"""A step that resets the connection."""

Step: TypeAlias = bytes | float | asyncio.Event | Literal["cut"]
"""Bytes are sent as they are. A number is a pause in seconds. An event is awaited. `CUT` resets the connection."""

Answer: TypeAlias = Sequence[Step]

DONE = b"data: [DONE]\n\n"


class OddRequest(msgspec.Struct, frozen=True):
    """A request that an `OddEngine` received. `headers` have lower-case names."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        """The body as JSON; empty if it has none."""
        value: dict[str, Any] = json.loads(self.body or b"{}")
        return value


class OddAnswer(msgspec.Struct):
    """What an engine made of an answer: what it wrote, and the outcome or the error."""

    out: Recorder
    outcome: Outcome | None = None
    error: EngineError | None = None

    @property
    def said(self) -> str:
        return self.out.said

    @property
    def thought(self) -> str:
        return self.out.thought

    @property
    def calls(self) -> list[tuple[str, str]]:
        """The name and the arguments of each tool call."""
        return [(call.name, call.arguments) for call in self.out.calls]

    @property
    def reason(self) -> str:
        """The sentence of the error; empty if the reply is complete."""
        return "" if self.error is None else self.error.message


def head(status: str = "200 OK", **headers: str) -> bytes:
    """Return a response head. An underscore in a header's name stands for a hyphen."""
    lines = [f"HTTP/1.1 {status}", *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode()


def chunked(
    *pieces: bytes | float | dict[str, Any] | asyncio.Event | Literal["cut"], start: bytes
) -> list[Step]:
    """Return an answer with a head of the caller and a body in HTTP chunks, one for each piece of bytes."""
    steps: list[Step] = [start]
    for piece in pieces:
        if isinstance(piece, bytes):
            steps.append(b"%x\r\n%s\r\n" % (len(piece), piece))
        elif not isinstance(piece, dict):
            steps.append(piece)
    return [*steps, b"0\r\n\r\n"]


def sse(*pieces: Step | dict[str, Any], status: str = "200 OK", **headers: str) -> list[Step]:
    """Return an answer that is a stream of server-sent events. A dict is one event, as JSON; all else is a `Step`."""
    start = head(status, Content_Type="text/event-stream", Transfer_Encoding="chunked", **headers)
    return chunked(*[event(piece) if isinstance(piece, dict) else piece for piece in pieces], start=start)


def ndjson(*pieces: Step | dict[str, Any], status: str = "200 OK", **headers: str) -> list[Step]:
    """Return an answer that is a stream of JSON lines. A dict is one line; all else is a `Step`."""
    start = head(status, Content_Type="application/x-ndjson", Transfer_Encoding="chunked", **headers)
    return chunked(
        *[json.dumps(piece).encode() + b"\n" if isinstance(piece, dict) else piece for piece in pieces],
        start=start,
    )


def plain(body: bytes | object, status: str = "200 OK", **headers: str) -> list[Step]:
    """Return an answer with a length. A body that is not bytes is sent as JSON."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"Content_Type": "application/json", "Content_Length": str(len(data)), **headers}
    return [head(status, **headers) + data]


def event(value: object) -> bytes:
    """Return one server-sent event with `value` as JSON."""
    return b"data: " + json.dumps(value).encode() + b"\n\n"


def chunk(text: str | None = None, finish: object = None, **delta: object) -> dict[str, Any]:
    """Return a chunk of a chat completion: a delta with this content and these other fields."""
    if text is not None:
        delta["content"] = text
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return {"id": "c1", "object": "chat.completion.chunk", "model": "m", "choices": [choice]}


def line(content: str = "", **fields: object) -> dict[str, Any]:
    """Return a line of Ollama's `/api/chat`. `thinking` and `tool_calls` belong to its message."""
    message: dict[str, object] = {"role": "assistant", "content": content}
    message |= {name: fields.pop(name) for name in ("thinking", "tool_calls") if name in fields}
    return {"model": "m", "message": message, "done": False, **fields}


END: dict[str, Any] = {"model": "m", "message": {"role": "assistant", "content": ""}, "done": True}
"""Ollama's last line."""

_PLAIN: Mapping[str, object] = {
    "/v1/models": {"object": "list", "data": [{"id": "m", "object": "model"}]},
    "/api/tags": {"models": [{"name": "m:latest"}]},
    "/api/ps": {"models": [{"name": "m:latest"}]},
    "/api/version": {"version": "0.17.4"},
    "/api/show": {"capabilities": ["completion", "tools", "thinking"]},
}

HI = Request("m", (Turn("user", (TextPart("hi"),)),))


class OddEngine:
    """A server on a free port of this machine. `replies` answer requests for a reply in order; the last one repeats.

    `answers` maps a path to the answer of every request to it, and `on_request`, if it is set, may return the answer of any
    request. Paths of neither kind are answered as a well-behaved server does, with one model, `m`. `requests` are all
    requests so far, `asked` those for a reply.
    """

    def __init__(self, *replies: Answer) -> None:
        self.replies = list(replies)
        self.answers: dict[str, Answer] = {}
        self.on_request: Callable[[OddRequest], Answer | None] | None = None
        self.requests: list[OddRequest] = []
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """The URL without a path."""
        if self._server is None:
            raise RuntimeError("the server is not started: use `async with`")
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    @property
    def asked(self) -> list[OddRequest]:
        return [request for request in self.requests if request.path in ("/v1/chat/completions", "/api/chat")]

    async def ask_openai(self, request: Request = HI, **settings: Any) -> OddAnswer:
        """Ask for a reply through an `OpenAIEngine` of its own with these settings."""
        engine = OpenAIEngine(self.url, **settings)
        try:
            return await ask(engine, request)
        finally:
            await engine.close()

    async def ask_ollama(self, request: Request = HI) -> OddAnswer:
        """Ask for a reply through an `OllamaEngine` of its own."""
        engine = OllamaEngine(self.url)
        try:
            return await ask(engine, request)
        finally:
            await engine.close()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(asyncio.IncompleteReadError, ConnectionError):
                while True:
                    request = await _read(reader)
                    self.requests.append(request)
                    keep = await self._send(writer, self._answer(request))
                    if not keep:
                        break
        finally:
            writer.close()

    def _answer(self, request: OddRequest) -> Answer:
        own = self.on_request(request) if self.on_request is not None else None
        if own is not None:
            return own
        if request.path in self.answers:
            return self.answers[request.path]
        if request in self.asked and self.replies:
            return self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
        known = _PLAIN.get(request.path)
        return plain({"error": "not found"}, "404 Not Found") if known is None else plain(known)

    @staticmethod
    async def _send(writer: asyncio.StreamWriter, answer: Answer) -> bool:
        """Send an answer. Returns whether the connection can be used again: its end is told by its length or a last chunk."""
        for step in answer:
            match step:
                case bytes():
                    writer.write(step)
                    await writer.drain()
                case asyncio.Event():
                    await step.wait()
                case "cut":
                    sock: socket.socket = writer.get_extra_info("socket")
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    writer.transport.abort()
                    return False
                case _:
                    await asyncio.sleep(step)
        sent = b"".join(step for step in answer if isinstance(step, bytes))
        start = sent.partition(b"\r\n\r\n")[0].lower()
        return b"content-length:" in start or (b"chunked" in start and sent.endswith(b"0\r\n\r\n"))


async def ask(engine: Engine, request: Request = HI) -> OddAnswer:
    """Ask an engine for a reply. An `EngineError` becomes part of the answer."""
    answer = OddAnswer(Recorder())
    try:
        answer.outcome = await engine.generate(request, answer.out)
    except EngineError as error:
        answer.error = error
    return answer


async def _read(reader: asyncio.StreamReader) -> OddRequest:
    start = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    method, path, _ = start[0].split(" ", 2)
    headers = {
        name.strip().lower(): value.strip() for name, _, value in (each.partition(":") for each in start[1:])
    }
    return OddRequest(
        method, path, headers, await reader.readexactly(int(headers.get("content-length", "0")))
    )
