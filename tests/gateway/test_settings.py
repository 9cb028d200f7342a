import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import msgspec
import pytest

from legato.chat.assistant import Assistant
from legato.errors import SettingsError
from legato.gateway.config import load_settings
from legato.gateway.config_file import line_of
from legato.gateway.engine_factory import make_engine
from legato.gateway.environment import VARIABLES, misspelled
from legato.gateway.flags import FLAGS
from legato.gateway.media import make_transcriber
from legato.gateway.settings import AssistantSettings, Settings, http_address
from legato.gateway.settings_tree import FILES
from legato.gateway.sockets import listen
from legato.gateway.wiring import open_database


@dataclass
class Place:
    """A directory with or without a `legato.toml`, a home of its own, and an environment of its own."""

    path: Path

    def write(self, text: str, name: str = "legato.toml") -> Path:
        file = self.path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
        return file

    def load(self, flags: Mapping[str, Any] | None = None, **environ: str) -> Settings:
        return load_settings(flags, {"XDG_DATA_HOME": str(self.path / "share"), **environ}, self.path)

    def complaint(self, flags: Mapping[str, Any] | None = None, **environ: str) -> str:
        with pytest.raises(SettingsError) as caught:
            self.load(flags, **environ)
        return caught.value.message


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


class TestWhereTheyComeFrom:
    def test_nothing_needs_to_be_set(self, place: Place) -> None:
        settings = place.load()
        assert (settings.server.host, settings.server.port) == ("127.0.0.1", 8000)
        assert settings.server.data_dir == place.path / "share" / "legato"
        assert not settings.auth.required
        assert settings.make_assistants() == {"default": Assistant(name="default")}
        assert settings.config_file is None

    def test_environment_outranks_the_file_and_flags_outrank_both(self, place: Place) -> None:
        file = place.write('[server]\nhost = "127.0.0.2"\nport = 1\nmax_frame_bytes = 2048\n')
        settings = place.load({"port": 3}, LEGATO_SERVER__PORT="2", LEGATO_SERVER__HOST="127.0.0.3")
        assert settings.server.port == 3
        assert settings.server.host == "127.0.0.3"
        assert settings.server.max_frame_bytes == 2048
        assert settings.config_file == file

    def test_a_flag_that_was_not_given_says_nothing(self, place: Place) -> None:
        place.write("[server]\nport = 1\n")
        assert place.load({"port": None, "host": None}).server.port == 1

    def test_variables_with_names_of_their_own(self, place: Place) -> None:
        settings = place.load(
            LEGATO_JWT_SECRET="secret",
            LEGATO_DATA_DIR="data",
            LEGATO_DATABASE_URL="postgresql://db",
            OLLAMA_HOST="gpu:1234",
            OPENAI_BASE_URL="http://vllm/v1",
            OPENAI_API_KEY="sk-1",
        )
        assert settings.auth.jwt_secret is not None
        assert settings.auth.jwt_secret.get_secret_value() == "secret"
        assert settings.server.data_dir == place.path / "data"
        assert settings.server.database_url is not None
        assert settings.server.database_url.get_secret_value() == "postgresql://db"
        assert settings.engines.ollama.url == "http://gpu:1234"
        assert settings.engines.openai.url == "http://vllm/v1"
        assert settings.engines.openai.api_key is not None
        assert settings.engines.openai.api_key.get_secret_value() == "sk-1"

    def test_what_stands_around_a_key_is_no_part_of_it(self, place: Place) -> None:
        place.write('[fleet]\nagent_keys = [" k1\\n"]\n[engines.ollama.headers]\nX-Key = "h\\n"\n')
        settings = place.load(LEGATO_JWT_SECRET="secret\n", OPENAI_API_KEY="\tsk-1 \r\n")
        assert settings.auth.jwt_secret is not None
        assert settings.auth.jwt_secret.get_secret_value() == "secret"
        assert settings.engines.openai.api_key is not None
        assert settings.engines.openai.api_key.get_secret_value() == "sk-1"
        assert [key.get_secret_value() for key in settings.fleet.agent_keys] == ["k1"]
        assert settings.engines.ollama.headers["X-Key"].get_secret_value() == "h"

    def test_a_key_that_no_header_can_carry_is_refused_without_telling_it(self, place: Place) -> None:
        assert place.complaint(OPENAI_API_KEY="sk-1\nsk-2") == (
            "OPENAI_API_KEY: [engines.openai] api_key must be one line of text."
        )
        assert "must not be empty" in place.complaint(OPENAI_API_KEY=" \n")

    def test_an_empty_variable_is_not_set(self, place: Place) -> None:
        settings = place.load(LEGATO_JWT_SECRET="", LEGATO_CONFIG="", OLLAMA_HOST="", LEGATO_SERVER__PORT="")
        assert not settings.auth.required
        assert settings.server.port == 8000

    def test_variables_that_others_set_for_their_own_ends_are_left_alone(self, place: Place) -> None:
        theirs = place.load(LEGATO_PORT="tcp://10.0.0.1:80", LEGATO_SERVICE_HOST="10.0.0.1")
        assert theirs.model_dump() == place.load().model_dump()

    def test_a_variable_can_hold_lists_numbers_and_options(self, place: Place) -> None:
        settings = place.load(
            LEGATO_SERVER__CORS_ORIGINS="https://a, https://b",
            LEGATO_ASSISTANTS__DEFAULT__OPTIONS__NUM_CTX="2048",
            LEGATO_ASSISTANTS__DEFAULT__THINK="true",
            LEGATO_ASSISTANTS__DEFAULT__KEEP_ALIVE="5m",
            LEGATO_STORAGE__DURABLE="yes",
        )
        assert settings.server.cors_origins == ("https://a", "https://b")
        assert settings.assistants["default"].options == {"num_ctx": 2048}
        assert settings.assistants["default"].think is True
        assert settings.assistants["default"].keep_alive == "5m"
        assert settings.storage.durable

    def test_a_list_in_a_variable_may_be_json(self, place: Place) -> None:
        settings = place.load(LEGATO_SERVER__CORS_ORIGINS='["https://a"]')
        assert settings.server.cors_origins == ("https://a",)

    def test_url_and_key_go_to_the_default_assistants_engine(self, place: Place) -> None:
        flags = {
            "engine": "openai",
            "url": "http://vllm/v1",
            "api_key": "k",
            "model": "m",
            "backup_model": "b",
        }
        settings = place.load(flags)
        assert settings.engines.openai.url == "http://vllm/v1"
        default = settings.make_assistants()["default"]
        assert (default.engine, default.model, default.backup_model) == ("openai", "m", "b")
        place.write('[assistants.default]\nengine = "ollama"\n')
        assert place.load({"url": "http://gpu:1"}).engines.ollama.url == "http://gpu:1"

    def test_an_address_without_an_engine_is_refused(self, place: Place) -> None:
        assert "--engine ollama or --engine openai" in place.complaint({"url": "http://x"})
        assert "[engines.ollama] headers" in place.complaint({"engine": "ollama", "api_key": "k"})


