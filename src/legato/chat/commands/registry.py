"""The commands of a server, and how they are run."""

import asyncio
import logging
import re
from collections import OrderedDict
from collections.abc import Iterable
from hashlib import sha256
from importlib.metadata import EntryPoint, entry_points

from legato.chat.command_types import CommandRequest, CommandResult
from legato.chat.commands.base import ChatCommand, CommandCall, CommandIndex
from legato.chat.commands.markdown import code
from legato.chat.service import ChatService
from legato.domain.message import Part, TextPart
from legato.domain.validation import check_id, clean_text
from legato.errors import InvalidError, LegatoError

logger = logging.getLogger(__name__)

GROUP = "legato.commands"
"""The group of entry points under which other packages bring commands: each loads a `ChatCommand`, or several."""

SHOWN = 40
"""Characters of the typed text that an answer quotes."""

ANSWERS = 1000
"""Results that are kept for clients that send a command again."""

ANSWER_LENGTH = 2000
"""Characters of an answer that is kept. A longer one only shows what there is, so it can be made again."""


def is_command(text: str) -> bool:
    """Return whether a text is for the server and never for a model: it begins with `/`."""
    return text.startswith("/")


def typed(text: str, parts: Iterable[Part] = ()) -> str | None:
    """Return the command that a message is, whichever part has the text, or None if it is no command."""
    texts = (text, *(part.text for part in parts if isinstance(part, TextPart)))
    whole = next(filter(None, texts), "")
    return "".join(texts) if is_command(whole) else None


class Commands:
    """Runs commands; `run` is the only way in."""

    def __init__(self, service: ChatService, commands: Iterable[ChatCommand]) -> None:
        self._service = service
        self._index = CommandIndex()
        self._index.add(commands)
        self._results: OrderedDict[bytes, asyncio.Future[CommandResult]] = OrderedDict()

    def load(self, found: Iterable[EntryPoint] | None = None) -> None:
        """Add the commands of other packages. A broken one is logged and skipped."""
        for entry in entry_points(group=GROUP) if found is None else found:
            try:
                loaded = entry.load()
                self._index.add([loaded] if isinstance(loaded, ChatCommand) else loaded)
            except Exception:
                logger.exception("The command %s of %s cannot be used", entry.name, entry.value)

    def all(self) -> list[ChatCommand]:
        """Return every command, in the order of their names."""
        return self._index.all()

    async def run(self, request: CommandRequest) -> CommandResult:
        """Run the command that was typed. Nothing is raised: the result says what went wrong.

        The watchers of a reply that the command starts are told of it before this returns.
        """
        if request.client_message_id is None:
            return await asyncio.ensure_future(self._run(request))
        try:
            check_id(request.client_message_id, "client_message_id")
        except InvalidError as error:
            return CommandResult("", error.message, failed=True)
        whole = (request.user.id, request.client_message_id, request.conversation, request.text)
        key = sha256(repr(whole).encode()).digest()
        result = self._results.get(key)
        if result is None:
            result = self._results[key] = asyncio.ensure_future(self._run(request))
            result.add_done_callback(lambda made: self._made(key, made))
            while len(self._results) > ANSWERS:
                self._results.popitem(last=False)
        # Shielded: one of several who asked may go away.
        return await asyncio.shield(result)

    def _made(self, key: bytes, answer: asyncio.Future[CommandResult]) -> None:
        if answer.cancelled() or len(answer.result().text) > ANSWER_LENGTH:
            self._results.pop(key, None)

    async def _run(self, request: CommandRequest) -> CommandResult:
        typed, *rest = re.split(r"\s", clean_text(request.text).removeprefix("/"), maxsplit=1)
        command = self._index.get(typed)
        if command is None:
            name = typed[:SHOWN] + ("…" if len(typed) > SHOWN else "")
            text = f"There is no command {code('/' + name)}. {self._index.near(name)}"
            return CommandResult(name, text, failed=True)
        try:
            call = CommandCall(request, command, "".join(rest).strip(), self._service, self._index)
            await call.check(command.needs)
            return await command.run(call)
        except LegatoError as error:
            told = self._service.assistants.named(None).told(error.message)
            return CommandResult(command.name, told, failed=True)
        except (Exception, SystemExit, KeyboardInterrupt):
            # A command line that is used as a command means to end a process; out of a task, it would be this one.
            logger.exception("The command %s of user %s failed", command.name, request.user.id)
            text = f"{code('/' + command.name)} failed in a way it should not. The server's log says more."
            return CommandResult(command.name, text, failed=True)
