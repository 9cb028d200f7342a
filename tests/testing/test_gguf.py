"""The kit's models as files. That a real llama.cpp says what they hold is shown in `tests/engines/test_llama.py`."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from legato.testing.chat_template import MARKUP
from legato.testing.gguf import pieces_of, projector, random_model, scripted_model, unique_words

gguf = pytest.importorskip("gguf")


def read(path):
    return gguf.GGUFReader(path)


def strings(reader, key):
    return reader.get_field(key).contents()


@given(st.text(alphabet="ab \n🎻<think>/", max_size=40))
def test_pieces_are_the_text_and_nothing_else(text):
    assert "".join(pieces_of(text)) == text


def test_a_piece_is_a_word_with_the_spaces_before_it():
    assert pieces_of("So  it\nis <think>hm") == ["So", "  it\nis", " ", "<think>", "hm"]


@given(count=st.integers(1, 60), seed=st.integers(0, 2**32))
def test_words_are_unique_and_the_same_for_the_same_seed(count, seed):
    text = unique_words(count, seed=seed)
    assert len(set(text.split(" "))) == count
    assert text == unique_words(count, seed=seed)


def test_words_hold_signs_of_every_length_in_utf_8():
    lengths = {len(sign.encode()) for sign in unique_words(200)}
    assert lengths == {1, 2, 3, 4}


def test_each_word_follows_the_one_before_it(tmp_path):
    reader = read(scripted_model(tmp_path / "m.gguf", "Three small words"))
    tokens = strings(reader, "tokenizer.ggml.tokens")
    tensors = {tensor.name: tensor.data for tensor in reader.tensors}
    chain = ["<0x0A>", "Three", "▁small", "▁words", "<|im_end|>"]
    for last, following in itertools.pairwise(chain):
        logits = tensors["output.weight"] @ tensors["token_embd.weight"][tokens.index(last)]
        assert tokens[logits.argmax()] == following


def test_a_loop_leads_back_to_the_second_word(tmp_path):
    reader = read(scripted_model(tmp_path / "m.gguf", "On and around", loop=True))
    tokens = strings(reader, "tokenizer.ggml.tokens")
    tensors = {tensor.name: tensor.data for tensor in reader.tensors}
    logits = tensors["output.weight"] @ tensors["token_embd.weight"][tokens.index("▁around")]
    assert tokens[logits.argmax()] == "▁and"


def test_from_inside_a_word_one_token_leads_after_the_next(tmp_path):
    reader = read(scripted_model(tmp_path / "m.gguf", "One two\n", inside=True))
    tokens = strings(reader, "tokenizer.ggml.tokens")
    tensors = {tensor.name: tensor.data for tensor in reader.tensors}

    def after(token):
        return tokens[(tensors["output.weight"] @ tensors["token_embd.weight"][tokens.index(token)]).argmax()]

    assert after("On") == "e▁two\n"
    assert after("e▁two\n") == "<|im_end|>"
    assert after("▁tw") == "o\n"
    assert after("<0x0A>") == "One"
    assert "\n" not in tokens


def test_characters_can_come_as_bytes(tmp_path):
    reader = read(scripted_model(tmp_path / "m.gguf", "a fiddle🎻", split="🎻"))
    tokens = strings(reader, "tokenizer.ggml.tokens")
    assert "▁fiddle" in tokens
    assert not any("🎻" in token for token in tokens)


@pytest.mark.parametrize("text", ["twice is not twice twice", "a 🎻 b 🎻x"])
def test_a_word_that_occurs_twice_is_refused(tmp_path, text):
    with pytest.raises(ValueError, match="only once"):
        scripted_model(tmp_path / "m.gguf", text, split="🎻")


def test_no_text_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no text"):
        scripted_model(tmp_path / "m.gguf", "")


def test_control_tokens_are_marked_as_such(tmp_path):
    reader = read(scripted_model(tmp_path / "m.gguf", "x y"))
    types = dict(
        zip(
            strings(reader, "tokenizer.ggml.tokens"),
            strings(reader, "tokenizer.ggml.token_type"),
            strict=True,
        )
    )
    assert types["<|im_end|>"] == gguf.TokenType.CONTROL
    assert {types[word] for word in MARKUP} == {gguf.TokenType.USER_DEFINED}
    assert types["<0x0A>"] == gguf.TokenType.BYTE


def test_the_other_files_are_gguf_too(tmp_path):
    assert read(random_model(tmp_path / "r.gguf")).get_field("general.architecture").contents() == "llama"
    assert read(projector(tmp_path / "p.gguf")).get_field("general.architecture").contents() == "clip"
