"""The feed, seen from a server in Python: lines of the load generator in, the jobs it is to write tokens for out.

A line is `{"job":N,"token":"…"}`, and at the end of a job `{"job":N,"type":"finished"}`. A server asks for a job by
`{"job":N}` on any of the connections.
"""

import asyncio
import re
from collections.abc import Callable
from typing import NamedTuple, cast

from msgspec import Struct
from msgspec.json import Decoder

JOB = re.compile(r"job (\d+)")
"""How a person's message names the job that is to answer it."""


class Line(Struct, gc=False):
    job: int
    token: str = ""
    type: str = ""


class Job(NamedTuple):
    """What takes the tokens of a job, and is told how it ended: `finished`, or `lost` with the feed."""

    text: Callable[[str], None]
    end: Callable[[str], None]


class Feed:
    """All feed connections of one server. `jobs` maps the number of each job to what takes its lines."""

    def __init__(self) -> None:
        self.jobs: dict[int, Job] = {}
        self.connections: list[asyncio.Transport] = []
        self._server: asyncio.Server | None = None

    async def listen(self, port: int) -> None:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: Connection(self), "127.0.0.1", port)

    def ask(self, number: int, job: Job) -> None:
        """Hand the lines of a job to `job` from now on, and ask for them."""
        self.jobs[number] = job
        self.connections[0].write(b'{"job":%d}\n' % number)

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

    def connection_lost(self, exc: Exception | None) -> None:
        for job in self._feed.jobs.values():
            job.end("lost")

    def data_received(self, data: bytes) -> None:
        if self._rest:
            data = self._rest + data
        end = data.rfind(b"\n") + 1
        self._rest = data[end:]
        jobs = self._feed.jobs
        for line in self._decode(data[:end]):
            if line.token:
                jobs[line.job].text(line.token)
            else:
                jobs[line.job].end(line.type)
