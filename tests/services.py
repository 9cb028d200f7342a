"""Real services for tests: one process each, in a directory of its own, reached by a socket that nobody else uses.

A service that is not installed skips the tests that need it, and fails them where `CI` is `true`: there it has to be.
"""

import fcntl
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NoReturn
from uuid import uuid4

import asyncpg
import pytest

from legato.engines.llama import packaged_model

POSTGRES_BINARIES = ("/usr/lib/postgresql/*/bin", "/usr/local/pgsql/bin", "/opt/homebrew/opt/postgresql*/bin")


def missing(what: str, package: str) -> NoReturn:
    """Skip this test, or fail it in CI, with a sentence that names the package."""
    sentence = f"{what} is not installed; this needs the package {package}."
    if os.environ.get("CI") == "true":
        pytest.fail(sentence)
    pytest.skip(sentence)


def small_model() -> Path:
    """Return the file of the real small model that `make setup` installs. Skip the test if it or llama.cpp is missing."""
    if find_spec("xllamacpp") is None:
        missing("llama.cpp", "xllamacpp")
    found = packaged_model.packaged_model()
    if found is None:
        missing(packaged_model.NAME, packaged_model.PACKAGE)
    return found


def _postgres_binaries() -> Path | None:
    found = shutil.which("initdb")
    if found is not None:
        return Path(found).resolve().parent
    for pattern in POSTGRES_BINARIES:
        for directory in sorted(Path("/").glob(pattern.lstrip("/")), reverse=True):
            if (directory / "initdb").exists():
                return directory
    return None


class PostgresServer:
    """A PostgreSQL of its own. It keeps nothing: no fsync, and its directory goes with it."""

    def __init__(self, binaries: Path, directory: Path, user: dict[str, Any]) -> None:
        self._binaries = binaries
        self._directory = directory
        self._user = user
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"postgresql://postgres@/postgres?host={self._directory}"

    def start(self) -> None:
        """Start it, also once more after `stop`; when this returns it takes connections."""
        options = [
            "fsync=off",
            "full_page_writes=off",
            "listen_addresses=",
            f"unix_socket_directories={self._directory}",
        ]
        command = [f"{self._binaries}/postgres", "-D", f"{self._directory}/data"]
        for option in options:
            command += ["-c", option]
        with (self._directory / "log").open("ab") as log:
            process = self._process = subprocess.Popen(
                command, stdout=log, stderr=log, cwd=self._directory, **self._user
            )
        ready = [f"{self._binaries}/pg_isready", "-q", "-h", f"{self._directory}"]
        while subprocess.run(ready, check=False).returncode != 0:
            if process.poll() is not None:
                raise RuntimeError((self._directory / "log").read_text())

    def stop(self) -> None:
        """Stop it at once, breaking every connection."""
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(30)
            self._process = None

    @asynccontextmanager
    async def schema(self) -> AsyncIterator[str]:
        """The URL of an empty schema, which is as good as a database of its own and made in a hundredth of the time."""
        name = f"t{uuid4().hex}"
        connection = await asyncpg.connect(self.url)
        try:
            await connection.execute(f"CREATE SCHEMA {name}")
            yield f"{self.url}&search_path={name}"
            await connection.execute(f"DROP SCHEMA {name} CASCADE")
        finally:
            await connection.close()

    def create(self) -> None:
        command = [
            f"{self._binaries}/initdb",
            "-D",
            f"{self._directory}/data",
            "-U",
            "postgres",
            "-A",
            "trust",
        ]
        command += ["--no-sync", "--encoding=UTF8", "--locale=C.UTF-8"]
        subprocess.run(command, check=True, capture_output=True, cwd=self._directory, **self._user)


@contextmanager
def postgres_server() -> Iterator[PostgresServer]:
    """A running PostgreSQL. It refuses to run as root, who becomes `postgres` for it."""
    binaries = _postgres_binaries()
    if binaries is None:
        missing("PostgreSQL", "postgresql")
    directory = Path(tempfile.mkdtemp(prefix="legato-pg-"))
    user: dict[str, Any] = {}
    if os.geteuid() == 0:
        account = pwd.getpwnam("postgres")
        user = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
        os.chown(directory, account.pw_uid, account.pw_gid)
    server = PostgresServer(binaries, directory, user)
    try:
        server.create()
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(directory, ignore_errors=True)


MONGODB = Path(__file__).parent / "doubles" / "mongodb"


class MongoServer:
    """A server that speaks MongoDB's wire protocol and keeps everything in memory."""

    def __init__(self, classpath: str) -> None:
        self._classpath = classpath
        self._process: subprocess.Popen[str] | None = None
        self.port = 0

    @property
    def uri(self) -> str:
        return f"mongodb://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it, empty; when this returns it takes connections."""
        command = ["java", "-XX:TieredStopAtLevel=1", "-Xmx256m", "-cp", self._classpath]
        process = self._process = subprocess.Popen(
            [*command, str(MONGODB / "Server.java")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert process.stdout is not None
        self.port = int(process.stdout.readline())

    def stop(self) -> None:
        """End it at once, breaking every connection."""
        if self._process is not None:
            process, self._process = self._process, None
            process.kill()
            process.communicate(timeout=30)


def _mongodb_classpath() -> str:
    """The jars, fetched from Maven Central once for all workers."""
    kept = Path(tempfile.gettempdir()) / f"legato-mongodb-{os.getuid()}.classpath"
    with kept.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        jars = kept.read_text() if kept.exists() else ""
        if not jars or not all(Path(jar).exists() for jar in jars.split(":")):
            command = ["mvn", "-q", "-B", "-f", str(MONGODB / "pom.xml"), "dependency:build-classpath"]
            made = subprocess.run(
                [*command, f"-Dmdep.outputFile={kept}"], capture_output=True, text=True, check=False
            )
            if made.returncode != 0:
                missing(
                    f"mongo-java-server ({made.stdout[-300:].strip()})", "de.bwaldvogel:mongo-java-server"
                )
            jars = kept.read_text()
        return jars


@contextmanager
def mongo_server() -> Iterator[MongoServer]:
    """A running server, where there are `java` and `mvn`."""
    for command, package in (("java", "default-jdk-headless"), ("mvn", "maven")):
        if shutil.which(command) is None:
            missing(command, package)
    server = MongoServer(_mongodb_classpath())
    server.start()
    try:
        yield server
    finally:
        server.stop()
