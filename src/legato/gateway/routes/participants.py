"""Who takes part in a conversation, and the links by which one joins."""

from fastapi import APIRouter, Request, Response

from legato.dialects.serializers import conversation_view, participants_view
from legato.dialects.timestamps import timestamp
from legato.domain.invitation import Invitation
from legato.errors import InvalidError
from legato.gateway.dependencies import Asker
from legato.gateway.json_body import answer, documented, read
from legato.gateway.schemas import (
    InvitationList,
    InvitationView,
    NewInvitation,
    NewStanding,
    ParticipantList,
)
from legato.protocol.messages import ConversationView

router = APIRouter(prefix="/api", tags=["people"])


@router.get("/conversations/{conversation:id}/participants", responses=documented.gives(ParticipantList))
async def participants(conversation: str, asker: Asker) -> Response:
    """The owner, then those who joined, each with whether they are here now."""
    return await _everybody(asker, conversation)


@router.patch(
    "/conversations/{conversation:id}/participants/{user:id}",
    openapi_extra=documented.takes(NewStanding),
    responses=documented.gives(ParticipantList),
)
async def change(conversation: str, user: str, request: Request, asker: Asker) -> Response:
    """Make a participant a member or a viewer, or hand the conversation over to them: `owner`. Only its owner may."""
    wish = await read(request, NewStanding)
    await asker.service.participants.change(asker.person, conversation, user, wish.standing)
    return await _everybody(asker, conversation)


@router.delete("/conversations/{conversation:id}/participants/{user:id}", status_code=204)
async def remove(conversation: str, user: str, asker: Asker) -> Response:
    """Remove a participant, who hears nothing more of it from then on; or oneself, which is leaving."""
    await asker.service.participants.remove(asker.person, conversation, user)
    return Response(status_code=204)


@router.post(
    "/conversations/{conversation:id}/invitations",
    status_code=201,
    openapi_extra=documented.takes(NewInvitation),
    responses=documented.gives(InvitationView, 201, "Its `secret` is told this once"),
)
async def invite(conversation: str, request: Request, asker: Asker) -> Response:
    """Make a link by which whoever has it may join. Only the owner may."""
    wish = await read(request, NewInvitation)
    if wish.standing == "owner":
        raise InvalidError("One can be invited as a member or as a viewer.")
    made, secret = await asker.service.participants.invite(
        asker.person, conversation, wish.standing, wish.expires_in
    )
    return answer(_view(made, secret), 201, {"cache-control": "no-store"})


@router.get("/conversations/{conversation:id}/invitations", responses=documented.gives(InvitationList))
async def invitations(conversation: str, asker: Asker) -> Response:
    """The invitations by which one can still join, without their secrets. Only for the owner."""
    found = await asker.service.participants.invitations(asker.person, conversation)
    return answer(InvitationList([_view(each) for each in found]))


@router.delete("/conversations/{conversation:id}/invitations/{invitation}", status_code=204)
async def take_back(conversation: str, invitation: str, asker: Asker) -> Response:
    """Take an invitation back: nobody joins by it any more. Who has joined stays."""
    await asker.service.participants.revoke_invitation(asker.person, conversation, invitation)
    return Response(status_code=204)


@router.post("/invitations/{secret}", responses=documented.gives(ConversationView))
async def join(secret: str, asker: Asker) -> Response:
    """Join the conversation to which this secret invites. Doing it again changes nothing."""
    participants = asker.service.participants
    joined = await participants.join(asker.person, secret)
    return answer(conversation_view(joined, await participants.role(asker.person, joined.id)))


async def _everybody(asker: Asker, conversation: str) -> Response:
    return answer(
        ParticipantList(participants_view(await asker.service.presence.everybody(asker.person, conversation)))
    )


def _view(invitation: Invitation, secret: str | None = None) -> InvitationView:
    return InvitationView(
        id=invitation.id,
        standing=invitation.role,
        created_at=timestamp(invitation.created_at),
        expires_at=timestamp(invitation.expires_at),
        secret=secret,
        link=f"/#/join/{secret}" if secret is not None else None,
    )
