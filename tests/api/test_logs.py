"""What callers send and what they get is in no log, at no level and of no library."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.api.keys import SECRET, make_key
from tests.gateway.server import calling, serving, settings_for

from legato.gateway.auth import issue_token
from legato.gateway.server import Server

MODEL = "demo:echo"
MARKER = "xylophonic"
ASKED = [{"role": "user", "content": f"say {MARKER}"}]

BODIES: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": ASKED},
    "/v1/completions": {"prompt": MARKER},
    "/v1/responses": {"input": MARKER},
    "/v1/embeddings": {"input": MARKER},
    "/v1/messages": {"messages": ASKED, "max_tokens": 99},
    "/v1/messages/count_tokens": {"messages": ASKED},
    "/api/chat": {"messages": ASKED},
    "/api/generate": {"prompt": MARKER},
    "/api/embed": {"input": MARKER},
    "/ai/chat": {"id": "c", "messages": [{"role": "user", "parts": [{"type": "text", "text": MARKER}]}]},
}


@pytest.fixture
async def server(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> AsyncIterator[Server]:
    # Before the server is made: SQLAlchemy reads the levels when it opens a database.
    for name in (
        "",
        "legato",
        "sqlalchemy",
        "sqlalchemy.engine.Engine",
        "aiohttp",
        "asyncio",
        "uvicorn",
        "websockets",
    ):
        caplog.set_level(logging.DEBUG, name or None)
    async with serving(settings_for(tmp_path, auth={"jwt_secret": SECRET})) as server:
        yield server


async def test_no_log_has_prompts_replies_keys_or_tokens(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    secrets = [await make_key(server), issue_token(server.settings.auth, "ann", 60, time.time())]
    wrong = "sk-" + MARKER * 5
    async with calling(server) as http:
        for number, secret in enumerate([*secrets, wrong]):
            for path, body in BODIES.items():
                for stream in (True, False)[: 1 if secret == wrong else 2]:
                    headers = {
                        "idempotency-key": f"{number}{path}{stream}",
                        "authorization": f"Bearer {secret}",
                    }
                    sent = {"model": MODEL, "stream": stream, **body}
                    async with http.post(path, json=sent, headers=headers) as answer:
                        text = await answer.text()
                    if path in ("/v1/chat/completions", "/v1/messages", "/api/chat", "/ai/chat"):
                        assert (answer.status == 200) == (MARKER in text) == (secret != wrong), text
            bad = f'{{"model": "{MODEL}", "messages": "{MARKER}'
            async with http.post("/v1/messages", data=bad, headers={"x-api-key": secret}) as answer:
                assert answer.status in (400, 401)
        bearer = {"authorization": f"Bearer {secrets[1]}"}
        async with http.ws_connect("/ws", protocols=["legato.v1"], headers=bearer) as socket:
            await socket.send_json({"type": "send", "text": MARKER, "client_message_id": "m"})
            async with asyncio.timeout(10):
                while MARKER not in (await socket.receive_str()):
                    pass
        async with http.get("/api/conversations", headers=bearer) as answer:
            assert answer.status == 200
    records = [f"{each.name} {each.getMessage()} {each.args} {each.exc_text}" for each in caplog.records]
    assert records
    for word in (MARKER, *secrets):
        assert not [each for each in records if word in each][:3]
