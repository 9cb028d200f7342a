"""Calls of the APIs that are messages of a conversation: the header `Legato-Conversation`."""

import hashlib

from fastapi import Request
from msgspec.structs import replace

from legato.api.call import Call
from legato.api.catalog import ResolvedModel
from legato.api.conversation_engine import ConversationEngine
from legato.domain.user import User
from legato.domain.validation import check_id
from legato.errors import ForbiddenError
from legato.gateway.auth import DEFAULT_SCOPES
from legato.gateway.dependencies import ServerContext

HEADER = "legato-conversation"


def in_conversation(request: Request, context: ServerContext, call: Call, resolved: ResolvedModel) -> Call:
    """Return the call as one of the conversation that the request names. Without the header, return it as it is.

    :raises InvalidError: no conversation can have this id.
    :raises ForbiddenError: the caller's key is limited to models. A conversation has an assistant with tools of its own.
    """
    conversation = request.headers.get(HEADER)
    if conversation is None:
        return call
    check_id(conversation, "The conversation's id")
    if call.caller.models:
        raise ForbiddenError(
            "An API key that is limited to models is for calls without `Legato-Conversation`."
        )
    anonymous = context.authenticator.anonymous_user
    user = (
        anonymous
        if anonymous is not None and call.caller.key is None
        else User(call.caller.user, scopes=DEFAULT_SCOPES)
    )
    same = hashlib.sha256(f"{call.fingerprint}\0{conversation}".encode()).hexdigest()
    engine = ConversationEngine(context.service, user, conversation, resolved, call.choices)
    return replace(call, engine=engine, fingerprint=same)
