"""What a model gets: in an order that every template takes, and within its context, never cut in silence."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from legato.chat.assistant import Assistant
from legato.chat.context_window import ContextWindow, alternating, assemble
from legato.chat.message_tree import size
from legato.domain.message import ImagePart, Message, Part, TextPart, ToolCallPart, ToolResultPart, text_of
from legato.domain.submission import Submission
from legato.engines.base import Capabilities, Turn
from legato.engines.fallback import Candidate, FallbackEngine, Timeouts
from legato.engines.message_format import FlatMessage, flatten_turns
from legato.engines.ollama.engine import OllamaEngine
from legato.engines.openai.engine import OpenAIEngine
from legato.errors import ContextExceededError
from legato.testing.odd_engine import DONE, END, OddEngine, OddRequest, Step, chunk, line, ndjson, plain, sse

from .conftest import ADA, ChatServer, RecordingWatcher

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def said(role: str, *parts: Part | str) -> Message:
    every = tuple(TextPart(part) if isinstance(part, str) else part for part in parts)
    return Message("m", "c", role, "complete", every, NOW)  # type: ignore[arg-type]


_messages = st.lists(
    st.builds(said, st.sampled_from(["user", "assistant"]), st.sampled_from(["", " ", "one", "two"])),
    max_size=40,
)


@given(_messages, st.integers(1, 30), st.none() | st.just("Be brief."), st.none() | st.floats(1, 60))
def test_roles_alternate_and_begin_with_the_user(
    branch: list[Message], history: int, system: str | None, room: float | None
) -> None:
    branch = [*branch, said("user", "last")]
    turns = list(assemble(branch, system, history, room).turns)
    if system:
        assert turns.pop(0).role == "system"
    assert [turn.role for turn in turns] == ["user", "assistant"] * (len(turns) // 2) + ["user"]
    assert text_of(turns[-1].parts).endswith("last")


def test_the_eleventh_question_begins_with_a_question() -> None:
    branch = [said("user" if n % 2 == 0 else "assistant", f"m{n}") for n in range(21)]
    turns = assemble(branch, None, 20, None).turns
    assert (turns[0].role, text_of(turns[0].parts), len(turns)) == ("user", "m0", 21)


@pytest.mark.parametrize("reply", ["", "  \n", None])
def test_questions_around_an_empty_reply_are_one(reply: str | None) -> None:
    between = [] if reply is None else [said("assistant", reply)]
    [turn] = assemble(
        [said("user", "One", ImagePart("data:x")), *between, said("user", "Two")], None, 20, None
    ).turns
    [message] = flatten_turns([turn])
    assert message == FlatMessage("user", "One\n\nTwo", images=("data:x",))


def test_replies_in_a_row_are_one_and_their_tools_stay_in_order() -> None:
    call, result = ToolCallPart("c", "f", "{}"), ToolResultPart("c", "f", "ok")
    turns = alternating(
        [
            Turn("user", (TextPart("q"),)),
            Turn("assistant", (call, result)),
            Turn("assistant", (TextPart("a"),)),
        ]
    )
    told = [each.text if isinstance(each, FlatMessage) else each.output for each in flatten_turns(turns)]
    assert told == ["q", "", "ok", "a"]


@pytest.mark.parametrize(
    ("text", "least"),
    [
        ("a" * 300, 100),
        ("汉" * 300, 300),
        ("ひ" * 300, 300),
        ("한" * 300, 300),
        ("ж" * 300, 200),
        ("🙂" * 300, 400),
    ],
)
def test_tokens_are_estimated_by_script(text: str, least: float) -> None:
    assert size((TextPart(text),)) >= least


def test_what_does_not_fit_is_counted() -> None:
    branch = [said("user" if n % 2 == 0 else "assistant", "word " * 30) for n in range(9)]
    prompt = assemble(branch, None, 20, 200.0)
    assert prompt.left_out == 6
    assert prompt.tokens <= 200
    assert assemble(branch, None, 20, None).left_out == 0


@pytest.mark.parametrize(
    ("limit", "asked", "share"), [(4096, 8192, 0.45), (4096, 4100, 0.9), (None, None, 0.5)]
)
def test_a_refused_prompt_is_made_shorter_by_what_the_model_counted(
    limit: int | None, asked: int | None, share: float
) -> None:
    window = ContextWindow()
    prompt = assemble([said("user", "a"), said("assistant", "b"), said("user", "c")], None, 20, None)
    assert window.shrink(prompt, ContextExceededError("too long", limit, asked))
    assert window.room(Capabilities(), {}) == pytest.approx(prompt.tokens * share, rel=0.01)
    alone = assemble([said("user", "a")], None, 20, None)
    assert not window.shrink(alone, ContextExceededError("too long"))


async def reply_to(server: ChatServer, text: str, of: str | None = None) -> Message:
    heard = RecordingWatcher()
    started = await server.service.replies.send(ADA, Submission(conversation=of, text=text))
    server.service.subscriptions.subscribe(ADA, started.conversation.id, heard)
    return await heard.ended(started.reply.id)


CONTEXT = 400


def refusing(odd: OddEngine, told: Callable[[int], dict[str, Any]]) -> None:
    """Let the server refuse prompts of more than `CONTEXT` tokens. Each character is a token and a half to it."""

    def answer(request: OddRequest) -> list[Step] | None:
        if request not in odd.asked:
            return None
        tokens = sum(len(message["content"]) for message in request.json["messages"]) * 3 // 2
        return plain(told(tokens), "400 Bad Request") if tokens > CONTEXT else None

    odd.on_request = answer


@pytest.mark.parametrize(
    "told",
    [
        lambda n: {
            "error": {"message": f"request ({n} tokens) exceeds the available context size (400 tokens), try increasing it"}
        },
        lambda n: {"error": {"type": "exceed_context_size_error", "message": "no", "n_ctx": 400, "n_prompt_tokens": n}},
        lambda n: {"error": {"message": "No.", "code": "context_length_exceeded"}},
        lambda n: {"detail": "prompt is too long"},
    ],
)  # fmt: skip
@pytest.mark.parametrize("kind", [OpenAIEngine, OllamaEngine])
async def test_a_long_chat_in_chinese_goes_on_with_less_and_says_so(
    told: Callable[[int], dict[str, Any]], kind: Any, tmp_path: Path
) -> None:
    reply = (
        sse(chunk("好" * 40), chunk(None, "stop"), DONE)
        if kind is OpenAIEngine
        else ndjson(line("好" * 40), END)
    )
    async with OddEngine(reply) as odd:
        if kind is OllamaEngine:
            refusing(
                odd, lambda n: {"error": told(n).get("error", {}).get("message") or "prompt is too long"}
            )
            if "No." in str(told(1)) or "'no'" in str(told(1)):
                refusing(odd, lambda n: {"error": "the input length exceeds the context length"})
        else:
            refusing(odd, told)
        server = ChatServer(f"sqlite:///{tmp_path / 'legato.db'}", Assistant(name="default", model="m"))
        engine = kind(odd.url)
        server.engine = FallbackEngine([Candidate(engine, "m")], timeouts=Timeouts(backoff=0.001))
        await server.start()
        last = await reply_to(server, "问" * 40)
        for _ in range(8):
            last = await reply_to(server, "问" * 40, last.conversation)
            assert (last.status, text_of(last.parts)) == ("complete", "好" * 40)
        assert last.detail is not None
        assert "left out: the conversation is longer than the model's context." in last.detail
        messages = odd.asked[-1].json["messages"]
        assert messages[0]["role"] == "user"
        assert len(messages) >= 3
        await server.stop()
        await engine.close()


async def test_one_message_that_is_too_long_is_refused_with_its_reason(tmp_path: Path) -> None:
    async with OddEngine(sse(chunk("x", "stop"), DONE)) as odd:
        refusing(odd, lambda n: {"error": {"message": f"maximum context length is 400 tokens, you have {n}"}})
        server = ChatServer(f"sqlite:///{tmp_path / 'legato.db'}", Assistant(name="default", model="m"))
        engine = OpenAIEngine(odd.url)
        server.engine = engine
        await server.start()
        reply = await reply_to(server, "问" * 500)
        assert reply.status == "interrupted"
        assert "maximum context length is 400 tokens" in (reply.detail or "")
        assert len(odd.asked) == 1
        await server.stop()
        await engine.close()
