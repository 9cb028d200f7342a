"""`/api/commands`: what a user can type behind a `/`."""

from fastapi import APIRouter, Response
from msgspec import Struct

from legato.gateway.dependencies import Authenticated
from legato.gateway.json_body import answer, openapi_types

router = APIRouter(tags=["conversations"])


class CommandView(Struct, frozen=True):
    """`usage` is the syntax; arguments in brackets are optional. `help` is Markdown."""

    name: str
    usage: str
    help: str
    aliases: tuple[str, ...]


class CommandList(Struct, frozen=True):
    commands: list[CommandView]


@router.get("/api/commands", responses=openapi_types.response(CommandList))
async def commands(authenticated: Authenticated) -> Response:
    """Return the commands, in the order of their names."""
    each = authenticated.service.commands.all()
    return answer(CommandList([CommandView(one.name, one.written, one.help, one.aliases) for one in each]))
