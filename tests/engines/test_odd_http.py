"""HTTP as model servers and the proxies in front of them really speak it, over real sockets."""

import gzip
import json
import tracemalloc
import zlib

import brotli
import pytest

from legato.engines.decompress import PIECE, DecompressError, Decompressor
from legato.engines.openai.engine import OpenAIEngine
from legato.engines.response_head import mended
from legato.testing.odd_engine import DONE, OddEngine, Step, chunk, event, head, plain, sse

BODY = event(chunk("one ")) + event(chunk("two", "stop")) + DONE
CHUNKED = b"%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY)
SSE = {"Content_Type": "text/event-stream"}
LENGTH = str(len(BODY))


@pytest.mark.parametrize(
    "answer",
    [
        [head(X_Big="x" * 100_000, Content_Length=LENGTH, **SSE) + BODY],
        [head(**{f"X_{n}": "x" for n in range(1000)}, Content_Length=LENGTH) + BODY],
        [head(Content_Length="5", Transfer_Encoding="chunked", **SSE) + CHUNKED],
        [head(Transfer_Encoding="chunked", Content_Length=LENGTH, **SSE) + CHUNKED],
        [head(Transfer_Encoding="identity", Content_Length=LENGTH) + BODY],
        [b"HTTP/1.1 200 OK\r\nContent-Length: " + f"{LENGTH}\r\ncontent-length: {LENGTH}\r\n\r\n".encode() + BODY],
        [b"HTTP/1.1 200 OK\nX Y: 1\nnonsense\n\n" + BODY],
        [head("103 Early Hints", Link="x") + head("100 Continue") + head(Content_Length=LENGTH) + BODY],
        [b"HTTP/1.0 200 OK\r\n\r\n" + BODY],
        [head("201 Created", Content_Length=LENGTH) + BODY],
        [head(Content_Length=LENGTH)[:20], 0.05, head(Content_Length=LENGTH)[20:] + BODY],
    ],
)  # fmt: skip
async def test_an_odd_head_does_not_hide_the_reply(answer: list[Step]) -> None:
    async with OddEngine(answer) as odd:
        told = await odd.ask_openai()
    assert (told.said, told.reason) == ("one two", "")


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("gzip", gzip.compress(BODY)),
        ("x-gzip", gzip.compress(BODY)),
        ("deflate", zlib.compress(BODY)),
        ("deflate", zlib.compress(BODY)[2:-4]),
        ("br", brotli.compress(BODY)),
    ],
)
async def test_compression_that_was_not_asked_for_is_undone(encoding: str, body: bytes) -> None:
    for answer in (
        [head(Content_Encoding=encoding, Content_Length=str(len(body))) + body],
        sse(*[body[n : n + 1] for n in range(len(body))], Content_Encoding=encoding),
    ):
        async with OddEngine(answer) as odd:
            told = await odd.ask_openai()
        assert (told.said, told.reason) == ("one two", "")
        assert odd.asked[0].headers["accept-encoding"] == "identity"


async def test_a_compression_that_is_not_known_is_named() -> None:
    for encoding, body in (("zstd", b"x" * 30), ("gzip", b"x" * 30)):
        async with OddEngine(sse(body, Content_Encoding=encoding)) as odd:
            told = await odd.ask_openai()
        assert "compressed" in told.reason


@pytest.mark.parametrize("encoding", ["gzip", "br"])
async def test_a_compressed_endless_line_costs_a_bounded_memory(encoding: str) -> None:
    endless = b"data: " + b"x" * 200_000_000
    body = gzip.compress(endless) if encoding == "gzip" else brotli.compress(endless, quality=1)
    del endless
    tracemalloc.start()
    try:
        async with OddEngine(sse(body, Content_Encoding=encoding)) as odd:
            told = await odd.ask_openai()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert "larger than it may be" in told.reason
    assert peak < 80_000_000


def test_a_piece_is_bounded_whatever_it_expands_to() -> None:
    for encoding, body in (
        ("gzip", gzip.compress(bytes(10_000_000))),
        ("br", brotli.compress(bytes(10_000_000))),
    ):
        decompressor = Decompressor(encoding)
        sizes = [len(decompressor.feed(body))]
        while sizes[-1]:
            sizes.append(len(decompressor.feed(b"")))
        assert sum(sizes) == 10_000_000
        assert max(sizes) <= 4 * PIECE
    with pytest.raises(DecompressError):
        Decompressor("gzip, br")


async def test_an_answer_that_is_no_http_says_so() -> None:
    for answer in (b"HTTP/1.1 abc\r\n\r\n", b"HTTP/1.1 200 OK\r\nX: " + b"x" * 2_000_000):
        async with OddEngine([answer]) as odd:
            assert "not HTTP as it should be" in (await odd.ask_openai()).reason


def test_a_head_without_contradictions_says_what_it_said() -> None:
    assert mended(b"HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\nX: y\r\n\r\n") == (
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n"
    )
    assert (
        mended(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n")
        == b"HTTP/1.1 200 OK\r\n\r\n"
    )


@pytest.mark.parametrize(
    "listed",
    [
        [{"id": "m"}],
        ["m"],
        {"data": [{"id": "m"}, None, 7, {"object": "model"}, {"id": None}, {"id": ""}]},
        {"data": [{"id": "m", "context_length": "many", "meta": "none"}]},
        {"models": [{"name": "m"}]},
        {"data": {"m": {}}},
    ],
    ids=json.dumps,
)
async def test_an_odd_entry_hides_no_other_model(listed: object) -> None:
    async with OddEngine() as odd:
        odd.answers["/v1/models"] = plain(listed, "201 Created")
        engine = OpenAIEngine(odd.url)
        assert [model.name for model in await engine.models()] == ["m"]
        assert (await engine.health()).ok
        await engine.close()


async def test_a_list_without_models_is_a_server_that_answers() -> None:
    async with OddEngine() as odd:
        odd.answers["/v1/models"] = plain({"object": "list", "data": None})
        engine = OpenAIEngine(odd.url)
        assert await engine.models() == ()
        assert (await engine.health()).ok
        await engine.close()
