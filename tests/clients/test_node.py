"""The official SDKs in Node.js, unmodified, on a real port: one process runs all cases of `node/`."""

import asyncio
import json
from pathlib import Path

import pytest
from tests.doubles.engines import replace_demo
from tests.doubles.rule_engine import RuleEngine
from tests.gateway.server import serving, settings_for
from tests.node import CLIENTS, NODE, environment, installed

CASES = 46
"""How many cases there are: a run that ended early is no success."""


async def test_the_official_sdks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await asyncio.to_thread(installed, CLIENTS)
    engine = RuleEngine()
    replace_demo(monkeypatch, engine)
    async with serving(settings_for(tmp_path)) as server:
        process = await asyncio.create_subprocess_exec(
            str(NODE),
            "run.mjs",
            cwd=CLIENTS,
            env=environment() | {"LEGATO_ADDRESS": server.address},
            stdout=asyncio.subprocess.PIPE,
        )
        assert process.stdout is not None
        results: dict[str, str | None] = {}
        async for line in process.stdout:
            told = json.loads(line)
            if told.get("go"):
                engine.go()
            else:
                results[told["case"]] = told["error"]
        assert await process.wait() == 0, json.dumps(results, indent=1)
    assert {case: error for case, error in results.items() if error is not None} == {}
    assert len(results) == CASES, list(results)
