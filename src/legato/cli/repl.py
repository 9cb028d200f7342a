"""The person at the terminal, and the conversation they have."""

import logging
import shlex
import sys
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress

from rich.console import Console

from legato.cli.background_loop import BackgroundLoop
from legato.cli.screen import MessageLayout, Screen, look_of
from legato.client import Client, ClientConnected, ClientReply, ConversationSubscription, Disconnected
from legato.errors import InvalidError, LegatoError, NotFoundError, UnauthenticatedError, UnreachableError
from legato.protocol.messages import CommandAnswer
from legato.stream import Failed, Finished, ToolAsked
from legato.terminal_text import complain

INTERRUPTED = 130
"""The exit status of what Ctrl-C ended, as shells have it."""

BEFORE = 6
"""Messages that are shown of a conversation that goes on."""

HELP = """\
Here too: `/exit` leaves, as Ctrl-D does. A line that ends in `\\` goes on in the next. Ctrl-C stops a reply."""

LEAVE = ("/exit", "/quit")
AGAIN = ("/retry", "/again")
"""Commands of the server's, whose reply is to be shown."""


@contextmanager
def connected(server: str, token: str | None, console: Console) -> "Iterator[ChatRepl]":
    """:raises LegatoError: the server is not there, or does not let us in; with what to do."""
    # What the client logs, it tells as well.
    logging.getLogger("legato").addHandler(logging.NullHandler())
    with BackgroundLoop() as backstage:
        talk = ChatRepl(backstage, console)
        client = talk.client = Client(server, token=token, on_connection_change=talk.hear)
        try:
            backstage.call(client.__aenter__())
        except UnreachableError as error:
            hint = "Start one with `legato serve`, or say where it is with --server."
            raise UnreachableError(f"{error.message} {hint}") from None
        except UnauthenticatedError as error:
            hint = "`legato token --user NAME` makes a token; give it with --token or LEGATO_TOKEN."
            raise UnauthenticatedError(f"{error.message} {hint}") from None
        try:
            yield talk
        finally:
            backstage.call(client.close())


