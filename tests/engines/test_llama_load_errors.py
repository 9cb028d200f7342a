from pathlib import Path

import pytest

from legato.engines.llama.load_errors import installed, needed, sentence
from legato.engines.llama.metadata import Metadata, read_metadata
from legato.testing.gguf import random_model

FILE = Path("/models/m.gguf")

REFUSED = "Failed to init server, please check the input params.\n"

NO_MEMORY = (
    REFUSED
    + """0.00.456.434 E ggml_aligned_malloc: insufficient memory (attempted to allocate 2048.00 MB)
0.00.456.502 E ggml_backend_cpu_buffer_type_alloc_buffer: failed to allocate buffer of size 2147483648
0.00.467.263 E llama_init_from_model: failed to initialize the context: failed to allocate buffer for kv cache
0.00.467.598 E srv          init: exiting due to model loading error"""
)

NO_MODEL = (
    REFUSED
    + """0.00.002.240 I srv          init: loading model
0.00.002.330 E gguf_init_from_reader: invalid magic characters: 'hell', expected 'GGUF'
0.00.002.675 E llama_model_load: error loading model: llama_model_loader: failed to load model from bad.gguf"""
)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (NO_MEMORY, "There is not enough memory for the model m with 2 slots. Choose a smaller model"),
        ("it was ended by signal 9", "There is not enough memory for the model m"),
        (
            NO_MODEL,
            "llama.cpp cannot load /models/m.gguf: invalid magic characters: 'hell', expected 'GGUF'. Choose",
        ),
        (
            "it was ended by signal 6",
            "llama.cpp cannot load /models/m.gguf: it was ended by signal 6. Choose",
        ),
        ("the package xllamacpp cannot be used (no)", "The engine llama needs the package xllamacpp"),
    ],
)
def test_what_the_child_said_becomes_a_sentence(said, told):
    assert sentence(said, "m", FILE, 2).startswith(told)


def test_memory_is_needed_for_the_weights_and_for_each_token_of_each_slot(tmp_path):
    pytest.importorskip("gguf")
    metadata = read_metadata(random_model(tmp_path / "m.gguf", dim=64, layers=2))
    # Two layers keep a key and a value of 64 numbers in two bytes each.
    assert metadata.token_bytes == 2 * 2 * 64 * 2
    assert needed(metadata, 100, 3) == metadata.size + 300 * 512
    assert needed(Metadata("clip", 7), 100, 3) == 7


@pytest.mark.parametrize(
    ("limit", "expected"),
    [("max\n", 2048 * 1024), ("1000\n", 1000), ("9999999999\n", 2048 * 1024), (None, 2048 * 1024)],
)
def test_memory_is_the_machines_or_the_containers(tmp_path, limit, expected):
    (meminfo := tmp_path / "meminfo").write_text("MemTotal:        2048 kB\nMemFree: 1 kB\n")
    if limit is not None:
        (tmp_path / "max").write_text(limit)
    assert installed(meminfo, tmp_path / "max") == expected


def test_memory_is_not_guessed(tmp_path):
    assert installed(tmp_path / "none", tmp_path / "none") is None