class TestWhichFile:
    def test_the_one_in_the_data_directory_comes_last(self, place: Place) -> None:
        place.write("[server]\nport = 2\n", "share/legato/legato.toml")
        assert place.load().server.port == 2
        place.write("[server]\nport = 3\n", "elsewhere/legato.toml")
        assert place.load({"data_dir": Path("elsewhere")}).server.port == 3
        place.write("[server]\nport = 1\n")
        assert place.load().server.port == 1

    def test_one_that_is_named_is_the_one(self, place: Place) -> None:
        place.write("[server]\nport = 1\n")
        place.write("[server]\nport = 2\n", "two.toml")
        place.write("[server]\nport = 3\n", "three.toml")
        assert place.load(LEGATO_CONFIG="two.toml").server.port == 2
        assert place.load({"config": Path("three.toml")}, LEGATO_CONFIG="two.toml").server.port == 3

    def test_one_that_is_named_must_be_there(self, place: Place) -> None:
        assert place.complaint({"config": Path("gone.toml")}).startswith("--config names ")
        assert place.complaint(LEGATO_CONFIG="gone.toml").startswith("LEGATO_CONFIG names ")

    def test_paths_in_a_file_stand_beside_it(self, place: Place) -> None:
        place.write(
            '[server]\ndata_dir = "data"\n[engines.ollama]\nca_file = "ca.pem"\n'
            '[engines.llama]\nmmproj = "/abs/mm.gguf"\n'
            '[assistants.default]\nmodel = "here.gguf"\nbackup_model = "there.gguf"\n',
            "etc/legato.toml",
        )
        model = place.write("", "etc/here.gguf")
        settings = place.load({"config": "etc/legato.toml"})
        assert settings.server.data_dir == place.path / "etc" / "data"
        assert settings.engines.ollama.ca_file == place.path / "etc" / "ca.pem"
        assert settings.engines.llama.mmproj == Path("/abs/mm.gguf")
        assert settings.assistants["default"].model == str(model)
        assert settings.assistants["default"].backup_model == "there.gguf"

    @pytest.mark.parametrize("path", FILES, ids=".".join)
    def test_a_home_may_be_written_as_a_tilde(self, place: Place, path: tuple[str, ...]) -> None:
        place.write(f'[{".".join(path[:-1])}]\n{path[-1]} = "~/here"\n')
        settings: Any = place.load()
        for name in path:
            settings = getattr(settings, name)
        assert settings == Path.home() / "here"

    def test_every_setting_that_is_a_path_is_known_as_one(self) -> None:
        assert {
            ("server", "data_dir"),
            ("attachments", "directory"),
            ("audio", "ca_file"),
            ("engines", "llama", "mmproj"),
        } < set(FILES)


