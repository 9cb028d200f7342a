"""Every endpoint answers any input with its own errors and stays open, and no exception is logged."""

import json
import logging
import random
from collections.abc import Callable
from typing import Any

import pytest
from websockets.asyncio.client import connect

Serve = Callable[..., Any]

NUMBERS = [0, -1, 2**63, 10**400, -(10**400), 1.5, 1e308]
NESTED: list[Any] = [[], [[]], {}, {"type": "x"}, {"a": {"b": [None]}}]
TEXTS = ["", " ", "\0", "a\0b", "\ud800", "\udfff\ud800", "🙂", "x" * 5000, "..", "a/b", "room", "hello"]
COMMANDS = [
    "/",
    "//",
    "/help",
    "/new",
    "/title",
    "/system",
    "/model",
    "/invite",
    "/approve",
    "/assistant",
    "/export",
    "/retry",
    "/stop",
]
TAILS = ["", " ", " \ud800", " \0", " \ud800\x1b[31m", " 999999d", " json"]
VALUES: list[Any] = [
    *(None, True),
    *NUMBERS,
    *NESTED,
    *TEXTS,
    *(command + tail for command in COMMANDS for tail in TAILS),
]
RAW = [
    *('{"type":NaN}', "[", '"ping"', "[]", "1e999", "\ufeff{}"),
    *("[" * 5000, '{"a":' * 5000, "[" * 20_000 + "]" * 20_000),
    *('{"type":"message","message":"\\ud800"}', '{"type":"\\u0000"}'),
    '{"type":"message","text":' + "9" * 5000 + "}",
]
PATHS = {
    "/ws/assistant": (["message"], ["content", "message", "session_id"]),
    "/ws/sessions": (
        ["chat_message", "join_session", "leave_session"],
        ["session_id", "content", "message", "stream"],
    ),
    "/ws/chat": (["message"], ["message", "conversation_id", "client_message_id"]),
    "/ws/conversations/room": (
        ["message", "resume"],
        ["text", "parts", "client_message_id", "conversationId", "lastMessageId", "position", "epoch"],
    ),
    "/ws": (
        ["follow", "unfollow", "send", "regenerate", "edit", "show", "stop", "typing", "approve", "hello"],
        [
            "id",
            "conversation",
            "text",
            "parts",
            "client_message_id",
            "parent",
            "message",
            "since",
            "positions",
            "call",
        ],
    ),
}


def value(dice: random.Random, depth: int = 0) -> Any:
    if depth > 2 or dice.random() < 0.8:
        return dice.choice(dice.choice([NUMBERS, NESTED, TEXTS, VALUES]))
    if dice.random() < 0.5:
        return [value(dice, depth + 1) for _ in range(dice.randrange(4))]
    names = ["type", "text", "data", "attachment", "transcript"]
    made = {dice.choice(names): value(dice, depth + 1) for _ in range(dice.randrange(4))}
    return made | {"type": dice.choice(["text", "image", "audio", "x"])}


def frame(dice: random.Random, kinds: list[str], fields: list[str]) -> str:
    if dice.random() < 0.05:
        return dice.choice(RAW)
    kind = dice.choice(kinds) if dice.random() < 0.95 else value(dice)
    return json.dumps({"type": kind} | {name: value(dice) for name in fields if dice.random() < 0.5})


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("seed", [1, 2])
async def test_every_endpoint_answers_random_input_with_errors(
    serve: Serve, caplog: pytest.LogCaptureFixture, path: str, seed: int
) -> None:
    dice = random.Random(seed)
    async with (
        serve(assistants={"default": {"engine": "demo", "model": "demo:echo"}}) as server,
        connect(server.address.replace("http", "ws", 1) + path, max_size=None) as socket,
    ):
        for _ in range(300):
            await socket.send(frame(dice, *PATHS[path]))
            await socket.send('{"type":"ping"}')
            while json.loads(await socket.recv())["type"] != "pong":
                pass
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []


@pytest.mark.parametrize("path", [path for path in PATHS if path != "/ws"])
@pytest.mark.parametrize(
    "payload", [b"\xff\xfe", b'{"type":"ping"}', [b"\0", b"\0"]], ids=["bytes", "json", "parts"]
)
async def test_a_binary_frame_is_an_error_like_any_bad_frame(
    serve: Serve, path: str, payload: bytes | list[bytes]
) -> None:
    async with (
        serve(assistants={"default": {"engine": "demo", "model": "demo:echo"}}) as server,
        connect(server.address.replace("http", "ws", 1) + path) as socket,
    ):
        await socket.send(payload)
        await socket.send('{"type":"ping"}')
        said = []
        while not said or said[-1]["type"] != "pong":
            said.append(json.loads(await socket.recv()))
        [error] = [frame for frame in said if frame["type"] == "error"]
        assert "binary" in (error.get("message") or error["error"])


@pytest.mark.parametrize(
    ("path", "frame"),
    [
        ("/ws/assistant", r'{"type":"message","content":"a \ud83d b"}'),
        ("/ws/chat", r'{"type":"message","message":"a \ud83d b"}'),
        ("/ws/conversations/room", r'{"type":"message","text":"a \ud83d b"}'),
    ],
)
async def test_a_lone_surrogate_is_replaced_and_the_rest_is_read(serve: Serve, path: str, frame: str) -> None:
    async with (
        serve(assistants={"default": {"engine": "demo", "model": "demo:echo"}}) as server,
        connect(server.address.replace("http", "ws", 1) + path) as socket,
    ):
        await socket.send(frame)
        said = ""
        while (told := json.loads(await socket.recv()))["type"] not in (
            "message_complete",
            "complete",
            "done",
        ):
            said += (
                told.get("data") or (told.get("content") if told["type"] != "message_received" else "") or ""
            )
        assert "\ufffd b" in said
