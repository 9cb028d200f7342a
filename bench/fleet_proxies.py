"""A token through the fleet beside a token through what else is put before models: LiteLLM's proxy, and nginx.

    python bench/fleet.py proxies [--streams 100] [--pace 10]

All stand before the same upstream (`upstream.py`, which speaks as OpenAI's servers do), and the same clients read events
from them. To the fleet the tokens come from one `legato agent` with that upstream as its engine; its clients ask at
`/api/chat/completions`. What is told is the CPU of the server alone, and, for the fleet, that of server and agent together.
LiteLLM is installed into an environment of its own, below the user's cache, the first time; nginx is that of the system.
"""

import argparse
import asyncio
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from fleet_goals import Goal, quantiles
from fleet_llama import agents_of, person
from harness import (
    BENCH,
    FLEET,
    LOAD_CORE,
    PYTHON,
    SECRET,
    SERVER_CORE,
    FailedRunError,
    Peer,
    Running,
    cpu_seconds,
    free_port,
    pinned,
    serving,
    token,
)

TIMES = 10.0
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "legato-bench"
STAMP = re.compile(rb"<(\d+)>")
PATIENCE = 90.0

NGINX = """
daemon off; master_process off; worker_processes 1; pid {folder}/nginx.pid; error_log stderr;
events {{ worker_connections 4096; }}
http {{
  access_log off; client_body_temp_path {folder}/a; proxy_temp_path {folder}/b; fastcgi_temp_path {folder}/c;
  uwsgi_temp_path {folder}/d; scgi_temp_path {folder}/e;
  upstream model {{ server 127.0.0.1:{upstream}; keepalive 256; }}
  server {{ listen 127.0.0.1:{port}; location / {{
    proxy_pass http://model; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off;
  }} }}
}}
"""

LITELLM = """
model_list:
  - model_name: m
    litellm_params: {{ model: openai/m, api_base: "http://127.0.0.1:{upstream}/v1", api_key: none }}
litellm_settings: {{ telemetry: false }}
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--streams", type=int, default=100)
    parser.add_argument("--pace", type=float, default=10.0, help="tokens a second of each")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each run")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each")
    parser.add_argument("--without", default="", help="peers to leave out: litellm, nginx")


@dataclass
class Under:
    """A server under test: where its clients ask, and the processes that spend CPU on it, the server first."""

    address: str
    pids: list[int]
    key: str


def litellm() -> Path | None:
    """LiteLLM's proxy, installed if need be; None where that cannot be."""
    folder = CACHE / "litellm"
    program = folder / "bin" / "litellm"
    if program.exists():
        return program
    print("  installing LiteLLM's proxy, once …", flush=True)
    CACHE.mkdir(parents=True, exist_ok=True)
    try:
        subprocess.run([PYTHON, "-m", "venv", "--clear", str(folder)], check=True, capture_output=True)
        subprocess.run(
            [str(folder / "bin" / "pip"), "install", "-q", "litellm[proxy]"],
            check=True,
            capture_output=True,
            text=True,
            timeout=600,
        )
    except (subprocess.SubprocessError, OSError) as error:
        print(f"  it cannot be installed: {str(getattr(error, 'stderr', '') or error)[-300:]}")
        return None
    return program if program.exists() else None


@contextmanager
def started(command: list[str], folder: Path, port: int) -> Iterator[Under]:
    """A program on the server's core, from when its port answers until the block ends.

    :raises FailedRunError: it never does.
    """
    key = f"sk-{SECRET}"
    environment = {**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_MASTER_KEY": key}
    environment.pop("PYTHONPATH", None)
    with listening(command[0], command, folder / f"log-{port}", environment, port) as pid:
        yield Under(f"http://127.0.0.1:{port}/v1/chat/completions", [pid], key)


@contextmanager
def listening(
    name: str,
    command: list[str],
    log: Path,
    environment: dict[str, str],
    port: int,
    patience: float = PATIENCE,
) -> Iterator[int]:
    """The process id of a program on the server's core, from when its port answers until the block ends.

    :raises FailedRunError: it never does.
    """
    with log.open("w") as output:
        process = subprocess.Popen(
            pinned(SERVER_CORE, command), stdout=output, stderr=output, env=environment
        )
    try:
        late = time.monotonic() + patience
        while not answers(port):
            if process.poll() is not None or time.monotonic() > late:
                raise FailedRunError(f"{name} did not start:\n{log.read_text()[-2000:]}")
            time.sleep(0.2)
        yield process.pid
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def answers(port: int) -> bool:
    done = subprocess.run(
        [sys.executable, "-c", f"import socket; socket.create_connection(('127.0.0.1', {port}), 1)"],
        check=False,
        capture_output=True,
    )
    return done.returncode == 0


async def read(under: Under, streams: int, length: int, pace: float) -> dict[str, Any]:
    """So many clients, all reading at once: what a token cost, and how long it was on its way.

    :raises FailedRunError: a reply was not whole.
    """
    body = json.dumps({"model": "m", "stream": True, "messages": [{"role": "user", "content": "Hello"}]})
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {under.key}"}
    ways: list[float] = []
    complaints: list[str] = []

    async def one(http: aiohttp.ClientSession, delay: float) -> int:
        await asyncio.sleep(delay)
        count, rest = 0, b""
        async with http.post(under.address, data=body, headers=headers) as response:
            async for data in response.content.iter_any():
                now = time.perf_counter_ns()
                rest += data
                last = 0
                for stamp in STAMP.finditer(rest):
                    ways.append((now - int(stamp[1])) / 1000)
                    count, last = count + 1, stamp.end()
                rest = rest[last:]
        if count != length:
            complaints.append(f"{response.status}, {count} of {length} tokens, then {rest[-300:]!r}")
        return count

    timeout = aiohttp.ClientTimeout(total=PATIENCE)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=timeout) as http:
        await one(http, 0)  # what is only loaded with a first request is loaded now
        ways.clear()
        before = [cpu_seconds(pid) for pid in under.pids]
        got = await asyncio.gather(*(one(http, each / streams / pace) for each in range(streams)))
        spent = [cpu_seconds(pid) - then for pid, then in zip(under.pids, before, strict=True)]
    if complaints:
        raise FailedRunError(f"{under.address}: {len(complaints)} replies were not whole: {complaints[0]}")
    tokens = sum(got)
    return {
        "cpu_us": spent[0] / tokens * 1e6,
        "all_cpu_us": sum(spent) / tokens * 1e6,
        "token_us": quantiles(ways),
        "tokens": tokens,
    }


