"""The participants of a conversation, and its invitations."""

from fastapi import APIRouter, Request, Response

from legato.dialects.serializers import conversation_view, participants_view
from legato.dialects.timestamps import timestamp
from legato.domain.invitation import Invitation
from legato.errors import InvalidError
from legato.gateway.dependencies import Authenticated
from legato.gateway.json_body import answer, openapi_types, read_body
from legato.gateway.schemas import (
    InvitationList,
    InvitationPreviewView,
    InvitationView,
    NewInvitation,
    NewStanding,
    ParticipantList,
)
from legato.protocol.messages import ConversationView

router = APIRouter(prefix="/api", tags=["people"])


@router.get(
    "/conversations/{conversation:id}/participants", responses=openapi_types.response(ParticipantList)
)
async def participants(conversation: str, authenticated: Authenticated) -> Response:
    """Return the owner, then those who joined, each with whether they are online."""
    return await _participant_list(authenticated, conversation)


@router.patch(
    "/conversations/{conversation:id}/participants/{user:id}",
    openapi_extra=openapi_types.body(NewStanding),
    responses=openapi_types.response(ParticipantList),
)
async def change(conversation: str, user: str, request: Request, authenticated: Authenticated) -> Response:
    """Make a participant a member or a viewer, or transfer the conversation to them: `owner`. Only the owner may."""
    body = await read_body(request, NewStanding)
    await authenticated.service.participants.change(authenticated.user, conversation, user, body.standing)
    return await _participant_list(authenticated, conversation)


@router.delete("/conversations/{conversation:id}/participants/{user:id}", status_code=204)
async def remove(conversation: str, user: str, authenticated: Authenticated) -> Response:
    """Remove a participant, who receives nothing more of the conversation; or oneself: leave."""
    await authenticated.service.participants.remove(authenticated.user, conversation, user)
    return Response(status_code=204)


@router.post(
    "/conversations/{conversation:id}/invitations",
    status_code=201,
    openapi_extra=openapi_types.body(NewInvitation),
    responses=openapi_types.response(InvitationView, 201, "Its `secret` is returned only now"),
)
async def invite(conversation: str, request: Request, authenticated: Authenticated) -> Response:
    """Create a link by which anyone who has it may join. Only the owner may."""
    body = await read_body(request, NewInvitation)
    if body.standing == "owner":
        raise InvalidError("One can be invited as a member or as a viewer.")
    made, secret = await authenticated.service.participants.invite(
        authenticated.user, conversation, body.standing, body.expires_in
    )
    return answer(_view(made, secret, request.scope.get("root_path", "")), 201, {"cache-control": "no-store"})


@router.get("/conversations/{conversation:id}/invitations", responses=openapi_types.response(InvitationList))
async def invitations(conversation: str, authenticated: Authenticated) -> Response:
    """Return the valid invitations, without their secrets. Only the owner may."""
    found = await authenticated.service.participants.invitations(authenticated.user, conversation)
    return answer(InvitationList([_view(each) for each in found]))


@router.delete("/conversations/{conversation:id}/invitations/{invitation}", status_code=204)
async def take_back(conversation: str, invitation: str, authenticated: Authenticated) -> Response:
    """Revoke an invitation. Those who have joined stay."""
    await authenticated.service.participants.revoke_invitation(authenticated.user, conversation, invitation)
    return Response(status_code=204)


@router.get("/invitations/{secret}", responses=openapi_types.response(InvitationPreviewView))
async def preview(secret: str, authenticated: Authenticated) -> Response:
    """Return what one joins with this secret: title, owner and role. Nothing changes; `POST` joins."""
    found = await authenticated.service.participants.preview(authenticated.user, secret)
    view = InvitationPreviewView(
        found.title,
        found.owner_name or found.owner,
        found.role,
        timestamp(found.expires_at),
        found.conversation,
    )
    return answer(view, headers={"cache-control": "no-store"})


@router.post("/invitations/{secret}", responses=openapi_types.response(ConversationView))
async def join(secret: str, authenticated: Authenticated) -> Response:
    """Join the conversation of this secret. Joining again changes nothing."""
    participants = authenticated.service.participants
    joined = await participants.join(authenticated.user, secret)
    return answer(conversation_view(joined, await participants.role(authenticated.user, joined.id)))


async def _participant_list(authenticated: Authenticated, conversation: str) -> Response:
    return answer(
        ParticipantList(
            participants_view(
                await authenticated.service.presence.everybody(authenticated.user, conversation)
            )
        )
    )


def _view(invitation: Invitation, secret: str | None = None, prefix: str = "") -> InvitationView:
    return InvitationView(
        id=invitation.id,
        standing=invitation.role,
        created_at=timestamp(invitation.created_at),
        expires_at=timestamp(invitation.expires_at),
        secret=secret,
        link=f"{prefix}/#/join/{secret}" if secret is not None else None,
    )
