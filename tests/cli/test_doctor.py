import asyncio
import errno
import json
import os
import re
import socket
import sqlite3
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from legato.check_result import CheckResult
from legato.cli import checks, component_checks, engine_checks
from legato.cli.checks import run_checks
from legato.engines.llama import engine_type as llama_type
from legato.engines.llama import model_files, packaged_model
from legato.gateway.config import load_settings
from legato.gateway.settings import Settings
from legato.testing.gguf import random_model

NOWHERE = "http://127.0.0.1:1"


@pytest.fixture
def settings(tmp_path: Path) -> Callable[..., Settings]:
    """Settings of a server that would start, with what the text of a `legato.toml` adds."""

    def make(text: str = "", flags: dict[str, Any] | None = None, **environ: str) -> Settings:
        (tmp_path / "legato.toml").write_text(text)
        here = {"XDG_DATA_HOME": str(tmp_path), "OLLAMA_HOST": NOWHERE, **environ}
        return load_settings({"port": 0, "engine": "demo", **(flags or {})}, here, tmp_path)

    return make


@pytest.fixture
async def answering() -> AsyncIterator[Callable[..., Any]]:
    """A web server that answers each path with the JSON it is given."""
    runners: list[web.AppRunner] = []

    async def start(**answers: object) -> str:
        async def answer(request: web.Request) -> web.Response:
            name = request.path.strip("/").replace("/", "_")
            return web.json_response(answers[name]) if name in answers else web.json_response({}, status=404)

        app = web.Application()
        app.router.add_route("*", "/{any:.*}", answer)
        runner = web.AppRunner(app)
        runners.append(runner)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        return f"http://127.0.0.1:{runner.addresses[0][1]}"

    yield start
    for runner in runners:
        await runner.cleanup()


def about(findings: list[CheckResult], what: str) -> CheckResult:
    (found,) = (finding for finding in findings if finding.about == what)
    return found


async def test_a_server_that_would_start_has_no_problem(settings: Callable[..., Settings]) -> None:
    findings = await run_checks(settings(), {})
    assert [finding for finding in findings if finding.verdict == "problem"] == []
    assert "will be made" in about(findings, "Database").message


class TestSignIn:
    async def test_an_open_server_for_everyone_is_a_problem(self, settings: Callable[..., Settings]) -> None:
        found = checks.auth(settings(flags={"host": "0.0.0.0"}))
        assert found.verdict == "problem"
        assert "LEGATO_JWT_SECRET" in found.message

    async def test_a_short_secret_is_worth_a_note(self, settings: Callable[..., Settings]) -> None:
        found = checks.auth(settings(LEGATO_JWT_SECRET="hush"))
        assert (found.verdict, "hush" in str(found)) == ("note", False)
        assert "openssl rand" in found.fix
        assert checks.auth(settings(LEGATO_JWT_SECRET="x" * 32)).verdict == "ok"

    async def test_keys_that_cannot_be_fetched_are_a_problem(
        self, settings: Callable[..., Settings], answering: Callable[..., Any]
    ) -> None:
        (found,) = await checks.jwks(settings(f'[auth]\njwks_url = "{NOWHERE}/jwks"\n'))
        assert found.verdict == "problem"
        url = await answering(jwks={"keys": []})
        (found,) = await checks.jwks(settings(f'[auth]\njwks_url = "{url}/jwks"\n'))
        assert found.verdict == "ok"

    def test_a_name_that_is_nearly_one_of_ours_is_worth_a_note(self) -> None:
        (found,) = checks.variables(
            {
                "LEGATO_JWT_SECRTE": "x",
                "LEGATO_JWT_SECRET": "x",
                "LEGATO_PORT": "tcp://10.0.0.1:80",
                "LEGATO_SERVER__PORT": "1",
                "HOME": "/",
            }
        )
        assert (found.verdict, found.fix) == ("note", "Did you mean LEGATO_JWT_SECRET?")


