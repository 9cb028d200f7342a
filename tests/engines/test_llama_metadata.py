import contextlib
import random

import pytest

from legato.engines.llama.metadata import read_metadata
from legato.errors import EngineUnavailableError
from legato.testing.chat_template import CONTROL
from legato.testing.gguf import projector, random_model, scripted_model

gguf = pytest.importorskip("gguf")


def test_what_a_model_says_of_itself(tmp_path):
    path = scripted_model(tmp_path / "m.gguf", "Say it", context=2048)
    metadata = read_metadata(path)
    assert metadata.architecture == "llama"
    assert metadata.context == 2048
    assert metadata.size == path.stat().st_size
    assert metadata.thinks
    assert metadata.tools


def test_control_tokens_are_those_that_command_and_no_others(tmp_path):
    control = read_metadata(random_model(tmp_path / "m.gguf")).control
    assert set(CONTROL) <= set(control)
    assert not {"<think>", "<tool_call>", "<0x0A>", "\u2581the"} & set(control)


def test_a_control_token_that_the_file_calls_ordinary_is_one_all_the_same(tmp_path):
    path = tmp_path / "m.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_token_list(["<|eot_id|>", "</s>", "<|a|b|>", "<b>", "hello", "x"])
    writer.add_token_types([gguf.TokenType.NORMAL] * 6)
    writer.add_eos_token_id(4)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    assert set(read_metadata(path).control) == {"<|eot_id|>", "</s>", "<|a|b|>", "hello"}


def test_a_projector_has_no_words(tmp_path):
    metadata = read_metadata(projector(tmp_path / "p.gguf"))
    assert (metadata.architecture, metadata.control, metadata.context) == ("clip", (), None)


@pytest.mark.parametrize(
    "content", [b"", b"hello, I am a text", b"GGUF", b"GGUF" + b"\xff" * 60, b"GGUF" + b"\0" * 60]
)
def test_a_file_that_is_no_model_is_reported(tmp_path, content):
    path = tmp_path / "m.gguf"
    path.write_bytes(content)
    with pytest.raises(EngineUnavailableError, match="not a whole GGUF model file"):
        read_metadata(path)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(EngineUnavailableError, match="No such file"):
        read_metadata(tmp_path / "m.gguf")


def test_a_damaged_head_is_an_error_with_a_sentence_and_nothing_else(tmp_path):
    whole = scripted_model(tmp_path / "m.gguf", "a b c").read_bytes()
    head = whole.index(b"token_embd.weight")
    broken = tmp_path / "broken.gguf"
    chance = random.Random(7)
    for _ in range(150):
        data = bytearray(whole[: chance.choice([head, chance.randrange(head)])])
        for _ in range(chance.randrange(4)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        broken.write_bytes(data)
        with contextlib.suppress(EngineUnavailableError):
            assert read_metadata(broken).size == len(data)
