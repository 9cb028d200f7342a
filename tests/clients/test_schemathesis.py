"""Requests that schemathesis generates from the OpenAPI document, on a real port: none fails the server."""

from pathlib import Path

import pytest
from tests.clients.environment import require_clients, run_python
from tests.doubles.engines import replace_demo
from tests.doubles.schema_engine import SchemaEngine
from tests.gateway.server import serving, settings_for


@pytest.mark.timeout(240)
async def test_no_generated_request_fails_the_server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    require_clients()
    replace_demo(monkeypatch, SchemaEngine(models=("demo:echo", "scripted")))
    async with serving(settings_for(tmp_path / "data")) as server:
        code, printed = await run_python(
            *("-m", "schemathesis.cli", "run", f"{server.address}/openapi.json", "--no-color"),
            *("--checks", "not_a_server_error", "--seed", "1", "--max-examples", "2", "--phases", "fuzzing"),
            *("--generation-database", "none", "--request-timeout", "10"),
            # This stream has no end.
            *("--exclude-path", "/api/fleet/stream"),
            address=server.address,
            folder=tmp_path,
        )
    assert code == 0, printed[-6000:]
    assert "not_a_server_error" not in printed
