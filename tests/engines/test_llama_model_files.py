import os
import random
import socket

import pytest
from tests.doubles.hub import Hub

from legato.engines.llama import model_files
from legato.engines.llama.download import fetch
from legato.engines.llama.model_files import DEFAULT, find_model, name_of
from legato.errors import EngineUnavailableError, ModelNotFoundError

CONTENT = random.Random(3).randbytes(300_000)


@pytest.fixture(autouse=True)
def nowhere(tmp_path, monkeypatch):
    """No cache, no token, no proxy and no packaged model of the person who runs the tests, and a hub that nobody listens at."""
    for name in [*os.environ]:
        if name.lower().endswith("_proxy") or name.startswith("HF_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setattr(model_files, "packaged_model", lambda: None)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{closed.getsockname()[1]}")
        yield


@pytest.fixture
def hub(monkeypatch):
    hub = Hub(DEFAULT.file, CONTENT)
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    yield hub
    hub.close()


@pytest.fixture
def models(tmp_path):
    return tmp_path / "models"


def put(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(CONTENT)
    return path


def cached(tmp_path, repository, file, commit="c0ffee"):
    return put(tmp_path / "hf/hub" / f"models--{repository.replace('/', '--')}" / "snapshots" / commit / file)


def test_a_path_is_itself(models, tmp_path):
    path = put(tmp_path / "somewhere" / "m.gguf")
    assert find_model(str(path), models) == path


def test_a_path_may_begin_at_home(models, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    path = put(tmp_path / "m.gguf")
    assert find_model("~/m.gguf", models) == path


@pytest.mark.parametrize("name", ["m", "m.gguf"])
def test_a_name_is_a_file_among_the_models(models, name):
    path = put(models / "m.gguf")
    assert find_model(name, models) == path
    assert name_of(path) == "m"


def test_a_name_is_a_file_in_the_cache_of_hugging_face(models, tmp_path):
    path = cached(tmp_path, "owner/repo", "sub/m.gguf")
    assert find_model("m", models) == path
    assert find_model("owner/repo/sub/m.gguf", models) == path
    assert find_model("hf:owner/repo/sub/m.gguf", models) == path


def test_of_two_snapshots_the_newer_counts(models, tmp_path):
    old, new = (cached(tmp_path, "o/r", "m.gguf", commit) for commit in ("b", "a"))
    os.utime(old.parent, (1, 1))
    assert find_model("m", models) == new


@pytest.mark.parametrize("name", [None, DEFAULT.file, DEFAULT.file.removesuffix(".gguf")])
def test_the_default_is_found_wherever_it_is(models, tmp_path, name):
    path = cached(tmp_path, DEFAULT.repository, DEFAULT.file)
    assert find_model(name, models) == path
    path = put(models / DEFAULT.file)
    assert find_model(name, models) == path


class TestThePackagedModel:
    @pytest.fixture
    def packaged(self, monkeypatch, tmp_path):
        path = put(tmp_path / "package" / "SmolLM2-135M-Instruct.Q4_1.gguf")
        monkeypatch.setattr(model_files, "packaged_model", lambda: path)
        return path

    def test_it_answers_where_no_model_is_named_and_nothing_is_fetched(self, packaged, models, hub):
        assert find_model(None, models) == packaged
        assert hub.asked == []
        assert name_of(packaged) == "SmolLM2-135M-Instruct"

    def test_the_default_is_preferred_as_soon_as_it_is_here(self, packaged, models, hub):
        path = find_model(str(DEFAULT), models)
        assert path == models / DEFAULT.file
        assert find_model(None, models) == path

    def test_the_default_is_preferred_in_the_cache_of_hugging_face_too(self, packaged, models, tmp_path):
        path = cached(tmp_path, DEFAULT.repository, DEFAULT.file)
        assert find_model(None, models) == path

    def test_half_of_the_default_is_not_taken(self, packaged, models):
        put(models / f"{DEFAULT.file}.0123456789abcdef.part")
        assert find_model(None, models) == packaged

    @pytest.mark.parametrize(
        "name",
        ["SmolLM2-135M-Instruct", "SmolLM2-135M-Instruct.Q4_1", "SmolLM2-135M-Instruct.Q4_1.gguf"],
    )
    def test_it_can_be_named(self, packaged, models, name):
        put(models / DEFAULT.file)
        assert find_model(name, models) == packaged

    def test_if_it_is_named_and_missing_the_command_that_installs_it_is_reported(self, models):
        with pytest.raises(ModelNotFoundError, match="legato model fetch SmolLM2-135M-Instruct"):
            find_model("SmolLM2-135M-Instruct", models)

    def test_where_nothing_can_be_fetched_it_is_offered(self, models):
        with pytest.raises(EngineUnavailableError, match="legato model fetch SmolLM2-135M-Instruct"):
            find_model(None, models)


@pytest.mark.parametrize("name", ["llama3", "no/such/path.bin", "./m.gguf", "/m.gguf", "../m.gguf"])
def test_a_missing_model_is_not_found_and_the_error_says_how_to_get_one(models, name, monkeypatch, tmp_path):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(ModelNotFoundError) as caught:
        find_model(name, models)
    assert name in caught.value.message
    assert str(models) in caught.value.message


def test_the_default_is_fetched_once(models, hub, capfd):
    path = find_model(None, models)
    assert path == models / DEFAULT.file
    assert path.read_bytes() == CONTENT
    assert [file.name for file in models.iterdir()] == [DEFAULT.file]
    hub.asked.clear()
    assert find_model(None, models) == path
    assert hub.asked == []
    assert capfd.readouterr().out == ""


def test_a_file_of_any_repository_is_fetched(models, hub):
    assert find_model(f"some/repo/{DEFAULT.file}", models).read_bytes() == CONTENT
    assert hub.asked[0][1] == f"/some/repo/resolve/main/{DEFAULT.file}"


def test_a_repository_with_a_new_name_is_followed(models, hub):
    assert find_model(f"old/repo/{DEFAULT.file}", models).read_bytes() == CONTENT


def test_an_interrupted_download_continues_where_it_was(models, hub):
    hub.cuts = [100_000, 50_000, 1]
    pauses = []
    fetch("o/r", hub.file, models / "m.gguf", pause=pauses.append)
    assert (models / "m.gguf").read_bytes() == CONTENT
    assert hub.starts == [0, 100_000, 150_000, 150_001]
    assert pauses == [1.0, 1.0, 1.0]


def test_what_came_before_a_crash_is_not_fetched_again(models, hub):
    hub.cuts = [120_000]
    with pytest.raises(EngineUnavailableError, match="stopped"):
        fetch("o/r", hub.file, models / "m.gguf", stopped=lambda: bool(hub.starts))
    assert not (models / "m.gguf").exists()
    before = hub.starts[-1] + sum(file.stat().st_size for file in models.iterdir())
    fetch("o/r", hub.file, models / "m.gguf")
    assert hub.starts[-1] == before
    assert (models / "m.gguf").read_bytes() == CONTENT


def test_a_repository_that_redirects_for_ever_is_given_up(models, hub):
    with pytest.raises(EngineUnavailableError, match="round and round"):
        fetch("round/r", hub.file, models / "m.gguf")
    assert len(hub.asked) == 11


def test_it_can_be_stopped_before_the_file_is_found(models, hub):
    with pytest.raises(EngineUnavailableError, match="stopped"):
        fetch("round/r", hub.file, models / "m.gguf", stopped=lambda: len(hub.asked) == 3)
    assert len(hub.asked) == 3


def test_another_version_is_fetched_from_its_beginning(models, hub):
    models.mkdir()
    (models / "m.gguf.0123456789abcdef.part").write_bytes(b"x" * 1000)
    fetch("o/r", hub.file, models / "m.gguf")
    assert hub.starts == [0]
    assert (models / "m.gguf").read_bytes() == CONTENT


def test_a_server_that_knows_no_ranges_is_read_from_the_beginning(models, hub):
    hub.ranges = False
    hub.cuts = [100_000]
    fetch("o/r", hub.file, models / "m.gguf", pause=lambda _: None)
    assert (models / "m.gguf").read_bytes() == CONTENT


def test_what_is_not_what_was_announced_is_thrown_away(models, hub):
    hub.etag = "0" * 64
    with pytest.raises(EngineUnavailableError, match="not what was announced"):
        fetch("o/r", hub.file, models / "m.gguf")
    assert list(models.iterdir()) == []


def test_a_hub_that_only_fails_is_given_up(models, hub):
    hub.cuts = [10, *[0] * 20]
    with pytest.raises(EngineUnavailableError, match="could not be fetched"):
        fetch("o/r", hub.file, models / "m.gguf", pause=lambda _: None)
    assert len(hub.starts) == 5


@pytest.mark.parametrize(
    ("status", "told"), [(401, "HF_TOKEN"), (403, "HF_TOKEN"), (404, "has no file"), (418, "418")]
)
def test_a_refusal_is_reported_and_not_tried_again(models, hub, status, told):
    hub.status = status
    with pytest.raises(EngineUnavailableError, match=told):
        find_model(None, models)
    assert len(hub.asked) == 1


def test_the_token_is_shown_to_the_hub_and_to_no_one_it_leads_to(models, hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "secret")
    hub.url = hub.url.replace("127.0.0.1", "localhost")
    find_model(None, models)
    assert {(method, token) for method, _, _, token in hub.asked} == {
        ("HEAD", "Bearer secret"),
        ("GET", None),
    }


@pytest.mark.parametrize("endpoint", [None, "http://no-such-host.invalid"])
def test_without_a_network_the_way_out_is_reported_at_once(models, endpoint, monkeypatch, capfd):
    if endpoint:
        monkeypatch.setenv("HF_ENDPOINT", endpoint)
    with pytest.raises(EngineUnavailableError) as caught:
        find_model(None, models)
    message = caught.value.message
    assert "could not be fetched" in message
    assert (
        f"Put a GGUF file at {models / DEFAULT.file}, or name one that is here with --model PATH." in message
    )
    assert "Traceback" not in capfd.readouterr().err
