"""Clients of others in Python, unmodified, in processes of their own environment, on a real port."""

import xml.etree.ElementTree as ElementTree
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.clients.environment import SCRIPTS, failures, require_clients, run_checks, run_python
from tests.clients.recorded import recorded
from tests.doubles.engines import replace_demo
from tests.doubles.schema_engine import MODEL, SchemaEngine
from tests.gateway.server import serving, settings_for

from legato.engines.llama.packaged_model import packaged_model
from legato.gateway.server import Server

pytestmark = pytest.mark.timeout(240)


@pytest.fixture
def small_model() -> str:
    """The name by which the real small model answers, empty if it is not installed."""
    return "small" if packaged_model() is not None else ""


@pytest.fixture
async def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, small_model: str) -> AsyncIterator[Server]:
    """A server whose models are scripted ones and, if it is installed, the small one."""
    require_clients()
    replace_demo(monkeypatch, SchemaEngine(models=(MODEL, "other")))
    assistants: dict[str, Any] = {"default": {"engine": "demo", "model": "demo:echo"}}
    if small_model:
        assistants[small_model] = {"engine": "llama", "options": {"temperature": 0, "repeat_penalty": 1}}
    engines = {"llama": {"slots": 1, "threads": 1, "context": 512}}
    settings = settings_for(tmp_path / "data", assistants=assistants, engines=engines)
    # Neither a better model in the cache of the person who runs the tests, nor a download.
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    async with serving(settings) as server:
        yield server


async def test_the_clients(server: Server, tmp_path: Path, small_model: str) -> None:
    modules = ["sdks", "instructor_client", "llm_client", "litellm_client"]
    results = await run_checks(
        *modules,
        *(["small_model"] if small_model else ()),
        address=server.address,
        folder=tmp_path,
        model=MODEL,
        small_model=small_model,
    )
    assert not failures(results)
    passed = [
        [each["client"], each["api"], each["feature"]] for each in results if each["api"] != "small model"
    ]
    assert passed == recorded("checks", passed)


async def test_the_standard_suites_of_langchain(server: Server, tmp_path: Path, small_model: str) -> None:
    results = tmp_path / "results.xml"
    code, printed = await run_python(
        *("-m", "pytest", "-q", "--asyncio-mode=auto", "-c", "/dev/null", "--rootdir", str(tmp_path)),
        *("-p", "no:cacheprovider", "-p", "no:codspeed", "--junit-xml", str(results)),
        str(SCRIPTS / "langchain_suites.py"),
        address=server.address,
        folder=tmp_path,
        model=MODEL,
        small_model=small_model,
    )
    assert code == 0, printed
    cases = list(ElementTree.parse(results).iter("testcase"))
    passed = [
        [case.attrib["classname"].rpartition(".")[2], case.attrib["name"]]
        for case in cases
        if case.find("skipped") is None and "Test" in case.attrib["classname"]
    ]
    assert passed == recorded("langchain", passed)