class TestDataDirectory:
    def test_one_that_others_can_read_is_worth_a_note(
        self, settings: Callable[..., Settings], tmp_path: Path
    ) -> None:
        path = settings().make_data_dir()
        assert next(checks.data_dir(settings())).verdict == "ok"
        path.chmod(0o755)
        found = next(checks.data_dir(settings()))
        assert (found.verdict, found.fix) == ("note", f"chmod 700 {path}")

    def test_a_file_in_its_place_is_a_problem(
        self, settings: Callable[..., Settings], tmp_path: Path
    ) -> None:
        (tmp_path / "file").write_text("")
        (found,) = checks.data_dir(settings(flags={"data_dir": "file/data"}))
        assert found.verdict == "problem"
        assert "--data-dir" in found.fix

    def test_one_that_cannot_be_made_is_a_problem_whatever_the_rights_say(
        self, settings: Callable[..., Settings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        before = list(tmp_path.iterdir())

        def refused(path: str, mode: int = 0o777) -> None:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), path)

        monkeypatch.setattr(os, "mkdir", refused)
        (found,) = checks.data_dir(settings(flags={"data_dir": "new/data"}))
        assert (found.verdict, "cannot be made" in found.message) == ("problem", True)
        monkeypatch.undo()
        assert next(checks.data_dir(settings(flags={"data_dir": "new/data"}))).verdict == "ok"
        assert [each for each in tmp_path.iterdir() if each.name != "legato.toml"] == before

    def test_one_that_may_not_be_written_is_a_problem(
        self, settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(os, "access", lambda path, mode: False)
        (found,) = checks.data_dir(settings())
        assert found.verdict == "problem"

    @pytest.mark.parametrize(("free", "verdict"), [(1 << 40, "ok"), (1 << 29, "note"), (1 << 20, "problem")])
    def test_a_full_disk_is_a_problem(
        self, settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch, free: int, verdict: str
    ) -> None:
        monkeypatch.setattr("shutil.disk_usage", lambda path: Usage(free))
        assert about(list(checks.data_dir(settings())), "Disk").verdict == verdict


class Usage:
    def __init__(self, free: int) -> None:
        self.free = free


class TestDatabase:
    async def test_one_that_is_there_is_opened_and_left_as_it_is(
        self, settings: Callable[..., Settings]
    ) -> None:
        path = settings().make_data_dir() / "legato.db"
        with sqlite3.connect(path) as connection:
            connection.execute("CREATE TABLE conversations (id TEXT)")
            connection.execute("INSERT INTO conversations VALUES ('v')")
        connection.close()
        before = path.read_bytes()
        found = await checks.database_opens(settings())
        assert (found.verdict, "with 1 conversation." in found.message) == ("ok", True)
        assert path.read_bytes() == before

    async def test_what_is_no_database_is_a_problem(self, settings: Callable[..., Settings]) -> None:
        (settings().make_data_dir() / "legato.db").write_bytes(b"nonsense" * 1000)
        assert (await checks.database_opens(settings())).verdict == "problem"

    @pytest.mark.parametrize("url", ["mysql://u:hush@db/x", "nonsense", "postgresql://u:hush@127.0.0.1:1/x"])
    async def test_one_that_cannot_be_is_a_problem_without_its_password(
        self, settings: Callable[..., Settings], url: str
    ) -> None:
        found = await checks.database_opens(settings(LEGATO_DATABASE_URL=url))
        assert (found.verdict, "hush" in str(found)) == ("problem", False)

    async def test_a_file_may_be_named(self, settings: Callable[..., Settings], tmp_path: Path) -> None:
        found = await checks.database_opens(settings(LEGATO_DATABASE_URL=f"sqlite:///{tmp_path}/other.db"))
        assert f"{tmp_path}/other.db will be made" in found.message


class TestPort:
    async def test_a_legato_that_runs_there_is_ok(
        self, settings: Callable[..., Settings], answering: Callable[..., Any]
    ) -> None:
        url = await answering(api_info={"server": "9.9", "auth": False, "assistants": []})
        (found,) = await checks.ports(settings(flags={"port": int(url.rpartition(":")[2])}))
        assert (found.verdict, "Legato 9.9 is running" in found.message) == ("ok", True)

    async def test_something_else_there_is_a_problem(
        self, settings: Callable[..., Settings], answering: Callable[..., Any]
    ) -> None:
        url = await answering()
        (found,) = await checks.ports(settings(flags={"port": int(url.rpartition(":")[2])}))
        assert (found.verdict, "--port" in found.message) == ("problem", True)

    async def test_a_free_one_is_ok(self, settings: Callable[..., Settings]) -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            free = taken.getsockname()[1]
        (found,) = await checks.ports(settings(flags={"port": free}))
        assert found.verdict == "ok"

    async def test_the_agents_have_one_too(
        self, settings: Callable[..., Settings], answering: Callable[..., Any]
    ) -> None:
        url = await answering()
        taken = int(url.rpartition(":")[2])
        server, agents = await checks.ports(settings(flags={"agents_port": taken}))
        assert (server.verdict, agents.verdict) == ("ok", "problem")
        assert "--agents-port" in agents.message

    @pytest.mark.parametrize("host", ["192.0.2.1", "nohost.invalid"])
    @pytest.mark.parametrize("port", [0, 1])
    async def test_a_host_that_is_not_here_is_to_blame_and_not_its_port(
        self, settings: Callable[..., Settings], host: str, port: int
    ) -> None:
        (found,) = await checks.ports(settings(flags={"host": host, "port": port}))
        assert found.verdict == "problem"
        assert found.message.startswith("--host: ")
        assert "--port" not in str(found)


TAGS: dict[str, object] = {"models": [{"name": "llama3:latest", "model": "llama3:latest", "size": 1}]}


class TestEngines:
    async def look(self, settings: Settings) -> list[CheckResult]:
        async with asyncio.timeout(30):
            return await engine_checks.engines(settings)

    @pytest.mark.parametrize(
        ("tags", "model", "verdict", "fix"),
        [
            (TAGS, None, "ok", ""),
            (TAGS, "llama3", "ok", ""),
            (TAGS, "phi3", "problem", "ollama pull phi3"),
            ({"models": []}, None, "problem", "ollama pull qwen3:0.6b"),
        ],
    )
    async def test_ollama_must_have_the_model(
        self,
        settings: Callable[..., Settings],
        answering: Callable[..., Any],
        tags: object,
        model: str | None,
        verdict: str,
        fix: str,
    ) -> None:
        url = await answering(api_tags=tags, api_ps={"models": []}, api_version={"version": "0.17"})
        (found,) = await self.look(settings(flags={"engine": "ollama", "model": model, "url": url}))
        assert (found.verdict, found.fix) == (verdict, fix)

    async def test_a_demo_model_must_be_one(self, settings: Callable[..., Settings]) -> None:
        assert await self.look(settings(flags={"engine": "demo"})) == []
        (found,) = await self.look(settings(flags={"engine": "auto", "model": "demo:nope"}))
        assert (found.verdict, "demo:canned" in found.message) == ("problem", True)

    async def test_an_ollama_that_is_not_there_is_a_problem_where_it_was_asked_for(
        self, settings: Callable[..., Settings]
    ) -> None:
        (found,) = await self.look(settings(flags={"engine": "ollama"}))
        assert (found.about, found.verdict) == ("Ollama", "problem")

    async def test_where_it_was_not_something_else_answers(
        self, settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(llama_type, "find_spec", lambda name: None)
        ollama, llama = await self.look(settings(flags={"engine": "auto"}))
        assert (ollama.verdict, llama.verdict) == ("note", "note")
        assert "The demo engine answers." in ollama.message
        assert "pip install" in llama.message

    async def test_a_model_file_must_be_there(
        self, settings: Callable[..., Settings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for module in ("legato.engines.llama.engine_type", "legato.engines.llama.engine"):
            monkeypatch.setattr(f"{module}.find_spec", lambda name: True)
        flags = {"engine": "llama", "model": str(tmp_path / "model.gguf")}
        (found,) = await self.look(settings(flags=flags))
        assert found.verdict == "problem"
        (tmp_path / "model.gguf").write_bytes(b"nonsense")
        (found,) = await self.look(settings(flags=flags))
        assert (found.verdict, "not a whole GGUF" in found.message) == ("problem", True)
        random_model(tmp_path / "model.gguf")
        (found,) = await self.look(settings(flags=flags))
        assert found.verdict == "ok"
        (found,) = await self.look(settings('[engines.llama]\nmmproj = "gone"\n', flags))
        assert (found.verdict, "mmproj" in found.message) == ("problem", True)
        monkeypatch.setattr(llama_type, "packaged_model", lambda: None)
        for flags in ({"engine": "llama"}, {"engine": "llama", "model": "owner/repository/file.gguf"}):
            (found,) = await self.look(settings(flags=flags))
            assert (found.verdict, "fetched at the first start" in found.message) == ("note", True)

    async def test_the_packaged_model_is_here_and_a_better_one_is_offered(
        self, settings: Callable[..., Settings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = tmp_path / packaged_model.FILE
        random_model(path)
        for module in (llama_type, model_files):
            monkeypatch.setattr(module, "packaged_model", lambda: path)
        for module in ("legato.engines.llama.engine_type", "legato.engines.llama.engine"):
            monkeypatch.setattr(f"{module}.find_spec", lambda name: True)
        monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
        (found,) = await self.look(settings(flags={"engine": "llama"}))
        assert found.verdict == "ok"
        assert found.message == f"SmolLM2-135M-Instruct is here. {packaged_model.HINT}"
        (found,) = await self.look(settings(flags={"engine": "llama", "model": packaged_model.NAME}))
        assert (found.verdict, found.message) == ("ok", "SmolLM2-135M-Instruct is here.")
        monkeypatch.setattr(model_files, "packaged_model", lambda: None)
        (found,) = await self.look(settings(flags={"engine": "llama", "model": packaged_model.NAME}))
        assert (found.verdict, packaged_model.INSTALL in found.message) == ("problem", True)
        monkeypatch.setattr(llama_type, "packaged_model", lambda: None)
        (found,) = await self.look(settings(flags={"engine": "llama"}))
        assert (found.verdict, packaged_model.INSTALL in found.fix) == ("note", True)

    async def test_an_openai_api_is_asked_for_its_models(
        self, settings: Callable[..., Settings], answering: Callable[..., Any]
    ) -> None:
        url = await answering(v1_models={"object": "list", "data": [{"id": "gpt", "object": "model"}]})
        flags = {"engine": "openai", "url": f"{url}/v1", "api_key": "hush"}
        (found,) = await self.look(settings(flags={**flags, "model": "gpt"}))
        assert found.verdict == "ok"
        (found,) = await self.look(settings(flags={**flags, "model": "other"}))
        assert found.verdict == "note"
        (found,) = await self.look(settings(flags={**flags, "url": NOWHERE}))
        assert (found.verdict, "hush" in str(found)) == ("problem", False)

    async def test_each_is_looked_at_once(self, settings: Callable[..., Settings]) -> None:
        text = '[assistants.a]\nengine = "ollama"\n[assistants.b]\nengine = "ollama"\n'
        (found,) = await self.look(settings(text))
        assert found.about == "Ollama"

    async def test_one_that_is_dead_is_reported_once_for_all_its_models(
        self, settings: Callable[..., Settings]
    ) -> None:
        flags = {"engine": "ollama", "model": "a", "backup_model": "b"}
        (found,) = await self.look(settings(flags=flags))
        assert found.about == "Ollama"


class TestTools:
    async def look(self, settings: Settings) -> CheckResult:
        (found,) = await component_checks.tools(settings)
        return found

    @pytest.mark.parametrize(
        ("section", "why"),
        [
            ('kind = "mongodb"\ndatabase = "d"\n', "needs `collections`"),
            ('kind = "mcp"\n', "needs either `command` or `url`"),
            ('kind = "mcp"\nurl = "http://x"\nuri = "y"\n', "has no setting 'uri'"),
        ],
    )
    async def test_one_that_the_server_refuses_is_a_problem_with_its_line(
        self, settings: Callable[..., Settings], section: str, why: str
    ) -> None:
        found = await self.look(settings(f'[assistants.a]\ntools = ["t"]\n[tools.t]\n{section}'))
        assert (found.verdict, why in found.message) == ("problem", True)
        assert "legato.toml, line 3: " in found.message

    async def test_one_that_does_not_answer_is_worth_a_note(self, settings: Callable[..., Settings]) -> None:
        for section, who in (
            ('kind = "mcp"\ncommand = ["no-such-program", "hush"]\n', "'no-such-program'"),
            ('kind = "mcp"\nurl = "http://u:hush@127.0.0.1:1/mcp?key=hush"\n', "http://127.0.0.1:1/mcp."),
        ):
            found = await self.look(settings(f'[assistants.a]\ntools = ["t"]\n[tools.t]\n{section}'))
            assert (found.verdict, who in found.message, "hush" in str(found)) == ("note", True, False)

    async def test_one_that_is_there_is_ok(self, settings: Callable[..., Settings]) -> None:
        command = [sys.executable, str(Path(__file__).parent.parent / "doubles" / "mcp_server.py")]
        text = f'[assistants.a]\ntools = ["t"]\n[tools.t]\nkind = "mcp"\ncommand = {json.dumps(command)}\n'
        found = await self.look(settings(text))
        assert (found.verdict, found.message) == ("ok", "It offers 6 tools.")

    async def test_one_that_no_assistant_has_is_not_opened(self, settings: Callable[..., Settings]) -> None:
        assert await component_checks.tools(settings('[tools.t]\nkind = "mcp"\n')) == []


class TestMedia:
    async def test_a_transcriber_that_is_unavailable_is_a_problem(
        self, settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("legato.engines.whisper.find_spec", lambda name: None)
        (found,) = await component_checks.recordings(settings('[audio]\nengine = "whisper"\n'))
        assert (found.verdict, "legato[audio]" in found.message) == ("problem", True)
        (found,) = await component_checks.recordings(settings('[audio]\nengine = "openai"\n'))
        assert found.verdict == "ok"
        assert await component_checks.recordings(settings()) == []

    def test_a_place_for_attachments_that_cannot_be_made_is_worth_a_note(
        self, settings: Callable[..., Settings], tmp_path: Path
    ) -> None:
        (tmp_path / "file").write_text("")
        (found,) = component_checks.attachments(settings(f'[attachments]\ndirectory = "{tmp_path}/file/x"\n'))
        assert (found.verdict, "in the way" in found.message) == ("note", True)
        (found,) = component_checks.attachments(settings(f'[attachments]\ndirectory = "{tmp_path}/x"\n'))
        assert found.verdict == "ok"


class TestTheCommand:
    def test_it_can_be_read_without_colour(self, legato: Any) -> None:
        shown = legato("doctor", "--port", "0", env={"OLLAMA_HOST": NOWHERE, "COLUMNS": "200"})
        assert "\x1b" not in shown.stdout
        lines = shown.stdout.splitlines()
        assert re.match(r"ok +Python +Legato \S+ on Python", lines[0])
        assert shown.returncode == 0

    def test_a_problem_is_its_status(self, legato: Any, tmp_path: Path) -> None:
        (tmp_path / "legato.toml").write_text("[server]\nprot = 1\n")
        shown = legato("doctor", env={"COLUMNS": "200"})
        assert shown.returncode == 1
        assert "legato.toml, line 2: [server] has no setting 'prot'. Did you mean 'port'?" in shown.stdout
        assert "1 problem to solve." in shown.stdout