class TestWhatIsNotWhatItSeems:
    def test_an_engine_that_is_named_by_flag_leaves_the_models_of_another_behind(self, place: Place) -> None:
        place.write('[assistants.default]\nengine = "ollama"\nmodel = "llama3"\nbackup_model = "phi3"\n')

        def models(**flags: str) -> tuple[str | None, str | None]:
            default = place.load(flags).assistants["default"]
            return default.model, default.backup_model

        assert models(engine="demo") == (None, None)
        assert models(engine="demo", model="demo:echo") == ("demo:echo", None)
        assert models(engine="openai", backup_model="gpt") == (None, "gpt")
        assert models(engine="ollama") == models(engine="auto") == models() == ("llama3", "phi3")

    def test_models_of_no_engine_in_particular_stay(self, place: Place) -> None:
        place.write('[assistants.default]\nmodel = "llama3"\n')
        assert place.load({"engine": "ollama"}).assistants["default"].model == "llama3"

    def test_short_names_that_would_do_nothing_are_reported(self) -> None:
        found = dict(
            misspelled({"LEGATO_PORT": "80", "LEGATO_HOST": "x", "LEGATO_MODEL": "y", "LEGATO_DATA_DIR": "z"})
        )
        assert found == {
            "LEGATO_PORT": "LEGATO_SERVER__PORT",
            "LEGATO_HOST": "LEGATO_SERVER__HOST",
            "LEGATO_MODEL": "LEGATO_ASSISTANTS__DEFAULT__MODEL",
        }


class TestWhatOnlyShowsLater:
    """What no type tells, and the server finds out when it makes its parts."""

    @pytest.mark.parametrize(
        ("text", "line", "make"),
        [
            ('[server]\nport = 1\ndatabase_url = "mysql://x"\n', 3, open_database),
            ('[server]\nport = 1\nhost = "nohost.invalid"\n', 3, lambda settings: listen(settings, 0)),
            ('[engines.ollama]\nca_file = "gone.pem"\n', 2, partial(make_engine, engine="ollama")),
            ('[engines.openai]\nca_file = "gone.pem"\n', 2, partial(make_engine, engine="openai")),
            ('[audio]\nengine = "openai"\nca_file = "/gone.pem"\n', 3, make_transcriber),
        ],
    )
    def test_it_is_reported_with_its_line(
        self, place: Place, text: str, line: int, make: Callable[[Settings], object]
    ) -> None:
        file = place.write(text)
        with pytest.raises(SettingsError) as caught:
            make(place.load())
        assert caught.value.message.startswith(f"{file}, line {line}: ")

    def test_it_is_reported_with_its_variable_or_its_flag(self, place: Place) -> None:
        place.write("[server]\nport = 1\n")
        with pytest.raises(SettingsError, match=r"^LEGATO_DATABASE_URL: "):
            open_database(place.load(LEGATO_DATABASE_URL="mysql://x"))
        with pytest.raises(SettingsError, match=r"^--host: "):
            listen(place.load({"host": "nohost.invalid"}), 0)

    def test_a_default_has_no_place(self, place: Place) -> None:
        place.write("[server]\nport = 1\n")
        with pytest.raises(SettingsError, match=r"^hm$"), place.load().blaming("server", "host"):
            raise SettingsError("hm")


