"""The conversation of a person at the terminal."""

import logging
import shlex
import sys
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress

from rich.console import Console

from legato.cli.background_loop import BackgroundLoop
from legato.cli.screen import MessageLayout, Screen, layout_of
from legato.client import Client, ClientConnected, ClientReply, ConversationSubscription, Disconnected
from legato.errors import InvalidError, LegatoError, NotFoundError, UnauthenticatedError, UnreachableError
from legato.protocol.messages import CommandAnswer
from legato.stream import Failed, Finished, ToolAsked
from legato.terminal_text import complain

INTERRUPTED = 130
"""The exit status after Ctrl-C, as shells define it."""

HISTORY_MESSAGES = 6
"""The number of earlier messages that are shown of a continued conversation."""

HELP = """\
Here too: `/exit` leaves, as Ctrl-D does. A line that ends in `\\` goes on in the next. Ctrl-C stops a reply."""

EXIT_COMMANDS = ("/exit", "/quit")
REPLY_COMMANDS = ("/retry", "/again")
"""Commands of the server that start a reply."""


@contextmanager
def open_repl(server: str, token: str | None, console: Console) -> "Iterator[ChatRepl]":
    """Connect to the server and yield the REPL.

    :raises LegatoError: the server is unreachable, or refuses; the sentence says what to do.
    """
    # The client reports everything that it logs.
    logging.getLogger("legato").addHandler(logging.NullHandler())
    with BackgroundLoop() as loop:
        repl = ChatRepl(loop, console)
        client = repl.client = Client(server, token=token, on_connection_change=repl.on_connection)
        try:
            loop.call(client.__aenter__())
        except UnreachableError as error:
            hint = "Start one with `legato serve`, or say where it is with --server."
            raise UnreachableError(f"{error.message} {hint}") from None
        except UnauthenticatedError as error:
            hint = "`legato token --user NAME` makes a token; give it with --token or LEGATO_TOKEN."
            raise UnauthenticatedError(f"{error.message} {hint}") from None
        try:
            yield repl
        finally:
            loop.call(client.close())


