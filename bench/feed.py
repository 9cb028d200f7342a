"""The feed, seen from a server in Python: lines of the load generator in, the jobs it is to write tokens for out.

A line is `{"job":N,"token":"…"}`, and at the end of a job `{"job":N,"type":"finished"}`. A server asks for a job by
`{"job":N}` on any of the connections.
"""

import asyncio
import re
from collections.abc import Callable
from typing import cast

from msgspec import Struct
from msgspec.json import Decoder

JOB = re.compile(r"job (\d+)")
"""How a person's message names the job that is to answer it."""


class Line(Struct, gc=False):
    job: int
    token: str = ""
    type: str = ""


class Feed:
    """All feed connections of one server. `jobs` maps each job under way to what takes its lines."""

    def __init__(self) -> None:
        self.jobs: dict[int, Callable[[Line], None]] = {}
        self.connections: list[asyncio.Transport] = []
        self._server: asyncio.Server | None = None

    async def listen(self, port: int) -> None:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: Connection(self), "127.0.0.1", port)

    def ask(self, job: int, take: Callable[[Line], None]) -> None:
        """Hand the lines of `job` to `take` from now on, and ask for them."""
        self.jobs[job] = take
        self.connections[0].write(b'{"job":%d}\n' % job)

    def close(self) -> None:
        if self._server is not None:
            self._server.close()


class Connection(asyncio.Protocol):
    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self._rest = b""
        self._decode = Decoder(Line).decode_lines

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._feed.connections.append(cast("asyncio.Transport", transport))

    def data_received(self, data: bytes) -> None:
        if self._rest:
            data = self._rest + data
        end = data.rfind(b"\n") + 1
        self._rest = data[end:]
        jobs = self._feed.jobs
        for line in self._decode(data[:end]):
            jobs[line.job](line)
