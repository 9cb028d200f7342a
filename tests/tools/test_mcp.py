"""The tools of an MCP server, against a real one in a process of its own."""

import asyncio
import os
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from legato.errors import SettingsError, ToolError
from legato.tools.base import Context
from legato.tools.mcp import toolset
from legato.tools.mcp.toolset import McpTools

DOUBLES = Path(__file__).parent.parent / "doubles"
SERVER = str(DOUBLES / "mcp_server.py")
EARLIER = str(DOUBLES / "mcp_earlier.py")
ADA = Context("ada", "c", "r")


def stdio(**settings: object) -> McpTools:
    return McpTools("double", command=[sys.executable, SERVER], **settings)  # type: ignore[arg-type]


@pytest.fixture
async def tools() -> AsyncIterator[McpTools]:
    tools = stdio(max_bytes=1000, env={"GREETING": "hello"})
    await tools.open()
    yield tools
    await tools.close()


async def run(tools: McpTools, name: str, **arguments: object) -> str:
    tool = next(tool for tool in tools.tools if tool.spec.name == name)
    return await tool.run(arguments, ADA)


async def test_its_tools_are_offered_and_run(tools: McpTools) -> None:
    specs = {tool.spec.name: tool.spec for tool in tools.tools}
    assert list(specs) == ["add", "say_it", "fail", "die", "variable", "learn"]
    assert specs["add"].description == "Adds two numbers."
    assert specs["add"].parameters["required"] == ["a", "b"]
    assert await run(tools, "add", a=2, b=3) == "5"
    assert await run(tools, "say_it", text="ha") == "ha"


async def test_several_calls_at_once_are_distinguished(tools: McpTools) -> None:
    said = await asyncio.gather(*[run(tools, "add", a=n, b=n) for n in range(20)])
    assert said == [str(2 * n) for n in range(20)]


async def test_what_it_says_is_bounded(tools: McpTools) -> None:
    said = await run(tools, "say_it", text="x", times=5000)
    assert said == "x" * 1000 + "\n[cut: 1,000 of 5,000 bytes]"


async def test_what_fails_there_is_reported(tools: McpTools) -> None:
    with pytest.raises(ToolError, match="well is dry"):
        await run(tools, "fail")
    with pytest.raises(ToolError):
        await run(tools, "add", a="many")


async def test_a_server_that_dies_is_reported_and_started_again(tools: McpTools) -> None:
    with pytest.raises(ToolError, match="was lost meanwhile"):
        await run(tools, "die")
    assert await run(tools, "add", a=1, b=1) == "2"


