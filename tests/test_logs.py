"""Tokens, tickets, keys and passwords are in no log line."""

import io
import logging
import re
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from uvicorn.logging import AccessFormatter

from legato.logs import Scrubber, one_record, scrub, scrub_handlers

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbm5hIn0.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("GET /ws?token=s3cret&x=1 HTTP/1.1", "GET /ws?token=…&x=1 HTTP/1.1"),
        ("/ws?x=1&ticket=s3cret", "/ws?x=1&ticket=…"),
        ("/ws/agents?key=s3cret#top", "/ws/agents?key=…#top"),
        ("/ws?to%6ben=s3cret&a=b", "/ws?to%6ben=…&a=b"),
        ("/ws?access_token=s3cret", "/ws?access_token=…"),
        ("?TOKEN=s3cret", "?TOKEN=…"),
        ("?a=?to%6ben=s3cret", "?a=?to%6ben=…"),
        ("filter=token=s3cret", "filter=token=…"),
        ("['a', 'token', 's3cret']", "['a', 'token', '…']"),
        ("token=s3cret", "token=…"),
        ("api_key: s3cret, model: x", "api_key: …, model: x"),
        ('{"type": "hello", "token": "s3\\"cret"}', '{"type": "hello", "token": "…"}'),
        ("{'api_key': 's3cret'}", "{'api_key': '…'}"),
        ("(b'authorization', b's3cret')", "(b'authorization', b'…')"),
        ("Authorization: Bearer s3cret.x-y_z", "Authorization: … …"),
        ("sent bearer s3cret", "sent bearer …"),
        (f"a token {JWT} of somebody", "a token … of somebody"),
        ("sk-proj-s3crets3crets3cret", "sk-…"),
        ("postgresql://legato:s3cret@db/legato", "postgresql://legato:…@db/legato"),
        ("redis://:s3cret@127.0.0.1:6379/0", "redis://:…@127.0.0.1:6379/0"),
        ("LEGATO_JWT_SECRET=s3cret", "LEGATO_JWT_SECRET=…"),
    ],
)
def test_secrets_are_hidden(text: str, clean: str) -> None:
    hidden = scrub(text)
    assert "s3cret" not in hidden
    assert JWT not in hidden
    assert hidden == clean


@pytest.mark.parametrize(
    "text",
    [
        "Legato is ready at http://127.0.0.1:8000",
        "GET /api/conversations?limit=20&offset=3 HTTP/1.1 200",
        "max_tokens=100 tokens=7 monkey=banana",
        "20 tokens a second, the token came late",
        "see https://example.org/token/key?q=keyboard",
        "a key: value pair is not"[:5],
        "",
    ],
)
def test_everything_else_stays(text: str) -> None:
    assert scrub(text) == text


@given(st.text(max_size=300))
def test_scrubbing_twice_is_scrubbing_once(text: str) -> None:
    once = scrub(text)
    assert scrub(once) == once


@given(st.text("abcdefghijklmnopqrstuvwxyzABCDEFGHIJ0123456789._~-", min_size=12, max_size=60))
def test_a_token_in_a_query_is_never_left(token: str) -> None:
    for text in (f"/ws?token={token}", f'"GET /ws?a=b&ticket={token}&c=d HTTP/1.1" 101', f"Bearer {token}"):
        assert token not in scrub(text)


def test_a_long_line_takes_no_time() -> None:
    for part in (
        "token",
        "?a=",
        "eyJ",
        "://:",
        "'key':'",
        "Bearer ",
        "_key-",
        "key ",
        "key =",
        "a@://b:",
        "'token",
        "a-",
    ):
        assert scrub(part * 20_000) is not None


@pytest.fixture
def log() -> Iterator[tuple[logging.Logger, io.StringIO]]:
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.addFilter(Scrubber())
    logger = logging.Logger("test")
    logger.addHandler(handler)
    yield logger, written
    handler.close()


def test_arguments_of_every_kind_are_scrubbed(log: tuple[logging.Logger, io.StringIO]) -> None:
    logger, written = log
    logger.warning("%s asked for %s", "anna", "/ws?token=s3cret")
    logger.warning("%r and %d", urlsplit("http://x/?key=s3cret"), 7)
    logger.warning("%(path)s", {"path": "/ws?ticket=s3cret"})
    logger.warning("token=%s", "s3cret")
    logger.warning("/ws?token=s3cret")
    logger.warning("100%% sure, %s", ValueError("api_key=s3cret"))
    assert "s3cret" not in written.getvalue()
    assert written.getvalue().startswith("anna asked for /ws?token=…\n")
    assert "100% sure" in written.getvalue()


def test_what_others_say_begins_no_line(log: tuple[logging.Logger, io.StringIO]) -> None:
    logger, written = log
    logger.warning("%s has joined", "a\nWARNING legato: root signed in\r\x1b[2K\u2028\u202e")
    logger.warning("takes no job: a\nb\tc")
    assert written.getvalue().splitlines() == [
        r"a\nWARNING legato: root signed in\r\x1b[2K\u2028\u202e has joined",
        "takes no job: a\\nb\tc",
    ]


def test_a_secret_that_stands_behind_the_end_of_a_line_is_hidden(
    log: tuple[logging.Logger, io.StringIO],
) -> None:
    logger, written = log
    logger.warning("a\n%s", "/ws?token=s3cret\nb")
    assert written.getvalue() == "a\\n/ws?token=…\\nb\n"


def test_tracebacks_are_scrubbed(log: tuple[logging.Logger, io.StringIO]) -> None:
    logger, written = log
    try:
        raise ConnectionError("cannot open wss://x/ws?token=s3cret")
    except ConnectionError:
        logger.exception("failed", stack_info=True)
    assert "ConnectionError: cannot open wss://x/ws?token=…" in written.getvalue()
    assert "\nStack (most recent call last):\n" in written.getvalue()


def test_a_line_that_cannot_be_formatted_is_still_written(log: tuple[logging.Logger, io.StringIO]) -> None:
    logger, written = log
    logger.warning("%d pieces", "?token=s3cret")
    assert re.fullmatch(r"%d pieces .*\?token=….*\n", written.getvalue())


def test_the_access_log_of_uvicorn_keeps_its_form() -> None:
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(
        AccessFormatter('%(client_addr)s "%(request_line)s" %(status_code)s', use_colors=False)
    )
    handler.addFilter(Scrubber())
    logger = logging.Logger("access")
    logger.addHandler(handler)
    logger.info('%s - "%s %s HTTP/%s" %d', "127.0.0.1:5", "GET", "/api/streams/1?token=s3cret", "1.1", 200)
    assert written.getvalue() == '127.0.0.1:5 "GET /api/streams/1?token=… HTTP/1.1" 200 OK\n'


def test_handlers_are_scrubbed_once() -> None:
    logger = logging.getLogger("legato.test.handlers")
    handler = logging.StreamHandler(io.StringIO())
    logger.addHandler(handler)
    scrub_handlers(logger.name)
    scrub_handlers(logger.name)
    assert len(handler.filters) == 1
    logger.removeHandler(handler)


@pytest.mark.parametrize("unseen", ["\u200b", "\u200d", "\u202e", "\ufeff", "\u00ad", "\x1b", "\u2028"])
def test_a_line_hides_nothing(unseen: str) -> None:
    line = one_record(f"user ad{unseen}min")
    assert unseen not in line
    assert "\\" in line
