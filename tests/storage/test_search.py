import asyncio

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection
from tests.storage.made import NOW, OWNER, conversation, conversed, ended, exchange, opened, question

from legato.domain.message import TextPart, ToolResultPart
from legato.errors import BusyError, InvalidError, StorageTimeoutError
from legato.storage.sql import SqlStorage, search, tokenizer
from legato.storage.sql.codec import text_of_cut, to_json
from legato.storage.sql.search_queue import USER_WAITING


async def found(storage: SqlStorage, query: str, owner: str = "ada") -> list[str | None]:
    return [hit.message for hit in await storage.search(owner, query)]


async def test_questions_replies_and_titles_are_found(storage: SqlStorage) -> None:
    await conversed(storage)
    await storage.begin(exchange(1, "Why do whales sing?", title="On the sea"), NOW)
    assert await found(storage, "the sea") == [None]
    assert await found(storage, "whales") == ["q1"]
    finished = await storage.finish(ended("r1", "Whales sing to be heard."), OWNER, NOW)
    assert finished is not None
    assert await found(storage, "to be") == ["r1"]
    [hit] = await storage.search("ada", "heard")
    assert hit.conversation == await storage.conversation("c")
    assert hit.snippet == "Whales sing to be heard."


async def test_a_reply_is_found_after_it_ended(storage: SqlStorage) -> None:
    await conversed(storage)
    await storage.begin(exchange(1, "Sing"), NOW)
    assert await found(storage, "heard") == []
    await storage.finish(ended("r1", "heard"), OWNER, NOW)
    assert await found(storage, "heard") == ["r1"]


async def test_a_rewritten_question_is_found_by_its_new_text(storage: SqlStorage) -> None:
    await conversed(storage)
    await storage.begin(exchange(1, "heard"), NOW)
    assert await found(storage, "heard") == ["q1"]
    await storage.rewrite(question("q1", "seen"), NOW)
    assert await found(storage, "heard") == []
    assert await found(storage, "seen") == ["q1"]


async def test_a_conversation_is_found_only_by_its_owner(storage: SqlStorage) -> None:
    await conversed(storage, "c", owner="ada", title="whales")
    await conversed(storage, "d", owner="bob", title="whales")
    assert [hit.conversation.id for hit in await storage.search("ada", "whales")] == ["c"]
    assert [hit.conversation.id for hit in await storage.search("bob", "whales")] == ["d"]
    assert await storage.search("eve", "whales") == []


