import asyncio

from hypothesis import given
from hypothesis import strategies as st

from legato.client.reply import ClientReply
from legato.client.stream import StreamState
from legato.stream import (
    Event,
    Finished,
    Reasoning,
    ReplySnapshot,
    State,
    Text,
    ToolAsked,
    ToolFinished,
    ToolStarted,
)


def run_of_a_tool(call: str, asks: bool, runs: bool, comes_back: bool) -> list[Event]:
    asked = [ToolAsked(call, "roll", "{}")] if asks else []
    started = [ToolStarted(call, "roll", "{}")] if runs or not asks else []
    return [*asked, *started, *([ToolFinished(call, "6", failed=asks)] if comes_back else [])]


pieces = st.one_of(
    st.text(max_size=3).map(lambda text: [Text(text)]),
    st.text(max_size=3).map(lambda text: [Reasoning(text)]),
    st.builds(run_of_a_tool, st.uuids().map(str), st.booleans(), st.booleans(), st.booleans()),
    st.just([State("answering", model="m")]),
)


@given(st.lists(pieces, max_size=8), st.booleans())
def test_a_reader_from_the_middle_gets_everything_before(said: list[list[Event]], ends: bool) -> None:
    stream = StreamState("s", "c")
    for event in [*(each for piece in said for each in piece), *([Finished("stop")] if ends else [])]:
        stream.snapshot.apply(event)

    async def read() -> ReplySnapshot:
        reply = ClientReply(stream, "c")
        reader = aiter(reply)
        reply.close(None)
        return ReplySnapshot([event async for event in reader if not isinstance(event, str)])

    fold = asyncio.run(read())
    assert (fold.text, fold.reasoning, fold.tools) == (
        stream.snapshot.text,
        stream.snapshot.reasoning,
        stream.snapshot.tools,
    )