class TestWhatIsWrong:
    @pytest.mark.parametrize("variable", ["LEGATO_ASSISTANTS__DEFAULT__OPTIONS", "LEGATO_ASSISTANTS"])
    def test_a_variable_with_broken_json_is_named(self, place: Place, variable: str) -> None:
        environ = {"LEGATO_ASSISTANTS__DEFAULT__MODEL": "llama3", variable: "{temperature: 1}"}
        assert place.complaint(**environ) == f"{variable} must hold a JSON object."

    def test_a_key_that_does_not_exist_is_named_with_the_one_that_does(self, place: Place) -> None:
        file = place.write('# mine\n\n[assistants.default]\nengine = "demo"\nmodle = "x"\n')
        assert place.complaint() == (
            f"{file}, line 5: [assistants.default] has no setting 'modle'. Did you mean 'model'?"
        )

    @pytest.mark.parametrize(
        ("text", "line", "sentence"),
        [
            ("port = 1\n", 1, "there is no setting 'port' outside a section. Did you mean [server] port?"),
            ("[fleet.keys.a]\nmodels = []\n", 1, "[fleet.keys.a] must have 'key'."),
            (
                "[assistants.default]\nnum_ctx = 3\n",
                2,
                "[assistants.default] has no setting 'num_ctx'. It is one of its options: options = { num_ctx = 3 }.",
            ),
            (
                "[server]\nport = 81\nagents_port = 81\n",
                3,
                "[server] agents_port must be another than port, which is 81 too.",
            ),
            (
                '[server]\ncors_origins = ["https://a", "https://a/b"]\n',
                2,
                "[server] cors_origins must name sites as a browser does, such as https://example.org, not 'https://a/b'.",
            ),
            (
                '[auth]\nanonymous_networks = ["0.0.0.0/0"]\n',
                2,
                "[auth] anonymous_networks must not hold 0.0.0.0/0: that is every address, and everyone could use the server.",
            ),
            (
                '[auth]\nanonymous_networks = ["10.1.2.3/8"]\n',
                2,
                "[auth] anonymous_networks must hold 10.0.0.0/8 in place of 10.1.2.3/8, which is one address of it.",
            ),
            (
                '[auth]\nanonymous_networks = ["localhost"]\n',
                2,
                "[auth] anonymous_networks must hold networks as numbers, like 192.168.1.0/24 or fd00::/8, and not 'localhost'.",
            ),
            ("[api]\nstreams = -1\n", 2, "[api] streams must be at least 0, not -1."),
            ("modle = 1\n", 1, "there is no setting 'modle' outside a section."),
            ("[sever]\nport = 1\n", 1, "there is no section [sever]. Did you mean 'server'?"),
            ("[engines.olama]\n", 1, "[engines] has no section 'olama'. Did you mean 'ollama'?"),
            ('[server]\nport = "80"\n', 2, "[server] port must be a whole number, not '80'."),
            ("[server]\nport = true\n", 2, "[server] port must be a whole number, not true."),
            ("[server]\nport = 70000\n", 2, "[server] port must be at most 65535, not 70000."),
            ("[server]\nhost = 1\n", 2, "[server] host must be text in quotes, not 1."),
            ('[server]\nhost = ""\n', 2, "[server] host must not be empty."),
            (
                '[server]\ncors_origins = [\n "x",\n 3\n]\n',
                2,
                "[server] cors_origins must be text in quotes, not 3.",
            ),
            ('[server]\ncors_origins = "x, y"\n', 2, "[server] cors_origins must be a list, not 'x, y'."),
            ("server = 3\n", 1, "[server] must be a section of settings, not 3."),
            ('[storage]\ndurable = "yes"\n', 2, "[storage] durable must be true or false, not 'yes'."),
            (
                '[assistants.default]\nengine = "olama"\n',
                2,
                "[assistants.default] engine must be one of auto, demo, llama, ollama, openai, fleet, not 'olama'. Did you mean 'ollama'?",
            ),
            (
                "[assistants.a]\nthink = []\n",
                2,
                "[assistants.a] think must be true or false or text in quotes.",
            ),
            ("[assistants.a]\ntimeout = 0\n", 2, "[assistants.a] timeout must be more than 0, not 0."),
            ("[assistants.a]\nhistory = 0\n", 2, "[assistants.a] history must be at least 1, not 0."),
            (
                '[assistants.a]\ndisclaimer = "Ask\\u0000me."\n',
                2,
                r"[assistants.a] disclaimer must hold no NUL character, not 'Ask\x00me.'.",
            ),
            (
                '[engines.openai]\nurl = "vllm:80"\n',
                2,
                "[engines.openai] url must be an address that begins with http:// or https://, not 'vllm:80'.",
            ),
            (
                'assistants = { default = { modle = "x" } }\n',
                1,
                "[assistants.default] has no setting 'modle'. Did you mean 'model'?",
            ),
        ],
    )
    def test_the_file_the_line_and_what_it_must_be(
        self, place: Place, text: str, line: int, sentence: str
    ) -> None:
        file = place.write(text)
        assert place.complaint() == f"{file}, line {line}: {sentence}"

    @pytest.mark.parametrize(
        ("text", "line"),
        [
            ("[server]\nport = \n", 2),
            ("[server]\nhost = localhost\n", 2),
            ("[server\n", 1),
            ("[server]\nport = 1\nport = 2\n", 3),
            ('[server]\nhost = "x\n', 2),
            ('[server]\nhost = """x\n\n', 3),
        ],
    )
    def test_what_is_not_toml_is_reported_with_its_line(self, place: Place, text: str, line: int) -> None:
        file = place.write(text)
        assert place.complaint().startswith(f"{file}, line {line}: this is not TOML (")

    def test_all_that_is_wrong_is_reported_at_once_in_its_order(self, place: Place) -> None:
        place.write("[server]\nprot = 1\nport = -1\n[storage]\nx = 1\n")
        assert [line.split(": ")[0].rsplit(" ")[-1] for line in place.complaint().split("\n")] == [
            "2",
            "3",
            "5",
        ]

    def test_a_variable_is_named(self, place: Place) -> None:
        assert place.complaint(LEGATO_SERVER__PORT="x") == (
            "LEGATO_SERVER__PORT: [server] port must be a whole number, not 'x'."
        )
        assert place.complaint(LEGATO_SERVER__PROT="1").endswith("Did you mean 'port'?")
        assert place.complaint(OPENAI_BASE_URL="vllm").startswith("OPENAI_BASE_URL: ")
        assert place.complaint(LEGATO_SERVER="nonsense") == "LEGATO_SERVER must hold a JSON object."

    def test_a_flag_is_named_even_where_a_variable_says_the_same(self, place: Place) -> None:
        complaint = place.complaint({"port": 70000}, LEGATO_SERVER__PORT="80")
        assert complaint == "--port: [server] port must be at most 65535, not 70000."
        assert place.complaint({"engine": "ollama", "url": "gpu"}).startswith("--url: ")

    def test_a_file_that_cannot_be_read_is_reported(self, place: Place) -> None:
        file = place.path / "legato.toml"
        file.write_bytes(b'[server]\nhost = "\xff"\n')
        assert place.complaint() == f"{file}, line 2: this is not UTF-8 text."


