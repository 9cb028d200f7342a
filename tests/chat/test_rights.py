"""A right that the database took away, and memory does not know of yet, is not used by any write."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from legato.chat.commands import CommandRequest
from legato.chat.service import utc
from legato.domain.submission import Submission
from legato.domain.user import User
from legato.errors import ForbiddenError, NotFoundError

from .conftest import ADA, BOB, ChatServer

Write = Callable[[ChatServer, str, str, str], Awaitable[Any]]

WRITES: dict[str, Write] = {
    "send": lambda server, of, question, reply: server.service.replies.send(BOB, Submission(None, of, "Me?")),
    "regenerate": lambda server, of, question, reply: server.service.replies.regenerate(BOB, of, reply),
    "edit": lambda server, of, question, reply: server.service.replies.edit(BOB, of, question, "Me?"),
    "stop": lambda server, of, question, reply: server.service.replies.stop(BOB, of, "none"),
    "show": lambda server, of, question, reply: server.service.conversations.show(BOB, of, question),
    "leave": lambda server, of, question, reply: server.service.participants.leave(BOB, of),
}
CHANGES: dict[str, Write] = {
    "rename": lambda server, of, question, reply: server.service.conversations.rename(ADA, of, "Mine"),
    "rename and show": lambda server, of, question, reply: server.service.conversations.rename_and_show(
        ADA, of, "Mine", question
    ),
    "set": lambda server, of, question, reply: server.service.conversations.set_setting(
        ADA, of, "system", "Mine"
    ),
    "delete": lambda server, of, question, reply: server.service.conversations.delete(ADA, of),
    "invite": lambda server, of, question, reply: server.service.participants.invite(ADA, of),
    "role": lambda server, of, question, reply: server.service.participants.change(ADA, of, "eve", "viewer"),
    "owner": lambda server, of, question, reply: server.service.participants.change(ADA, of, "eve", "owner"),
    "remove": lambda server, of, question, reply: server.service.participants.remove(ADA, of, "eve"),
}
COMMANDS = ("/title Mine", "/system Mine", "/clear", "/model default", "/invite")


async def conversed(server: ChatServer) -> tuple[str, str, str]:
    """Store a conversation of ada in which bob and eve write. Return its id, and those of its question and its reply."""
    started = await server.service.replies.send(ADA, Submission(None, None, "Why?"))
    assert started.question is not None
    for user in ("bob", "eve"):
        await server.service.participants.add_participant(User(user), started.conversation.id)
    run = await server.engine.asked()
    run.say("So.")
    run.finish()
    while server.service.replies.running:
        await server.storage.ping()
    return started.conversation.id, started.question.id, started.reply.id


async def test_no_write_uses_a_right_that_was_taken_away(server: ChatServer) -> None:
    known = await conversed(server)
    await server.storage.remove_participant(known[0], "bob")
    before = await server.storage.messages(known[0])
    for name, write in WRITES.items():
        assert server.service.participants.known_role("bob", known[0]) == "member", name
        with pytest.raises(NotFoundError):
            await write(server, *known)
    assert await server.storage.messages(known[0]) == before


async def test_no_change_uses_an_ownership_that_was_given_away(server: ChatServer) -> None:
    known = await conversed(server)
    given = await server.storage.transfer_ownership(known[0], "bob", utc())
    for name, change in CHANGES.items():
        assert server.service.participants.known_role("ada", known[0]) == "owner", name
        with pytest.raises(ForbiddenError):
            await change(server, *known)
    for text in COMMANDS:
        done = await server.service.commands.run(CommandRequest(ADA, text, known[0], None, None))
        assert done.failed, text
    assert await server.storage.conversation(known[0]) == given