async def test_its_environment_is_what_was_set_and_no_more(
    tools: McpTools, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await run(tools, "variable", key="GREETING") == "hello"
    monkeypatch.setenv("LEGATO_JWT_SECRET", "secret")
    other = stdio()
    await other.open()
    assert await run(other, "variable", key="LEGATO_JWT_SECRET") == ""
    await other.close()


async def test_only_some_are_offered_and_some_ask() -> None:
    every, some = stdio(only=["add", "gone"]), stdio(approval=["die"])
    for tools in (every, some):
        await tools.open()
    assert [(tool.spec.name, tool.approval) for tool in every.tools] == [("add", True)]
    assert [tool.spec.name for tool in some.tools if tool.approval] == ["die"]
    for tools in (every, some):
        await tools.close()


async def test_a_server_that_does_not_come_up_stops_no_one(caplog: pytest.LogCaptureFixture) -> None:
    tools = McpTools("gone", command=["/does/not/exist"])
    await tools.open()
    assert tools.tools == ()
    assert "[tools.gone] has no tools for now" in caplog.text
    assert "/does/not/exist" in caplog.text
    with pytest.raises(ToolError, match="cannot be reached"):
        await tools.call("add", {}, 5)
    await tools.close()


NOISY = (
    "import runpy, sys; sys.stderr.write('\\x1b[2J token=abcdefghijkl\\n' * 500 + 'x' * 5_000_000); "
    f"sys.stderr.flush(); runpy.run_path({SERVER!r}, run_name='__main__')"
)


async def test_what_its_program_prints_is_logged_within_bounds_and_never_raw(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level("INFO", "legato.tools.mcp.stdio")
    tools = McpTools("noisy", command=[sys.executable, "-c", NOISY])
    await tools.open()
    try:
        assert await run(tools, "add", a=1, b=2) == "3"
    finally:
        await tools.close()
    printed = [each.getMessage() for each in caplog.records if each.name == "legato.tools.mcp.stdio"]
    assert any("token=" in line for line in printed)
    assert len(printed) <= 120
    assert max(map(len, printed)) < 1200
    assert "\x1b" not in capfd.readouterr().err


async def offers(tools: McpTools, name: str) -> None:
    """Return once the tool is offered."""
    async with asyncio.timeout(30):
        while name not in [tool.spec.name for tool in tools.tools]:
            await asyncio.sleep(0.01)


async def test_one_that_was_away_at_the_start_is_offered_once_it_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(toolset, "RETRY_SECONDS", (0.01,))
    late = tmp_path / "late.py"
    tools = McpTools("late", command=[sys.executable, str(late)])
    await tools.open()
    assert tools.tools == ()
    late.write_text(Path(SERVER).read_text())
    await offers(tools, "add")
    assert await run(tools, "add", a=1, b=2) == "3"
    await tools.close()


async def test_one_that_never_comes_does_not_hold_up_the_end() -> None:
    tools = McpTools("gone", command=["/does/not/exist"])
    await tools.open()
    await asyncio.wait_for(tools.close(), 5)


@pytest.mark.parametrize("server", [SERVER, EARLIER])
async def test_what_it_learns_is_offered(server: str) -> None:
    tools = McpTools("learner", command=[sys.executable, server])
    await tools.open()
    assert await run(tools, "learn") == "learnt"
    await offers(tools, "sing")
    await tools.close()


async def test_one_that_says_too_much_at_once_is_ended_and_started_again(tools: McpTools) -> None:
    with pytest.raises(ToolError, match="more at once than 4 MiB"):
        await asyncio.wait_for(run(tools, "say_it", text="x" * 1000, times=30_000), 20)
    assert await asyncio.wait_for(run(tools, "add", a=1, b=1), 20) == "2"


async def test_a_large_answer_is_cut_as_any_other(tools: McpTools) -> None:
    said = await run(tools, "say_it", text="x" * 1000, times=1500)
    assert said.endswith("[cut: 1,000 of 1,500,000 bytes]")


async def test_one_that_does_not_end_by_itself_is_ended(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    stubborn = tmp_path / "stubborn.py"
    stubborn.write_text(
        "import os, signal, time, pathlib\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        f"exec(pathlib.Path({EARLIER!r}).read_text())\n"
        f"pathlib.Path({str(pid)!r}).write_text(str(os.getpid()))\n"
        "time.sleep(600)\n"
    )
    tools = McpTools("stubborn", command=[sys.executable, str(stubborn)])
    await tools.open()
    assert [tool.spec.name for tool in tools.tools] == ["learn"]
    await tools.close()
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)


async def test_over_http_it_comes_back_as_well() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    tools = McpTools("http", url=f"http://127.0.0.1:{port}/mcp", headers={"x-key": "k"})
    first = await served(port)
    try:
        await tools.open()
        assert await run(tools, "add", a=2, b=2) == "4"
    finally:
        await killed(first)
    with pytest.raises(ToolError):
        await run(tools, "add", a=2, b=2)
    second = await served(port)
    try:
        assert await run(tools, "add", a=3, b=3) == "6"
        await tools.close()
    finally:
        await killed(second)


async def served(port: int) -> asyncio.subprocess.Process:
    """The server over HTTP, once it takes connections."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, SERVER, str(port), stderr=asyncio.subprocess.PIPE
    )
    assert process.stderr is not None
    while b"running on" not in (line := await process.stderr.readline()):
        assert line, "it ended"
    return process


async def killed(process: asyncio.subprocess.Process) -> None:
    process.kill()
    await process.communicate()


@pytest.mark.parametrize("wrong", [{}, {"command": ["x"], "url": "http://x"}])
async def test_it_is_either_a_program_or_an_address(wrong: dict[str, object]) -> None:
    with pytest.raises(SettingsError, match="either `command` or `url`"):
        McpTools("double", **wrong)  # type: ignore[arg-type]
