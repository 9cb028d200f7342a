"""One reply at a time."""

from hypothesis import given
from hypothesis import strategies as st

from legato.dialects.reply_queue import WAITING, WAITING_BYTES, ReplyQueue
from legato.protocol.close_codes import CloseCode
from legato.stream import Batch, Failed, Finished, Flusher, Log, Subscriber, Text
from legato.testing.sink import ManualLoop


class Paper:
    """A `Socket` on which everything stands in the order in which it was written."""

    def __init__(self) -> None:
        self.writable = True
        self.said: list[bytes] = []
        self.at_fault = False
        self.closed: int | None = None

    @staticmethod
    def frame(payload: bytes) -> bytes:
        return payload

    def write(self, data: bytes) -> None:
        if data:
            self.said.append(data)

    def send(self, payload: bytes) -> None:
        self.said.append(payload)

    def flush(self) -> None: ...

    def limit_message(self, limit: int | None) -> None:
        """Take messages of any length."""

    def close(self, code: int, reason: str = "") -> None:
        self.closed = code


def words(log: Log, batch: Batch) -> bytes:
    return b"".join(
        event.text.encode() if isinstance(event, Text) else b"!" if isinstance(event, Failed) else b""
        for event in batch.events
    )


class Scene:
    def __init__(self) -> None:
        self.turns, self.paper = ManualLoop(), Paper()
        flusher = Flusher(self.turns)
        self.queue = ReplyQueue(
            self.paper, lambda log, ended: Subscriber(log, 0, words, self.paper, flusher, ended)
        )
        self.logs: dict[str, Log] = {}
        self.over: list[str] = []

    def begin(self, name: str) -> Log:
        log = self.logs[name] = Log(name, "e")
        assert self.queue.add(log, b"<" + name.encode(), on_sent=lambda: self.over.append(name))
        return log

    def settle(self) -> bytes:
        self.turns.settle()
        return b"".join(self.paper.said)


def test_frames_wait_for_the_end_of_the_current_reply() -> None:
    scene = Scene()
    one, two = scene.begin("1"), scene.begin("2")
    scene.queue.send(b"hello")
    two.append(Text("b"))
    two.append(Finished("stop"))
    scene.queue.end("2", b"2>")
    one.append(Text("a"))
    assert scene.settle() == b"<1a"
    one.append(Finished("stop"))
    assert scene.settle() == b"<1a"
    scene.queue.end("1", b"1>")
    assert scene.settle() == b"<1a1><2b2>hello"
    assert scene.over == ["1", "2"]


def test_the_frames_that_wait_are_limited() -> None:
    scene = Scene()
    one = scene.begin("1")
    said = 0
    while scene.paper.closed is None:
        scene.queue.send(b"x" * 50_000)
        said += 50_000
        assert said < 2 * WAITING_BYTES
    assert scene.paper.closed == CloseCode.SLOW
    one.append(Text("a"))
    scene.queue.end("1", b"1>")
    scene.queue.send(b"hello")
    assert not scene.queue.add(Log("2", "e"))
    assert scene.settle() == b"<1"


def test_the_ends_of_queued_replies_count_too() -> None:
    scene = Scene()
    for name in range(10):
        scene.begin(str(name))
    for name in range(1, 10):
        scene.queue.end(str(name), b"x" * (WAITING_BYTES // 4))
    assert scene.paper.closed == CloseCode.SLOW


def test_dequeued_frames_count_no_more() -> None:
    scene = Scene()
    for name in range(20):
        log = scene.begin(str(name))
        for _ in range(3):
            scene.queue.send(b"x" * (WAITING_BYTES // 4))
        log.append(Finished("stop"))
        scene.queue.end(str(name), b">")
        scene.settle()
    for _ in range(20, 40):
        scene.begin("-")
        scene.begin("gone")
        scene.queue.end("gone", b"x" * (WAITING_BYTES // 2))
        scene.queue.drop("gone")
        scene.queue.drop("-")
    assert scene.paper.closed is None


def test_the_queued_replies_are_limited_too() -> None:
    scene = Scene()
    for name in range(WAITING + 1):
        scene.begin(str(name))
    assert not scene.queue.add(Log("more", "e"))
    assert scene.paper.closed == CloseCode.SLOW


def test_a_failed_reply_needs_no_end_frames() -> None:
    scene = Scene()
    one = scene.begin("1")
    scene.queue.send(b"hello")
    one.append(Failed("x", "It broke."))
    assert scene.settle() == b"<1!hello"
    scene.queue.end("1", b"1>")
    assert scene.settle() == b"<1!hello"


def test_an_early_end_waits_for_a_slow_socket() -> None:
    scene = Scene()
    one = scene.begin("1")
    scene.paper.writable = False
    one.append(Text("a"))
    one.append(Finished("stop"))
    scene.queue.end("1", b"1>")
    scene.queue.send(b"hello")
    assert scene.settle() == b"<1"
    scene.paper.writable = True
    scene.queue.mark()
    assert scene.settle() == b"<1a1>hello"


def test_a_reply_is_queued_once_and_can_be_dropped() -> None:
    scene = Scene()
    one, two = scene.begin("1"), scene.begin("2")
    assert not scene.queue.add(two)
    assert not scene.queue.add(one)
    scene.begin("3").append(Text("c"))
    scene.queue.drop("2")
    scene.queue.drop("1")
    one.append(Text("a"))
    assert scene.settle() == b"<1<3c"


deed = st.tuples(
    st.sampled_from(["begin", "text", "finish", "fail", "end", "say", "stall", "turn"]), st.integers(0, 3)
)


@given(st.lists(deed, max_size=60))
def test_replies_never_mix(deeds: list[tuple[str, int]]) -> None:
    scene = Scene()
    order: list[str] = []
    ended: set[str] = set()
    for kind, number in deeds:
        name = str(number)
        log = scene.logs.get(name)
        match kind:
            case "begin" if log is None:
                scene.begin(name)
                order.append(name)
            case "text" if log is not None and not log.closed:
                log.append(Text(name))
            case "finish" if log is not None and not log.closed:
                log.append(Finished("stop"))
            case "fail" if log is not None and not log.closed:
                log.append(Failed("x", "It broke."))
            case "end" if log is not None and isinstance(log.end, Finished):
                scene.queue.end(name, b">")
                ended.add(name)
            case "say":
                scene.queue.send(b"-")
            case "stall":
                scene.paper.writable = not scene.paper.writable
                scene.queue.mark()
            case "turn":
                scene.turns.turn()
    scene.paper.writable = True
    for name in order:
        if not scene.logs[name].closed:
            scene.logs[name].append(Finished("stop"))
        if name not in ended:
            scene.queue.end(name, b">")
    scene.queue.mark()
    told = scene.settle().decode().replace("-", "")
    texts = {name: log.snapshot().text for name, log in scene.logs.items()}
    ends = {name: ">" if isinstance(log.end, Finished) else "!" for name, log in scene.logs.items()}
    assert told == "".join(f"<{name}{texts[name]}{ends[name]}" for name in order)
    assert scene.over == order
