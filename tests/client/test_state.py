from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from legato.client.events import (
    ClientEvent,
    ConversationRemoved,
    ErrorReceived,
    MessageUpdated,
    RequestAnswered,
    StreamAdvanced,
    StreamRestarted,
)
from legato.client.state import ClientState
from legato.domain.message import Status
from legato.protocol.messages import (
    Ack,
    Delta,
    Error,
    Follow,
    Following,
    Hello,
    MessageChanged,
    MessageView,
    ResetStream,
    Send,
    Show,
    Stop,
    Unfollow,
)
from legato.stream import Failed, Finished, Reasoning, ReplySnapshot, Text
from legato.testing.fake_server import WHEN, FakeConnection, FakeServer


class Consumer:
    """Adds up the events of a client."""

    def __init__(self) -> None:
        self.folds: dict[str, ReplySnapshot] = {}
        self.answers: dict[str, object] = {}
        self.all: list[ClientEvent] = []

    def hear(self, happened: Iterable[ClientEvent]) -> None:
        for each in happened:
            self.all.append(each)
            match each:
                case StreamAdvanced(stream=stream, events=events):
                    fold = self.folds.setdefault(stream, ReplySnapshot())
                    for event in events:
                        assert fold.end is None, "nothing is told behind the end"
                        fold.apply(event)
                case StreamRestarted(stream=stream):
                    assert self.folds[stream].end is None
                    self.folds[stream] = ReplySnapshot()
                case RequestAnswered(id=name, answer=answer):
                    assert name not in self.answers, "a command is answered once"
                    self.answers[name] = answer
                case _:
                    pass


class Pair:
    """A client and a server, with a connection between them that does as it is told."""

    def __init__(self, server: FakeServer | None = None) -> None:
        self.server = server or FakeServer()
        self.state = ClientState()
        self.consumer = Consumer()
        self.connection: FakeConnection | None = None

    def connect(self) -> None:
        self.cut()
        self.connection = self.server.connect()
        self.state.connected()
        self.connection.send(self.server.welcome())

    def cut(self) -> None:
        if self.connection is not None:
            self.server.disconnect(self.connection)
            self.connection = None
            self.state.disconnected()

    def carry(self, frames: int | None = None) -> None:
        """Let commands through, and so many frames back."""
        while self.connection is not None:
            commands = self.state.take_outgoing()
            for command in commands:
                self.connection.receive(command)
            taken = self.connection.frames[:frames]
            del self.connection.frames[:frames]
            for frame in taken:
                self.give(frame)
            if frames is not None or not (taken or commands):
                return

    def give(self, frame: object) -> None:
        self.state.receive(frame)  # type: ignore[arg-type]
        self.consumer.hear(self.state.take_events())

    def settle(self) -> None:
        """Deliver everything."""
        self.carry()
        assert self.connection is not None
        self.connection.flush()
        self.carry()


@pytest.fixture
def pair() -> Pair:
    pair = Pair()
    pair.connect()
    pair.settle()
    return pair


def reply_of(pair: Pair, command: str) -> str:
    ack = pair.consumer.answers[command]
    assert isinstance(ack, Ack)
    return ack.reply


def sent(pair: Pair, kind: type) -> list[object]:
    return [each for each in pair.server.commands if isinstance(each, kind)]