class ChatRepl:
    """`conversation` is the one that goes on, None for a new one; `assistant` is whom a new one is with.

    `server` is the one that the person named, None where they did not.
    """

    client: Client

    def __init__(self, backstage: BackgroundLoop, console: Console) -> None:
        self.conversation: str | None = None
        self.assistant: str | None = None
        self.server: str | None = None
        self._backstage = backstage
        self._screen = Screen(console)
        self._lost = ""
        self._last: str | None = None

    def hear(self, told: ClientConnected | Disconnected) -> None:
        """Whether the server is there."""
        self._lost = (
            f"The connection is lost ({told.reason}); trying again." if isinstance(told, Disconnected) else ""
        )

    def ask(self, question: str) -> int:
        """Print the reply once it is whole: before, it might still start over."""
        if is_command(question) and question.strip() not in AGAIN:
            return self._print(question)
        reply: ClientReply | None = None
        try:
            reply = self._backstage.call(self._asked(question))
            self._backstage.call(self._unattended(reply))
        except KeyboardInterrupt:
            if reply is None:
                return INTERRUPTED
            self._backstage.call(self.client.stop(reply.conversation, reply.id))
            self._backstage.call(reply.wait())
        if reply.text:
            sys.stdout.write(reply.text if reply.text.endswith("\n") else reply.text + "\n")
            sys.stdout.flush()
        if isinstance(reply.end, Failed):
            complain(reply.end.message)
        return _status(reply)

    async def _unattended(self, reply: ClientReply) -> None:
        """Wait for a reply where nobody could give a tool the word that it waits for."""
        async for event in reply:
            if isinstance(event, ToolAsked):
                complain(f"{event.name} needs a person's word and did not run: ask in a terminal.")
                with suppress(NotFoundError):
                    await self.client.approve(reply.conversation, reply.id, event.call, allow=False)
        await reply.wait()

    def ask_aloud(self, question: str) -> int:
        """Show the reply while it is written."""
        try:
            if is_command(question) and question.strip() not in AGAIN:
                return self._command(question)
            return _status(self._play(self._backstage.start(self._asked(question))))
        except KeyboardInterrupt:
            return INTERRUPTED

    def converse(self) -> int:
        """Read and answer until there is no more to say."""
        try:
            if self.conversation is not None:
                self._go_on(self.conversation)
            self._screen.say("Ctrl-C stops a reply, Ctrl-D leaves, /help says more.")
            while (line := read()) is not None and line.strip() not in LEAVE:
                try:
                    self._do(line)
                except LegatoError as error:
                    if self.client.ended is not None:
                        raise
                    self._screen.say(error.message, "red")
        except KeyboardInterrupt:
            return INTERRUPTED
        if self.conversation is not None:
            there = f" --server {shlex.quote(self.server)}" if self.server is not None else ""
            self._screen.copied(f"To go on: legato chat{there} --conversation {self.conversation}")
        return 0

    def _do(self, line: str) -> None:
        if not line.strip():
            return
        if is_command(line) and line.strip() not in AGAIN:
            self._command(line)
            if line.strip() == "/help":
                self._screen.reply(HELP)
        else:
            self._play(self._backstage.start(self._asked(line)))

    def _command(self, line: str) -> int:
        """Show what the server says to it."""
        answer = self._backstage.call(self._told(line))
        if answer.failed:
            self._screen.say(answer.text, "red")
        else:
            self._screen.reply(answer.text)
        return int(answer.failed)

    def _print(self, line: str) -> int:
        """Print what the server says to it, where nobody sees a screen."""
        answer = self._backstage.call(self._told(line))
        if answer.failed:
            complain(answer.text)
        else:
            sys.stdout.write(f"{answer.text}\n")
            sys.stdout.flush()
        return int(answer.failed)

    async def _told(self, line: str) -> CommandAnswer:
        answer = await self.client.command(line, self.conversation, assistant=self.assistant)
        if answer.conversation is not None:
            self.conversation, self._last = answer.conversation, None
        return answer

    async def _asked(self, text: str) -> ClientReply:
        """The reply to a message, or another one to the last."""
        if text.strip() not in AGAIN:
            return await self._send(text)
        if self.conversation is not None and self._last is None:
            watch = await self.client.follow(self.conversation)
            self._last = next((each.id for each in reversed(watch.shown) if each.role == "assistant"), None)
            watch.close()
        if self.conversation is None or self._last is None:
            raise InvalidError("There is no reply yet that could be another.")
        return await self.client.regenerate(self.conversation, self._last)

    def _go_on(self, conversation: str) -> None:
        """Show what was said last. A reply that is still being written is shown to its end."""
        watch = self._backstage.call(self.client.follow(conversation))
        shown = watch.shown
        if len(shown) > BEFORE:
            self._screen.say(f"… {len(shown) - BEFORE} messages before")
        for message in shown[-BEFORE:]:
            if message.role == "user":
                self._screen.person(message.text)
            elif message.role == "assistant":
                self._last = message.id
                running = self._backstage.call(_running(watch, message.id))
                if running is None:
                    self._screen.reply(message.text)
                else:
                    self._play(_done(running))
        self._backstage.call(_close(watch))

    async def _send(self, text: str) -> ClientReply:
        return await self.client.send(text, self.conversation, assistant=self.assistant)

    def _play(self, sending: Future[ClientReply]) -> ClientReply:
        """Show a reply from the moment it is asked for.

        :raises LegatoError: it was refused.
        """

        async def look() -> MessageLayout:
            # On the loop's thread, where the reply grows.
            return look_of(sending.result().snapshot, self._lost)

        def now() -> MessageLayout:
            if not sending.done():
                return MessageLayout(waiting="Sending", lost=self._lost)
            reply = sending.result()
            if reply.end is None and self.client.ended is not None:
                raise self.client.ended
            return self._backstage.call(look())

        def begun(sent: Future[ClientReply]) -> None:
            if not sent.cancelled() and sent.exception() is None:
                reply = sent.result()
                self._backstage.start(self.client.stop(reply.conversation, reply.id))

        def stop() -> None:
            sending.add_done_callback(begun)

        def word(call: str, allow: bool) -> None:
            reply = sending.result()
            # Somebody else's word may have come first, and the reply may be over.
            with suppress(NotFoundError):
                self._backstage.call(self.client.approve(reply.conversation, reply.id, call, allow))

        self._screen.play(now, stop, word)
        reply = sending.result()
        self.conversation, self._last = reply.conversation, reply.id
        return reply


def is_command(line: str) -> bool:
    """Whether the server answers it, and no model."""
    return line.startswith("/")


def read() -> str | None:
    """What the person types, with lines that end in a backslash joined; None when they leave."""
    with suppress(ImportError):
        import readline  # noqa: F401  (gives `input` a line that can be edited)
    lines: list[str] = []
    while True:
        try:
            line = input("> " if not lines else ". ")
        except (EOFError, KeyboardInterrupt):
            sys.stdout.write("\n")
            return None
        lines.append(line.removesuffix("\\"))
        if not line.endswith("\\"):
            return "\n".join(lines)


def _status(reply: ClientReply) -> int:
    match reply.end:
        case Failed():
            return 1
        case Finished(reason="stopped"):
            return INTERRUPTED
    return 0


async def _running(watch: ConversationSubscription, message: str) -> ClientReply | None:
    return next((watch.reply(each) for each in watch.messages if each.id == message), None)


async def _close(watch: ConversationSubscription) -> None:
    watch.close()


def _done(reply: ClientReply) -> Future[ClientReply]:
    future: Future[ClientReply] = Future()
    future.set_result(reply)
    return future
