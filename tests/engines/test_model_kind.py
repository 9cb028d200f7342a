"""Which models of a list write replies."""

import pytest

from legato.engines.model_kind import is_chat_model


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("nomic-embed-text:latest", "nomic-bert"),
        ("text-embedding-3-small", ""),
        ("all-minilm:33m", ""),
        ("bge-m3", ""),
        ("BAAI/bge-reranker-v2-m3", ""),
        ("intfloat/e5-mistral", ""),
        ("my-own", "bert"),
        ("embeddinggemma", "gemma3"),
    ],
)
def test_a_model_that_embeds_or_ranks_does_not(name: str, family: str) -> None:
    assert not is_chat_model(name, family)


@pytest.mark.parametrize("name", ["llama3:8b", "gpt-4o", "phi3", "bgentle", "node5", "gemma3n:e4b", "e5x"])
def test_any_other_does(name: str) -> None:
    assert is_chat_model(name, "llama")