async def through_fleet(server: Running, upstream: int, ask: Any) -> dict[str, Any]:
    async with AsyncExitStack() as stack:
        http, _ = await stack.enter_async_context(person(server))
        flags = ["--engine", "openai", "--url", f"http://127.0.0.1:{upstream}/v1", "--model", "m"]
        pids = await stack.enter_async_context(agents_of(server, http, flags, 1, 1000))
        address = f"http://127.0.0.1:{server.port}/api/chat/completions"
        found: dict[str, Any] = await ask(Under(address, [server.pid, *pids], token(0)))
        return found


def measure(given: argparse.Namespace) -> tuple[dict[str, Any], list[Goal]]:
    """The figures of each run, and what they should be.

    :raises FailedRunError: a reply was not whole.
    """
    left_out = given.without.split(",")
    proxy = None if "litellm" in left_out else litellm()
    nginx = None if "nginx" in left_out else shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    print(
        f"{given.streams} streams of {given.pace:g} tokens/s each, as server-sent events, from the same upstream"
    )
    for name, there in (("LiteLLM", proxy), ("nginx", nginx)):
        if there is None:
            print(f"  skipped  {name}: it is not on this machine")
    length = max(1, int(given.pace * given.seconds))
    source = Peer("upstream", [PYTHON, str(BENCH / "upstream.py"), "{port}", str(given.pace), str(length)])
    found: dict[str, list[dict[str, Any]]] = {}
    before = os.sched_getaffinity(0)

    def ask(under: Under) -> Any:
        return read(under, given.streams, length, given.pace)

    try:
        with serving(source) as upstream:
            os.sched_setaffinity(upstream.pid, {LOAD_CORE})
            os.sched_setaffinity(0, {LOAD_CORE})
            folder = upstream.directory
            for _ in range(given.repeats):
                with serving(FLEET) as server:
                    found.setdefault("Legato", []).append(
                        asyncio.run(through_fleet(server, upstream.port, ask))
                    )
                if proxy is not None:
                    config, port = folder / "litellm.yaml", free_port()
                    config.write_text(LITELLM.format(upstream=upstream.port))
                    words = [str(proxy), "--config", str(config), "--host", "127.0.0.1", "--port", str(port)]
                    with started(words, folder, port) as under:
                        found.setdefault("LiteLLM", []).append(asyncio.run(ask(under)))
                if nginx is not None:
                    config, port = folder / "nginx.conf", free_port()
                    config.write_text(NGINX.format(folder=folder, upstream=upstream.port, port=port))
                    with started([nginx, "-c", str(config), "-e", "stderr"], folder, port) as under:
                        found.setdefault("nginx", []).append(asyncio.run(ask(under)))
    finally:
        os.sched_setaffinity(0, before)
    medians = {
        name: {key: statistics.median(run[key] for run in runs) for key in ("cpu_us", "all_cpu_us")}
        for name, runs in found.items()
    }
    for name, each in medians.items():
        ways = [run["token_us"] for run in found[name]]
        more = f" ({each['all_cpu_us']:.0f} with the agent)" if name == "Legato" else ""
        print(
            f"  {name:9} {each['cpu_us']:6.0f} µs of CPU a token{more}   on its way p50 "
            f"{statistics.median(way['p50'] for way in ways):.0f} µs  p99 {statistics.median(way['p99'] for way in ways):.0f} µs"
        )
    goals = []
    if "LiteLLM" in medians:
        ratio = medians["LiteLLM"]["cpu_us"] / medians["Legato"]["cpu_us"]
        goals.append(
            Goal(
                f"CPU a token: LiteLLM's proxy takes {ratio:.1f}× as much (goal ≥{TIMES:g}×)", ratio >= TIMES
            )
        )
    return {"runs": found, "medians": medians}, goals