class TestAReply:
    def test_a_message_is_answered_and_its_reply_streams(self, pair: Pair) -> None:
        command = pair.state.request(Send(client_message_id="k", text="hi"))
        pair.settle()
        reply = reply_of(pair, command)
        pair.server.write(reply, Text("one "))
        pair.settle()
        pair.server.write(reply, Text("two"))
        pair.server.finish(reply)
        pair.settle()
        assert pair.consumer.folds[reply] == pair.server.logs[reply].snapshot()
        assert pair.state.streams[reply].snapshot.text == "one two"

    def test_after_a_cut_a_reply_resumes_at_its_position(self, pair: Pair) -> None:
        command = pair.state.request(Send(client_message_id="k", text="hi"))
        pair.settle()
        reply = reply_of(pair, command)
        for word in ("one ", "two "):
            pair.server.write(reply, Text(word))
        pair.settle()
        pair.cut()
        pair.server.write(reply, Text("three"))
        pair.connect()
        pair.settle()
        (follow,) = sent(pair, Follow)
        assert isinstance(follow, Follow)
        assert [(each.epoch, each.offset) for each in follow.positions] == [("e1", 2)]
        assert pair.consumer.folds[reply].text == "one two three"
        assert not any(isinstance(each, StreamRestarted) for each in pair.consumer.all)

    def test_after_a_crash_a_reply_restarts(self, pair: Pair) -> None:
        command = pair.state.request(Send(client_message_id="k", text="hi"))
        pair.settle()
        reply = reply_of(pair, command)
        pair.server.write(reply, Text("a first try"))
        pair.settle()
        pair.server.crash()
        pair.cut()
        pair.server.write(reply, Text("another one"))
        pair.connect()
        pair.settle()
        assert StreamRestarted(reply) in pair.consumer.all
        assert pair.consumer.folds[reply].text == "a firanother one"

    def test_a_reply_that_ended_during_a_cut_is_completed(self, pair: Pair) -> None:
        command = pair.state.request(Send(client_message_id="k", text="hi"))
        pair.settle()
        reply = reply_of(pair, command)
        pair.server.write(reply, Text("one "))
        pair.settle()
        pair.cut()
        pair.server.write(reply, Text("two"))
        pair.server.finish(reply, "interrupted")
        pair.connect()
        pair.settle()
        assert pair.consumer.folds[reply].text == "one two"
        assert isinstance(pair.consumer.folds[reply].end, Failed)

    def test_the_stored_message_overrides_the_stream(self, pair: Pair) -> None:
        command = pair.state.request(Send(client_message_id="k", text="hi"))
        pair.settle()
        reply = reply_of(pair, command)
        pair.server.write(reply, Text("one"))
        pair.settle()
        conversation = pair.server.messages[reply].conversation
        whole = MessageView(reply, conversation, "assistant", "complete", WHEN, 9, "two", reasoning="hm")
        pair.give(MessageChanged(message=whole))
        assert (pair.consumer.folds[reply].text, pair.consumer.folds[reply].reasoning) == ("two", "hm")
        assert isinstance(pair.consumer.folds[reply].end, Finished)

    def test_a_gap_is_requested_once_and_filled(self, pair: Pair) -> None:
        command = pair.state.request(Send(client_message_id="k", text="hi"))
        pair.settle()
        reply = reply_of(pair, command)
        assert pair.connection is not None
        for word in "abcdef":
            pair.server.write(reply, Text(word))
            pair.connection.flush()
        frames, pair.connection.frames = pair.connection.frames, []
        for frame in (frames[0], *frames[2:]):
            pair.give(frame)
        pair.settle()
        assert pair.consumer.folds[reply].text == "abcdef"
        assert len(sent(pair, Follow)) == 1

    def test_a_gap_that_is_not_filled_requests_the_whole_stream(self, pair: Pair) -> None:
        command = pair.state.request(Send(client_message_id="k", text="hi"))
        pair.settle()
        reply = reply_of(pair, command)
        pair.give(Delta(reply, "e1", 0, 2, [Text("ab")]))
        for _ in range(2):
            pair.give(Delta(reply, "e1", 5, 6, [Text("x")]))
            (follow,) = [each for each in pair.state.take_outgoing() if isinstance(each, Follow)]
            conversation = pair.server.conversations[follow.conversation]
            pair.give(Following(re=follow.id, conversation=conversation, messages=[]))
        assert follow.positions == []
        assert pair.consumer.folds[reply].text == ""

    def test_a_reply_the_server_no_longer_has_ends(self, pair: Pair) -> None:
        command = pair.state.request(Send(client_message_id="k", text="hi"))
        pair.settle()
        reply = reply_of(pair, command)
        pair.server.write(reply, Text("one"))
        pair.settle()
        pair.give(ResetStream(reply, "gone"))
        end = pair.consumer.folds[reply].end
        assert isinstance(end, Failed)
        assert end.code == "gone"

    def test_a_deleted_conversation_ends_its_replies(self, pair: Pair) -> None:
        command = pair.state.request(Send(client_message_id="k", text="hi"))
        pair.settle()
        reply = reply_of(pair, command)
        conversation = pair.server.messages.pop(reply).conversation
        del pair.server.conversations[conversation], pair.server.logs[reply]
        pair.cut()
        pair.connect()
        pair.settle()
        assert isinstance(pair.consumer.folds[reply].end, Failed)
        assert ConversationRemoved(conversation) in pair.consumer.all
        assert pair.state.conversations == {}


