"""Text that only grows."""

import json

from hypothesis import given
from hypothesis import strategies as st

from legato.dialects.append_only import DIVERGED, AppendOnlySubscriber
from legato.stream import Batch, Failed, Finished, Flusher, Log, State, Text
from legato.testing.sink import ManualLoop

SAID = "A word is enough."


class Page:
    """A `Socket` that takes as much as a test says, and a reader who can only append."""

    def __init__(self) -> None:
        self.writable = True
        self.shown = ""
        self.failures: list[str] = []

    @staticmethod
    def frame(payload: bytes) -> bytes:
        return payload + b"\n"

    def write(self, data: bytes) -> None:
        for line in data.splitlines():
            kind, text = json.loads(line)
            if kind == "text":
                self.shown += text
            else:
                self.failures.append(text)

    def flush(self) -> None: ...

    def send(self, payload: bytes) -> None: ...

    def limit_message(self, limit: int | None) -> None:
        """Take messages of any length."""

    def close(self, code: int, reason: str = "") -> None: ...

    @property
    def at_fault(self) -> bool:
        return False


def frames(log: Log, batch: Batch) -> list[bytes]:
    said = [["text", event.text] for event in batch.events if isinstance(event, Text)]
    said += [["failed", event.message] for event in batch.events if isinstance(event, Failed)]
    return [json.dumps(each).encode() for each in said]


def encoding(log: Log, batch: Batch) -> bytes:
    return b"".join(map(Page.frame, frames(log, batch)))


def look(log: Log, turns: ManualLoop, page: Page, flusher: Flusher | None = None) -> AppendOnlySubscriber:
    return AppendOnlySubscriber(log, 0, encoding, frames, page, flusher or Flusher(turns), lambda _: None)


def write(log: Log, *words: str) -> None:
    for word in words:
        log.append(Text(word))


def test_the_same_text_after_a_rewind_is_skipped() -> None:
    log, turns, page = Log("r", "e"), ManualLoop(), Page()
    viewer = look(log, turns, page)
    write(log, "A ", "word ")
    turns.settle()
    log.rewind(0)
    write(log, "A w")
    turns.settle()
    write(log, "ord is ", "enough.")
    log.append(Finished("stop"))
    turns.settle()
    assert page.shown == SAID
    assert not page.failures
    assert not viewer.diverged


def test_other_text_after_a_rewind_is_reported_and_never_spliced() -> None:
    log, turns, page = Log("r", "e"), ManualLoop(), Page()
    viewer = look(log, turns, page)
    write(log, "A ", "word ")
    turns.settle()
    log.rewind(0)
    write(log, "A ", "sentence ", "is enough.")
    log.append(Finished("stop"))
    turns.settle()
    assert page.shown == "A word "
    assert page.failures == [DIVERGED.message]
    assert viewer.diverged


def test_a_reply_that_ends_before_the_sent_text_has_diverged() -> None:
    log, turns, page = Log("r", "e"), ManualLoop(), Page()
    look(log, turns, page)
    write(log, "A ", "word ")
    turns.settle()
    log.rewind(0)
    write(log, "A ")
    log.append(Finished("stop"))
    turns.settle()
    assert page.failures == [DIVERGED.message]


def test_a_subscriber_after_a_rewind_gets_the_remaining_text() -> None:
    log, turns, page = Log("r", "e"), ManualLoop(), Page()
    write(log, "Nonsense ")
    log.rewind(0)
    write(log, SAID)
    look(log, turns, page)
    turns.settle()
    assert (page.shown, page.failures) == (SAID, [])


def test_a_filtered_batch_is_not_cached_for_others() -> None:
    log, turns = Log("r", "e"), ManualLoop()
    write(log, "Nonsense ")
    log.rewind(0)
    write(log, SAID)
    staying = look(log, turns, Page())
    for _ in range(3):
        page = Page()
        viewer = look(log, turns, page)
        turns.settle()
        viewer.detach()
        assert page.shown == SAID
    assert staying.attached
    assert not log.encoded_cache


word = st.text("ab", min_size=1, max_size=3)
deed = st.one_of(word, st.integers(0, 20), st.sampled_from(["turn", "stall", "go on", "compact", "state"]))


@given(st.lists(deed, max_size=40))
def test_the_sent_text_is_a_prefix_of_the_reply_or_has_diverged(deeds: list[str | int]) -> None:
    log, turns = Log("r", "e"), ManualLoop()
    flusher = Flusher(turns)
    pages = [Page()]
    viewers = [look(log, turns, pages[0], flusher)]
    texts = [""]
    for each in deeds:
        match each:
            case "turn":
                turns.turn()
            case "stall":
                pages[0].writable = False
            case "go on":
                pages[0].writable = True
                viewers[0].mark()
                pages.append(Page())
                viewers.append(look(log, turns, pages[-1], flusher))
            case "compact":
                log.compact(log.next)
            case "state":
                log.append(State("answering"))
            case int():
                if log.base <= each < log.next:
                    log.rewind(each)
            case str():
                log.append(Text(each))
        texts.append(log.snapshot().text)
    log.append(Finished("stop"))
    pages[0].writable = True
    viewers[0].mark()
    turns.settle()
    for page, viewer in zip(pages, viewers, strict=True):
        assert any(text.startswith(page.shown) for text in texts)
        assert len(page.failures) == viewer.diverged
        if not viewer.diverged:
            assert page.shown == log.snapshot().text
