"""`/who` and `/invite`."""

import re

from legato.chat.command_types import CommandResult
from legato.chat.commands.base import ChatCommand, CommandCall
from legato.chat.commands.markdown import code, escaped, span
from legato.domain.participant import ParticipantRole
from legato.protocol.command_data import InvitationData, ParticipantEntry, ParticipantsData

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
INVITATION_SECONDS = 7 * 86400.0


async def show_participants(call: CommandCall) -> CommandResult:
    """Say who takes part, and who is here."""
    everybody = await call.service.presence.everybody(call.user, call.conversation)
    lines = []
    for each in everybody:
        here = ", here" if each.connections else ""
        typing = ", typing" if each.typing else ""
        lines.append(f"- {escaped(each.name or each.user)}: {each.role}{here}{typing}")
    entries = (ParticipantEntry(p.user, p.name, p.role, p.connections, p.typing) for p in everybody)
    return call.answer("\n".join(lines), ParticipantsData(tuple(entries)))


async def invite(call: CommandCall) -> CommandResult:
    """Create an invitation, and tell its link."""
    role: ParticipantRole = "member"
    seconds = INVITATION_SECONDS
    for word in call.arguments.lower().split():
        if word in ("member", "viewer"):
            role = "member" if word == "member" else "viewer"
        elif found := re.fullmatch(r"(\d{1,6})([smhd])", word):
            seconds = float(found[1]) * UNITS[found[2]]
        else:
            raise call.usage()
    invitation, secret = await call.service.participants.invite(call.user, call.conversation, role, seconds)
    may = "read and write" if invitation.role == "member" else "read"
    path = f"#/join/{secret}"
    return call.answer(
        f"Whoever opens this within {span(seconds)} can {may} here:\n\n{code(path)}\n\n"
        "Put it behind the address of this server. It is shown this once.",
        InvitationData(invitation.id, path, invitation.role, invitation.expires_at, seconds),
    )


COMMANDS = [
    ChatCommand(
        name="who",
        aliases=("people",),
        help="Say who takes part, and who is here.",
        run=show_participants,
    ),
    ChatCommand(
        name="invite",
        usage="[member|viewer] [7d]",
        help="Make a link by which others join, good for so many seconds, minutes, hours or days (s, m, h, d).",
        run=invite,
        needs="own",
    ),
]