class TestCommands:
    def test_commands_wait_for_the_welcome(self) -> None:
        state = ClientState()
        state.request(Send(client_message_id="k", text="hi"))
        assert state.take_outgoing() == []
        state.connected(Hello(ticket="a-ticket"))
        assert state.take_outgoing() == [Hello(ticket="a-ticket")]
        state.receive(FakeServer().welcome())
        assert [type(each) for each in state.take_outgoing()] == [Send]

    def test_an_unanswered_command_is_sent_again_unchanged(self, pair: Pair) -> None:
        command = pair.state.request(Send(client_message_id="k", text="hi"))
        first = pair.state.take_outgoing()
        pair.connection.receive(first[0])  # type: ignore[union-attr]
        pair.connect()
        pair.settle()
        again = sent(pair, Send)
        assert again == [first[0], first[0]]
        ack = pair.consumer.answers[command]
        assert isinstance(ack, Ack)
        assert ack.duplicate
        assert len(pair.server.logs) == 1
        pair.server.write(ack.reply, Text("once"))
        pair.settle()
        assert pair.consumer.folds[ack.reply].text == "once"

    def test_an_answered_command_is_not_sent_again(self, pair: Pair) -> None:
        pair.state.request(Send(client_message_id="k", text="hi"))
        pair.settle()
        pair.connect()
        pair.settle()
        assert len(sent(pair, Send)) == 1

    def test_an_error_is_an_answer(self, pair: Pair) -> None:
        command = pair.state.request(Send(client_message_id="k", text="hi", conversation="nobody's"))
        pair.settle()
        answer = pair.consumer.answers[command]
        assert isinstance(answer, Error)
        assert answer.code == "not_found"

    def test_an_error_without_an_id_is_an_event(self, pair: Pair) -> None:
        error = Error(code="invalid", message="This is not JSON.")
        pair.give(error)
        assert pair.consumer.all == [ErrorReceived(error)]

    def test_show_is_answered_by_the_conversation(self, pair: Pair) -> None:
        conversation = pair.server.make("v")
        pair.state.follow(conversation)
        command = pair.state.request(Show(conversation=conversation, message="m1"))
        pair.settle()
        assert command in pair.consumer.answers

    def test_stop_ends_the_reply(self, pair: Pair) -> None:
        command = pair.state.request(Send(client_message_id="k", text="hi"))
        pair.settle()
        reply = reply_of(pair, command)
        pair.server.write(reply, Text("one"))
        conversation = pair.server.messages[reply].conversation
        pair.state.request(Stop(conversation=conversation, message=reply))
        pair.settle()
        assert pair.consumer.folds[reply].end == Finished("stopped")


class TestFollowing:
    def test_follow_gets_the_history_and_then_the_changes(self, pair: Pair) -> None:
        conversation = pair.server.make("v")
        question, reply = pair.server.begin(conversation, "hi")
        pair.server.write(reply, Text("one "))
        command = pair.state.follow(conversation)
        pair.settle()
        assert command in pair.consumer.answers
        assert list(pair.state.conversations["v"].messages) == [question, reply]
        pair.server.write(reply, Text("two"))
        pair.settle()
        assert pair.consumer.folds[reply].text == "one two"
        pair.server.begin(conversation, "more")
        pair.settle()
        assert len(pair.state.conversations["v"].messages) == 4

    def test_after_a_cut_only_missed_messages_are_sent(self, pair: Pair) -> None:
        conversation = pair.server.make("v")
        for _ in range(5):
            _, reply = pair.server.begin(conversation, "hi")
            pair.server.finish(reply)
        pair.state.follow(conversation)
        pair.settle()
        pair.consumer.all.clear()
        pair.connect()
        pair.settle()
        assert not any(isinstance(each, MessageUpdated) for each in pair.consumer.all)

    def test_a_conversation_that_is_only_written_to_is_resumed_without_its_history(self, pair: Pair) -> None:
        conversation = pair.server.make("v")
        for _ in range(5):
            _, reply = pair.server.begin(conversation, "hi")
            pair.server.finish(reply)
        command = pair.state.request(Send(client_message_id="k", text="more", conversation=conversation))
        pair.settle()
        pair.connect()
        pair.settle()
        ack = pair.consumer.answers[command]
        assert isinstance(ack, Ack)
        assert set(pair.state.conversations["v"].messages) == {ack.message, ack.reply}
        pair.server.finish(ack.reply)
        pair.state.follow(conversation)
        pair.settle()
        assert len(pair.state.conversations["v"].messages) == 12
        assert pair.consumer.folds[ack.reply].end is not None

    def test_a_follow_waits_for_the_whole_history_although_a_part_is_requested(self, pair: Pair) -> None:
        conversation = pair.server.make("v")
        for _ in range(5):
            pair.server.begin(conversation, "hi")
        pair.state.request(Send(client_message_id="k", text="more", conversation=conversation))
        pair.settle()
        pair.connect()
        pair.carry(1)
        command = pair.state.follow(conversation)
        pair.settle()
        assert isinstance(pair.consumer.answers[command], Following)
        assert len(pair.state.conversations["v"].messages) == 12

    def test_a_missing_conversation_is_refused_and_forgotten(self, pair: Pair) -> None:
        command = pair.state.follow("nobody's")
        pair.settle()
        assert isinstance(pair.consumer.answers[command], Error)
        pair.connect()
        pair.settle()
        assert len(sent(pair, Follow)) == 1

    def test_a_temporary_refusal_of_follow_makes_a_new_connection(self, pair: Pair) -> None:
        conversation = pair.server.make("v")
        pair.state.follow(conversation)
        pair.settle()
        pair.server.refuse["Follow"] = Error(code="storage", message="The database is locked.")
        pair.connect()
        pair.settle()
        assert pair.state.failure == "The database is locked."
        pair.server.refuse.clear()
        pair.connect()
        pair.settle()
        assert pair.state.failure is None
        assert list(pair.state.conversations) == ["v"]

    def test_unfollow_forgets(self, pair: Pair) -> None:
        conversation = pair.server.make("v")
        pair.state.follow(conversation)
        pair.settle()
        pair.state.unfollow(conversation)
        pair.state.unfollow(conversation)
        pair.settle()
        assert len(sent(pair, Unfollow)) == 1
        pair.connect()
        pair.settle()
        assert len(sent(pair, Follow)) == 1


