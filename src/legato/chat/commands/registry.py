"""All commands there are, and the one way to run them."""

import asyncio
import difflib
import logging
import re
from collections import OrderedDict
from collections.abc import Iterable
from hashlib import sha256
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING

from legato.chat.commands.base import ChatCommand, CommandCall, CommandRequest, CommandResult, code
from legato.domain.message import Part, TextPart
from legato.domain.validation import check_id, clean_text
from legato.errors import InvalidError, LegatoError

if TYPE_CHECKING:
    from legato.chat.service import ChatService

logger = logging.getLogger(__name__)

GROUP = "legato.commands"
"""The group of entry points under which other packages bring commands: each loads a `Command`, or several."""

SHOWN = 40
"""Characters that are shown of what a person typed."""

ANSWERS = 1000
"""Answers that are kept for clients that ask again."""

ANSWER_LENGTH = 2000
"""Characters of an answer that is kept. A longer one shows what there is, and may as well be made anew."""


def is_command(text: str) -> bool:
    """Whether this is for the server and never for a model: it begins with `/`."""
    return text.startswith("/")


def typed(text: str, parts: Iterable[Part] = ()) -> str | None:
    """The command that a message is, wherever in it the text stands; None where it is none."""
    texts = (text, *(part.text for part in parts if isinstance(part, TextPart)))
    whole = next(filter(None, texts), "")
    return "".join(texts) if is_command(whole) else None


class Commands:
    """`run` is the only way in. A command of another package never replaces one that is there."""

    def __init__(self, service: "ChatService", commands: Iterable[ChatCommand]) -> None:
        self._service = service
        self._commands: dict[str, ChatCommand] = {}
        self._named: dict[str, ChatCommand] = {}
        self._answers: OrderedDict[bytes, asyncio.Future[CommandResult]] = OrderedDict()
        for command in commands:
            self.add(command)

    def add(self, command: ChatCommand) -> None:
        """:raises ValueError: its name cannot be typed, or is taken."""
        for name in (command.name, *command.aliases):
            if not name or name != name.lower() or len(name.split()) != 1 or name.startswith("/"):
                raise ValueError(f"a command cannot be called {name!r}")
            if name in self._named:
                raise ValueError(f"there is already a command called {name!r}")
        self._commands[command.name] = command
        self._named.update(dict.fromkeys((command.name, *command.aliases), command))

    def load(self, found: Iterable[EntryPoint] | None = None) -> None:
        """Take in what other packages bring. A broken one is reported and passed over."""
        for entry in entry_points(group=GROUP) if found is None else found:
            try:
                loaded = entry.load()
                for command in [loaded] if isinstance(loaded, ChatCommand) else loaded:
                    self.add(command)
            except Exception:
                logger.exception("The command %s of %s cannot be used", entry.name, entry.value)

    def all(self) -> list[ChatCommand]:
        """Every command, in the order of their names."""
        return [self._commands[name] for name in sorted(self._commands)]

    def get(self, name: str) -> ChatCommand | None:
        """The command of this name or alias, with or without its `/`."""
        return self._named.get(name.removeprefix("/").lower())

    def near(self, name: str) -> str:
        """A sentence that names the command which was probably meant, and where all are."""
        close = difflib.get_close_matches(name.removeprefix("/").lower(), self._named, n=1, cutoff=0.5)
        meant = f"Did you mean {code('/' + close[0])}? " if close else ""
        return f"{meant}{code('/help')} lists all commands."

    async def run(self, asked: CommandRequest) -> CommandResult:
        """Do what was typed. It raises nothing: what went wrong is said in the answer."""
        if asked.client_message_id is None:
            return await self._run(asked)
        try:
            check_id(asked.client_message_id, "client_message_id")
        except InvalidError as error:
            return CommandResult("", error.message, failed=True)
        whole = (asked.person.id, asked.client_message_id, asked.conversation, asked.text)
        key = sha256(repr(whole).encode()).digest()
        answer = self._answers.get(key)
        if answer is None:
            answer = self._answers[key] = asyncio.ensure_future(self._run(asked))
            answer.add_done_callback(lambda made: self._made(key, made))
            while len(self._answers) > ANSWERS:
                self._answers.popitem(last=False)
        # Shielded: one of several who asked may go away.
        return await asyncio.shield(answer)

    def _made(self, key: bytes, answer: asyncio.Future[CommandResult]) -> None:
        if answer.cancelled() or len(answer.result().text) > ANSWER_LENGTH:
            self._answers.pop(key, None)

    async def _run(self, asked: CommandRequest) -> CommandResult:
        typed, *rest = re.split(r"\s", clean_text(asked.text).removeprefix("/"), maxsplit=1)
        command = self.get(typed)
        if command is None:
            name = typed[:SHOWN] + ("…" if len(typed) > SHOWN else "")
            text = f"There is no command {code('/' + name)}. {self.near(name)}"
            return CommandResult(name, text, failed=True)
        try:
            call = CommandCall(asked, command, "".join(rest).strip(), self._service, self)
            await call.must(command.needs)
            return await command.run(call)
        except LegatoError as error:
            return CommandResult(command.name, error.message, failed=True)
        except (Exception, SystemExit, KeyboardInterrupt):
            # A command line that is used as a command means to end a process; out of a task, it would be this one.
            logger.exception("The command %s of user %s failed", command.name, asked.person.id)
            text = f"{code('/' + command.name)} failed in a way it should not. The server's log says more."
            return CommandResult(command.name, text, failed=True)