async def test_the_index_is_not_queried_for_a_user_without_messages(
    storage: SqlStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    await conversed(storage, title="whales")
    monkeypatch.setattr(search, "_FIND", {})
    assert await storage.search("eve", "whales") == []
    with pytest.raises(KeyError):
        await storage.search("ada", "whales")


async def test_a_new_title_is_found_and_the_old_one_is_not(storage: SqlStorage) -> None:
    await conversed(storage, title="whales")
    await storage.rename_conversation("c", "dolphins", NOW)
    assert await found(storage, "whales") == []
    assert await found(storage, "dolph") == [None]
    assert (await storage.search("ada", "dolph"))[0].snippet == "dolphins"


async def test_all_words_must_occur_and_the_last_is_a_prefix(storage: SqlStorage) -> None:
    await conversed(storage)
    await storage.begin(exchange(1, "blue whales sing"), NOW)
    await storage.begin(exchange(2, "blue dolphins"), NOW)
    assert await found(storage, "blue wh") == ["q1"]
    assert await found(storage, "bl whales") == []
    assert await found(storage, "blue dol") == ["q2"]


async def test_the_best_passage_of_a_conversation_is_returned(storage: SqlStorage) -> None:
    await conversed(storage, "c", title="whales and what else swims in the sea")
    await conversed(storage, "d", title="whales and dolphins")
    await storage.begin(exchange(1, "how do whales sing to one another"), NOW)
    await storage.begin(exchange(2, "whales"), NOW)
    await storage.begin(exchange(3, "whales"), NOW)
    assert await found(storage, "whales") == ["q3", None]
    assert [hit.conversation.id for hit in await storage.search("ada", "whales")] == ["c", "d"]
    assert await storage.search("bob", "whales") == []


async def test_short_passages_come_first_then_the_newest(storage: SqlStorage) -> None:
    for name in "abcd":
        await conversed(storage, name)
    await storage.begin(exchange(1, "whale", of="a"), NOW)
    await storage.begin(exchange(2, "whale", of="b"), NOW)
    await storage.begin(exchange(3, "whale " + " ".join(f"w{i}" for i in range(300)), of="c"), NOW)
    for i in range(4, 30):
        await storage.begin(exchange(i, f"something else {i}", of="d"), NOW)
    assert await found(storage, "whale") == ["q2", "q1", "q3"]
    assert [hit.message for hit in await storage.search("ada", "whale", limit=1)] == ["q2"]


@pytest.mark.parametrize(
    "query",
    [
        '"whales"', "'whales'", "whales*", "*whales", "whales:*", "(whales", "whales)", "whales & !", "-whales",
        "^whales", "words:whales", "{words}: whales", "whales\\", "whales''", "whales%", "whales\0", "whales\ud800",
        "whales; DROP TABLE passages", "<whales>", "whales |", "whales <-> ",
    ],
)  # fmt: skip
async def test_nothing_in_a_query_is_syntax(storage: SqlStorage, query: str) -> None:
    await conversed(storage)
    await storage.begin(exchange(1, "Words: whales; drop table passages"), NOW)
    assert await found(storage, query) == ["q1"]


@pytest.mark.parametrize(
    "query", ["whales OR dolphins", "whales NOT cats", "NEAR(whales cats)", "whales AND cats"]
)
async def test_operators_of_query_languages_are_plain_words(storage: SqlStorage, query: str) -> None:
    await conversed(storage)
    await storage.begin(exchange(1, "whales cats dolphins"), NOW)
    await storage.begin(exchange(2, query), NOW)
    assert await found(storage, query) == ["q2"]


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(query=st.text(st.characters(exclude_categories=()), max_size=200))
async def test_any_string_is_a_valid_query(storage: SqlStorage, query: str) -> None:
    if await storage.conversation("c") is None:
        await storage.create_conversation(conversation("c", title="whales"))
    assert set(await found(storage, query)) <= {None}


@pytest.mark.parametrize(
    ("text", "query"),
    [
        ("Ein Café", "cafe"),
        ("В Москве", "москв"),
        ("彼は日本語を話す", "日本語"),
        ("nice 🎉 party", "party 🎉"),
    ],
)
async def test_text_in_all_scripts_is_found(storage: SqlStorage, text: str, query: str) -> None:
    await conversed(storage)
    await storage.begin(exchange(1, text), NOW)
    [hit] = await storage.search("ada", query)
    assert (hit.message, hit.snippet) == ("q1", text)


@pytest.mark.parametrize(
    "text",
    [
        "word " * 100_000,
        "".join(map(chr, range(0x20000, 0x2A000))) * 3,
        "x" * 300_000,
        " ".join(map(str, range(60_000))),
    ],
)
async def test_only_the_beginning_of_a_very_long_message_is_searched(storage: SqlStorage, text: str) -> None:
    await conversed(storage)
    await storage.begin(exchange(1), NOW)
    stored = await storage.finish(ended("r1", f"whales {text}"), OWNER, NOW)
    assert stored == await storage.message("r1")
    assert await found(storage, "whales") == ["r1"]


@pytest.mark.parametrize("limit", [0, 201])
async def test_a_limit_out_of_bounds_is_refused(storage: SqlStorage, limit: int) -> None:
    with pytest.raises(InvalidError):
        await storage.search("ada", "x", limit=limit)


def test_the_text_of_a_message_that_is_cut_anywhere_is_read() -> None:
    parts = (TextPart('Say "\\u00e9\n'), ToolResultPart("c", "name", "not this"), TextPart("\\\x01 é"))
    whole, json = 'Say "\\u00e9\n\\\x01 é', to_json(parts)
    texts = [text_of_cut(json[:end]) for end in range(len(json) + 1)]
    assert [len(text) for text in texts] == sorted(len(text) for text in texts)
    assert all(whole.startswith(text) for text in texts)
    assert texts[-1] == whole


async def test_a_snippet_of_a_long_message_is_from_its_middle(storage: SqlStorage) -> None:
    await conversed(storage)
    text = "größer " * 10_000 + "Nådel im Heu " + "älter " * 100_000
    await storage.begin(exchange(1), NOW)
    await storage.finish(ended("r1", text), OWNER, NOW)
    [hit] = await storage.search("ada", "nadel")
    assert "größer Nådel im Heu älter" in hit.snippet


async def test_a_search_reads_a_bounded_part_of_many_long_messages(
    storage: SqlStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The limit of work is counted in characters, which no busy machine changes."""
    for n in range(30):
        await conversed(storage, f"c{n}")
        await storage.begin(exchange(n, "größer " * 3_000 + "Nadel", of=f"c{n}"), NOW)
    folded = 0
    fold = tokenizer._fold

    def counted(text: str) -> str:
        nonlocal folded
        folded += len(text)
        return fold(text)

    monkeypatch.setattr(search, "FOLDED_LENGTH", 100_000)
    monkeypatch.setattr(tokenizer, "_fold", counted)
    hits = await storage.search("ada", "nadel", limit=200)
    assert len(hits) == 30
    assert "Nadel" in hits[0].snippet
    assert hits[-1].snippet.startswith("größer größer")
    assert folded < 150_000


async def slow(storage: SqlStorage, monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """Let searches take for ever in the database. Return what is set when one has begun."""
    began, loop = asyncio.Event(), asyncio.get_running_loop()
    endless = {
        "sqlite": "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n",
        "postgresql": "SELECT pg_sleep(600)",
    }

    def find(connection: Connection, **_: object) -> None:
        loop.call_soon_threadsafe(began.set)
        connection.exec_driver_sql(endless[connection.dialect.name]).all()

    monkeypatch.setattr(search, "find", find)
    return began


async def test_a_search_that_takes_too_long_is_stopped_with_a_sentence(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(url, search_timeout=0.1) as storage:
        await conversed(storage, title="whales")
        with monkeypatch.context() as patched:
            await slow(storage, patched)
            for _ in range(3):
                with pytest.raises(StorageTimeoutError, match=r"took too long.*Search for"):
                    await storage.search("ada", "x")
        storage._search_timeout = 60
        assert len(await storage.search("ada", "whales")) == 1


async def test_forty_searches_of_one_user_stop_none_of_another(
    storage: SqlStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    await conversed(storage, owner="bob", title="whales")
    with monkeypatch.context() as patched:
        began = await slow(storage, patched)
        searches = [asyncio.create_task(storage.search("ada", "x")) for _ in range(40)]
        await began.wait()
    assert len(await storage.search("bob", "whales")) == 1
    refused = [each for each in searches if each.done()]
    assert len(refused) == 40 - 1 - USER_WAITING
    assert all(isinstance(each.exception(), BusyError) for each in refused)
    for each in searches:
        each.cancel()
    await asyncio.gather(*searches, return_exceptions=True)
    # All threads and connections are free again.
    found = await asyncio.gather(*(storage.search("bob", "whales") for _ in range(4)))
    assert [len(hits) for hits in found] == [1] * 4
