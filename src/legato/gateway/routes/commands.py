"""`/api/commands`: what one can type behind a `/`."""

from fastapi import APIRouter, Response
from msgspec import Struct

from legato.gateway.dependencies import Asker
from legato.gateway.json_body import answer, documented

router = APIRouter(tags=["conversations"])


class CommandView(Struct, frozen=True):
    """`usage` is how it is written, with its arguments; what stands in brackets may be left out. `help` is Markdown."""

    name: str
    usage: str
    help: str
    aliases: tuple[str, ...]


class CommandList(Struct, frozen=True):
    commands: list[CommandView]


@router.get("/api/commands", responses=documented.gives(CommandList))
async def commands(asker: Asker) -> Response:
    """The commands, in the order of their names."""
    each = asker.service.commands.all()
    return answer(CommandList([CommandView(one.name, one.written, one.help, one.aliases) for one in each]))
