"""A server as a process of its own, which can be killed and started again on the same data and port."""

import asyncio
import os
import signal
import sys
from pathlib import Path


class ServerProcess:
    """`legato serve` with what a test wants of it. `address` is there after `start`."""

    def __init__(self, folder: Path, *flags: str, config: str = "") -> None:
        self._folder = folder
        self._flags = flags
        self._port = 0
        self._process: asyncio.subprocess.Process | None = None
        self.address = ""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "legato.toml").write_text(config)

    async def start(self) -> None:
        """Start it and wait until it takes requests; on the port it had before."""
        with (self._folder / "stderr").open("ab") as errors:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "legato",
                "serve",
                *("--port", str(self._port), "--data-dir", str(self._folder)),
                *("--config", str(self._folder / "legato.toml")),
                *self._flags,
                stdout=asyncio.subprocess.PIPE,
                stderr=errors,
                env={name: value for name, value in os.environ.items() if not name.startswith("LEGATO_")},
            )
        assert self._process.stdout is not None
        line = (await self._process.stdout.readline()).decode()
        assert line.startswith("Legato is ready at "), (self._folder / "stderr").read_text()
        self.address = line.split()[-1]
        self._port = int(self.address.rpartition(":")[2])

    @property
    def socket(self) -> str:
        return self.address.replace("http", "ws", 1) + "/ws"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    async def kill(self) -> None:
        """`kill -9`."""
        await self._end(signal.SIGKILL)

    async def stop(self) -> int:
        """SIGTERM; its exit status."""
        return await self._end(signal.SIGTERM)

    async def rest(self) -> str:
        """What it wrote to stdout after its first line. It has ended."""
        assert self._process is not None
        assert self._process.stdout is not None
        return (await self._process.stdout.read()).decode()

    async def _end(self, number: signal.Signals) -> int:
        assert self._process is not None
        if self._process.returncode is None:
            self._process.send_signal(number)
        return await self._process.wait()
