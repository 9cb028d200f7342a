import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.storage.made import NOW, OWNER, conversation, conversed, ended, exchange, question

from legato.errors import InvalidError
from legato.storage.sql import SqlStorage, search


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