class Story:
    """A run of things that happen, by name; `number` chooses where there is something to choose."""

    def __init__(self) -> None:
        self.pair = Pair()
        self.sends: list[str] = []
        self.pair.connect()
        self.send(0)
        self.pair.settle()

    def running(self) -> list[str]:
        server = self.pair.server
        return [each for each, log in server.logs.items() if not log.closed]

    def send(self, number: int) -> None:
        known = list(self.pair.state.conversations)
        conversation = known[-1] if number % 2 and known else None
        command = Send(client_message_id=f"k{len(self.sends)}", text="hi", conversation=conversation)
        self.sends.append(self.pair.state.request(command))

    def write(self, number: int) -> None:
        for stream in self.running():
            for letter in "abcdefghé"[number % 9 :][:3]:
                self.pair.server.write(stream, Reasoning(letter) if number % 4 == 0 else Text(letter))

    def rewind(self, number: int) -> None:
        for stream in self.running():
            log = self.pair.server.logs[stream]
            log.rewind(number % (log.next + 1))

    def finish(self, number: int) -> None:
        how: tuple[Status, ...] = ("complete", "stopped", "interrupted")
        for stream in self.running()[:1]:
            self.pair.server.finish(stream, how[number % 3])

    def flush(self, number: int) -> None:
        if self.pair.connection is not None:
            self.pair.connection.flush(number % 4)

    def carry(self, number: int) -> None:
        self.pair.carry(number % 5)

    def _deltas(self) -> list[int]:
        frames = self.pair.connection.frames if self.pair.connection is not None else []
        return [place for place, each in enumerate(frames) if isinstance(each, Delta)]

    def double(self, number: int) -> None:
        if self.pair.connection is not None and (places := self._deltas()):
            frames = self.pair.connection.frames
            frames.insert(len(frames) if number % 2 else places[0], frames[places[number % len(places)]])

    def lose(self, number: int) -> None:
        if self.pair.connection is not None and (places := self._deltas()):
            del self.pair.connection.frames[places[number % len(places)]]

    def cut(self, number: int) -> None:
        self.pair.cut()

    def connect(self, number: int) -> None:
        if self.pair.connection is None:
            self.pair.connect()
            self.pair.carry(number)

    def crash(self, number: int) -> None:
        self.pair.cut()
        self.pair.server.crash()

    def end(self) -> None:
        self.pair.connect()
        self.pair.settle()
        for conversation in list(self.pair.state.conversations):
            self.pair.state.follow(conversation)
        self.pair.settle()
        # What was lost is found on the next connection.
        self.pair.connect()
        self.pair.settle()


OFTEN = ["write", "flush", "carry"] * 6 + ["connect", "double", "lose"] * 2
STEPS = [*OFTEN, "send", "rewind", "finish", "cut", "crash"]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 40)), min_size=40, max_size=120))
def test_after_any_faults_the_client_has_what_the_server_has(
    steps: list[tuple[str, int]],
) -> None:
    story = Story()
    pair = story.pair
    for step, number in steps:
        getattr(story, step)(number)
        for stream, told in pair.consumer.folds.items():
            known = pair.state.streams[stream].snapshot
            assert (told.text, told.reasoning) == (known.text, known.reasoning)
    story.end()
    assert set(story.sends) <= pair.consumer.answers.keys()
    replies = [reply_of(pair, each) for each in story.sends]
    assert sorted(replies) == sorted(pair.server.logs)
    for stream, log in pair.server.logs.items():
        fold, told = log.snapshot(), pair.consumer.folds.get(stream, ReplySnapshot())
        assert told.text == fold.text
        assert bool(told.end) == bool(fold.end)
    for conversation, followed in pair.state.conversations.items():
        there = [each for each in pair.server.messages.values() if each.conversation == conversation]
        assert followed.messages == {each.id: each for each in there}