class TestDisclaimers:
    @pytest.mark.parametrize(
        ("said", "meant"), [(" Ask me.\\n", "Ask me."), ("", None), (" \\n ", None), ("a\\n\\nb", "a\n\nb")]
    )
    def test_what_is_blank_around_one_is_no_part_of_it(
        self, place: Place, said: str, meant: str | None
    ) -> None:
        place.write(f'[assistants.default]\ndisclaimer = "{said}"\n')
        assert place.load().make_assistants()["default"].disclaimer == meant


class TestSecrets:
    def test_they_show_nowhere(self, place: Place) -> None:
        place.write(
            '[auth]\njwt_secret = "hush-1"\n[server]\ndatabase_url = "postgresql://u:hush-2@db"\n'
            '[engines.openai]\napi_key = "hush-3"\n[engines.ollama.headers]\nAuthorization = "hush-4"\n'
        )
        settings = place.load()
        for shown in (repr(settings), str(settings), str(settings.model_dump())):
            assert "hush" not in shown

    def test_not_even_where_they_are_wrong(self, place: Place) -> None:
        place.write("[auth]\njwt_secret = 12345\n[engines.ollama.headers]\nAuthorization = 12345\n")
        complaint = place.complaint()
        assert "[auth] jwt_secret must be text in quotes." in complaint
        assert "[engines.ollama.headers] Authorization must be text in quotes." in complaint
        assert "12345" not in complaint


