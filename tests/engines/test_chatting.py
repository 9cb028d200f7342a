"""Which models of a list write replies."""

import pytest

from legato.engines.chatting import chats


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
    assert not chats(name, family)


@pytest.mark.parametrize("name", ["llama3:8b", "gpt-4o", "phi3", "bgentle", "node5", "gemma3n:e4b", "e5x"])
def test_any_other_does(name: str) -> None:
    assert chats(name, "llama")