class ChatRepl:
    """`conversation` is the current one, None for a new one; `assistant` is the assistant of a new one.

    `server` is the one that the person named, or None.
    """

    client: Client

    def __init__(self, loop: BackgroundLoop, console: Console) -> None:
        self.conversation: str | None = None
        self.assistant: str | None = None
        self.server: str | None = None
        self._loop = loop
        self._screen = Screen(console)
        self._lost = ""
        self._last: str | None = None

    def on_connection(self, event: ClientConnected | Disconnected) -> None:
        """Handle that the connection was made or lost."""
        self._lost = (
            f"The connection is lost ({event.reason}); trying again."
            if isinstance(event, Disconnected)
            else ""
        )

    def ask(self, question: str) -> int:
        """Print the reply when it is complete: until then it may start over."""
        if is_command(question) and question.strip() not in REPLY_COMMANDS:
            return self._print(question)
        reply: ClientReply | None = None
        try:
            reply = self._loop.call(self._send_or_regenerate(question))
            self._loop.call(self._wait_unattended(reply))
        except KeyboardInterrupt:
            if reply is None:
                return INTERRUPTED
            self._loop.call(self.client.stop(reply.conversation, reply.id))
            self._loop.call(reply.wait())
        if reply.text:
            sys.stdout.write(reply.text if reply.text.endswith("\n") else reply.text + "\n")
            sys.stdout.flush()
        if isinstance(reply.end, Failed):
            complain(reply.end.message)
        return _status(reply)

    async def _wait_unattended(self, reply: ClientReply) -> None:
        """Wait for a reply without a person who could approve a tool."""
        async for event in reply:
            if isinstance(event, ToolAsked):
                complain(f"{event.name} needs a person's word and did not run: ask in a terminal.")
                with suppress(NotFoundError):
                    await self.client.approve(reply.conversation, reply.id, event.call, allow=False)
        await reply.wait()

    def ask_live(self, question: str) -> int:
        """Show the reply while it is written."""
        try:
            if is_command(question) and question.strip() not in REPLY_COMMANDS:
                return self._command(question)
            return _status(self._play(self._loop.start(self._send_or_regenerate(question))))
        except KeyboardInterrupt:
            return INTERRUPTED

    def converse(self) -> int:
        """Read lines and answer them until the person leaves."""
        try:
            if self.conversation is not None:
                self._show_history(self.conversation)
            self._screen.say("Ctrl-C stops a reply, Ctrl-D leaves, /help says more.")
            while (line := read()) is not None and line.strip() not in EXIT_COMMANDS:
                try:
                    self._handle(line)
                except LegatoError as error:
                    if self.client.ended is not None:
                        raise
                    self._screen.say(error.message, "red")
        except KeyboardInterrupt:
            return INTERRUPTED
        if self.conversation is not None:
            there = f" --server {shlex.quote(self.server)}" if self.server is not None else ""
            self._screen.say_unwrapped(f"To go on: legato chat{there} --conversation {self.conversation}")
        return 0

    def _handle(self, line: str) -> None:
        if not line.strip():
            return
        if is_command(line) and line.strip() not in REPLY_COMMANDS:
            self._command(line)
            if line.strip() == "/help":
                self._screen.reply(HELP)
        else:
            self._play(self._loop.start(self._send_or_regenerate(line)))

    def _command(self, line: str) -> int:
        """Run a command and show its result."""
        answer = self._loop.call(self._run_command(line))
        if answer.failed:
            self._screen.say(answer.text, "red")
        else:
            self._screen.reply(answer.text)
        return int(answer.failed)

    def _print(self, line: str) -> int:
        """Run a command and print its result without a screen."""
        answer = self._loop.call(self._run_command(line))
        if answer.failed:
            complain(answer.text)
        else:
            sys.stdout.write(f"{answer.text}\n")
            sys.stdout.flush()
        return int(answer.failed)

    async def _run_command(self, line: str) -> CommandAnswer:
        answer = await self.client.command(line, self.conversation, assistant=self.assistant)
        if answer.conversation is not None:
            self.conversation, self._last = answer.conversation, None
        return answer

    async def _send_or_regenerate(self, text: str) -> ClientReply:
        """Return the reply to a message, or another reply to the last one."""
        if text.strip() not in REPLY_COMMANDS:
            return await self._send(text)
        if self.conversation is not None and self._last is None:
            subscription = await self.client.follow(self.conversation)
            self._last = next(
                (each.id for each in reversed(subscription.shown) if each.role == "assistant"), None
            )
            subscription.close()
        if self.conversation is None or self._last is None:
            raise InvalidError("There is no reply yet that could be another.")
        return await self.client.regenerate(self.conversation, self._last)

    def _show_history(self, conversation: str) -> None:
        """Show the last messages. A running reply is shown until its end."""
        subscription = self._loop.call(self.client.follow(conversation))
        shown = subscription.shown
        if len(shown) > HISTORY_MESSAGES:
            self._screen.say(f"… {len(shown) - HISTORY_MESSAGES} messages before")
        for message in shown[-HISTORY_MESSAGES:]:
            if message.role == "user":
                self._screen.user_message(message.text)
            elif message.role == "assistant":
                self._last = message.id
                running = self._loop.call(_running(subscription, message.id))
                if running is None:
                    self._screen.reply(message.text)
                else:
                    self._play(_completed(running))
        self._loop.call(_close(subscription))

    async def _send(self, text: str) -> ClientReply:
        return await self.client.send(text, self.conversation, assistant=self.assistant)

    def _play(self, sending: Future[ClientReply]) -> ClientReply:
        """Show a reply from the moment it is requested.

        :raises LegatoError: it was refused.
        """

        async def look() -> MessageLayout:
            # Runs on the loop's thread, which changes the reply.
            return layout_of(sending.result().snapshot, self._lost)

        def now() -> MessageLayout:
            if not sending.done():
                return MessageLayout(waiting="Sending", lost=self._lost)
            reply = sending.result()
            if reply.end is None and self.client.ended is not None:
                raise self.client.ended
            return self._loop.call(look())

        def stop_when_sent(sent: Future[ClientReply]) -> None:
            if not sent.cancelled() and sent.exception() is None:
                reply = sent.result()
                self._loop.start(self.client.stop(reply.conversation, reply.id))

        def stop() -> None:
            sending.add_done_callback(stop_when_sent)

        def approve(call: str, allow: bool) -> None:
            reply = sending.result()
            # Another person may have answered first, or the reply may have ended.
            with suppress(NotFoundError):
                self._loop.call(self.client.approve(reply.conversation, reply.id, call, allow))

        self._screen.play(now, stop, approve)
        reply = sending.result()
        self.conversation, self._last = reply.conversation, reply.id
        return reply


def is_command(line: str) -> bool:
    """Return whether the server answers the line, and not a model."""
    return line.startswith("/")


def read() -> str | None:
    """Return what the person types, with lines that end in a backslash joined; None if they leave."""
    with suppress(ImportError):
        import readline  # noqa: F401  (makes `input` editable)
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


async def _running(subscription: ConversationSubscription, message: str) -> ClientReply | None:
    return next((subscription.reply(each) for each in subscription.messages if each.id == message), None)


async def _close(subscription: ConversationSubscription) -> None:
    subscription.close()


def _completed(reply: ClientReply) -> Future[ClientReply]:
    future: Future[ClientReply] = Future()
    future.set_result(reply)
    return future