class TestDataDirectory:
    def test_is_made_for_its_owner_alone(self, place: Place) -> None:
        path = place.load().make_data_dir()
        assert stat.S_IMODE(path.stat().st_mode) == 0o700

    def test_that_cannot_be_made_is_reported_with_the_way_out(self, place: Place) -> None:
        place.write("", "file")
        with pytest.raises(SettingsError, match=r"cannot be made: .*LEGATO_DATA_DIR"):
            place.load({"data_dir": "file/data"}).make_data_dir()


class TestNamesOfAssistantsAndTools:
    def test_a_dialect_speaks_to_the_assistant_it_names(self, place: Place) -> None:
        place.write('[assistants.nurse]\n[dialects]\nchunks = "nurse"\n[rooms]\njoin = "anyone"\n')
        settings = place.load()
        assert (settings.dialects.chunks, settings.dialects.rooms) == ("nurse", "default")
        assert settings.rooms.join == "anyone"

    def test_an_assistant_may_use_tools_that_are_set(self, place: Place) -> None:
        place.write('[assistants.a]\ntools = ["mongodb"]\n[tools.mongodb]\nuri = "mongodb://x"\n')
        assert place.load().make_assistants()["a"].tools == ("mongodb",)

    def test_every_name_that_stands_for_nothing_is_reported_with_its_line(self, place: Place) -> None:
        file = place.write(
            '[assistants.nurse]\ntools = [\n  "mongo"]\n[tools.mongodb]\n[dialects]\nrooms = "nurs"\nchunks = "zzz"\n'
        )
        assert place.complaint().splitlines() == [
            f"{file}, line 2: [assistants.nurse] tools names 'mongo', and there is no [tools.mongo]. Did you mean 'mongodb'?",
            f"{file}, line 6: [dialects] rooms names 'nurs', and there is no [assistants.nurs]. Did you mean 'nurse'?",
            f"{file}, line 7: [dialects] chunks names 'zzz', and there is no [assistants.zzz]. There is: default, nurse.",
        ]

    def test_a_variable_that_names_nothing_is_reported_by_its_name(self, place: Place) -> None:
        assert place.complaint(LEGATO_DIALECTS__TOKENS="x").startswith(
            "LEGATO_DIALECTS__TOKENS: [dialects] tokens"
        )

    def test_an_assistant_of_the_environment_may_be_named_in_the_file(self, place: Place) -> None:
        place.write('[dialects]\ntokens = "x"\n')
        assert place.load(LEGATO_ASSISTANTS__X__MODEL="demo:echo").dialects.tokens == "x"

    def test_a_tool_of_another_package_needs_no_section(
        self, place: Place, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def found(group: str) -> list[EntryPoint]:
            return [EntryPoint("dice", "dice:roll", group)]

        monkeypatch.setattr("legato.gateway.config.entry_points", found)
        place.write('[assistants.a]\ntools = ["dice"]\n')
        assert place.load().assistants["a"].tools == ("dice",)


class TestWhatTheDemoEngineTakes:
    def test_is_known_before_it_starts(self, place: Place) -> None:
        file = place.write(
            '[assistants.default]\nengine = "demo"\nmodel = "demo:eco"\noptions = { first_token_ms = "soon" }\n'
            '[assistants.quick]\nbackup_engine = "demo"\nbackup_model = "tape"\n'
            "[assistants.quick.options]\ntokens_per_second = -4\n"
        )
        assert place.complaint().splitlines() == [
            f"{file}, line 3: [assistants.default] model must be one of demo:echo, demo:markov, demo:canned, not 'demo:eco'. Did you mean 'echo'?",
            f"{file}, line 4: [assistants.default.options] first_token_ms must be a number that is not negative, not 'soon'.",
            f"{file}, line 7: [assistants.quick] backup_model must be one of demo:echo, demo:markov, demo:canned, not 'tape'.",
            f"{file}, line 9: [assistants.quick.options] tokens_per_second must be a number that is not negative, not -4.",
        ]

    def test_may_be_said_by_flags(self, place: Place) -> None:
        assert place.complaint({"engine": "demo", "model": "x"}).startswith(
            "--model: [assistants.default] model"
        )

    def test_is_no_matter_of_other_engines(self, place: Place) -> None:
        place.write(
            '[assistants.default]\nengine = "ollama"\nmodel = "x"\noptions = { tokens_per_second = "x" }\n'
        )
        place.load({"engine": "ollama"})

    def test_is_taken(self, place: Place) -> None:
        place.write(
            '[assistants.default]\nengine = "demo"\nmodel = "echo"\noptions = { tokens_per_second = 0, temperature = 1 }\n'
        )
        assert place.load().assistants["default"].model == "echo"


def test_an_assistant_has_the_settings_it_has_and_their_defaults() -> None:
    fields = {field.name: field.default for field in msgspec.structs.fields(Assistant)}
    del fields["name"]
    declared = {name: field.default for name, field in AssistantSettings.model_fields.items()}
    fields["options"] = declared["options"]
    assert fields == declared


@pytest.mark.parametrize("path", [*FLAGS.values(), *VARIABLES.values()])
def test_every_flag_and_variable_is_a_setting(path: tuple[str, ...]) -> None:
    value: Any = Settings()
    for step in path:
        value = value[step] if isinstance(value, dict) else getattr(value, step)


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("0.0.0.0:1234", "http://127.0.0.1:1234"),
        ("gpu", "http://gpu:11434"),
        ("https://gpu/", "https://gpu:443"),
    ],
)
def test_ollama_host_is_read_as_ollama_reads_it(place: Place, said: str, meant: str) -> None:
    assert place.load(OLLAMA_HOST=said).engines.ollama.url == meant


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("127.0.0.1", "http://127.0.0.1:80"),
        ("0.0.0.0", "http://127.0.0.1:80"),
        ("::", "http://[::1]:80"),
        ("[::]", "http://[::1]:80"),
        ("0:0::0", "http://[::1]:80"),
        ("fd00::7", "http://[fd00::7]:80"),
        ("[fd00::7]", "http://[fd00::7]:80"),
        ("box.example.org", "http://box.example.org:80"),
    ],
)
def test_what_listens_there_can_be_opened(host: str, address: str) -> None:
    assert http_address(host, 80) == address


def test_a_line_is_found_however_the_key_is_written() -> None:
    lines = ['a.b = """', "c = 1", '"""', "# a", "['x y'.\"z\"]", 'w = { "v" = [', "1,", "2] }"]
    assert line_of(lines, ("a", "b")) == 1
    assert line_of(lines, ("x y", "z")) == 5
    assert line_of(lines, ("x y", "z", "w", "v", 1)) == 6
    assert line_of(lines, ("nowhere",)) is None
