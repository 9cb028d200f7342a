"""Who calls an API: the user of a token, or of a key that clients of other servers send in their own way."""

import hashlib
from typing import Annotated

from fastapi import Depends, Request

from legato.api.call import CANCEL, Caller, DisconnectPolicy
from legato.dialects.authentication import require_chat_scope
from legato.errors import InvalidError, UnauthenticatedError
from legato.gateway.dependencies import Context
from legato.protocol.bearer import bearer_token

KEY_LENGTH = 200
"""Maximum characters of an `Idempotency-Key`."""


async def caller_of(request: Request, context: Context) -> Caller:
    """Return who calls.

    :raises UnauthenticatedError: there is no token, or it is not valid.
    :raises ForbiddenError: the user may not chat.
    """
    authorization = request.headers.get("authorization", "")
    token = bearer_token(authorization) or request.headers.get("x-api-key")
    if context.auth_required and not token:
        raise UnauthenticatedError(
            "Send a key as `Authorization: Bearer …` or as `x-api-key`. `legato key create` makes one."
        )
    user = await context.authenticator(token=token or None)
    require_chat_scope(user)
    context.limits.request(user.id)
    if not context.auth_required and request.client is not None:
        return Caller(f"{user.id}@{request.client.host}")
    return Caller(user.id)


def idempotency_key_of(request: Request) -> str | None:
    """Return the idempotency key of a request.

    :raises InvalidError: it is too long.
    """
    key = request.headers.get("idempotency-key")
    if key is not None and not 0 < len(key) <= KEY_LENGTH:
        raise InvalidError(f"An `Idempotency-Key` has 1 to {KEY_LENGTH} characters.")
    return key


def fingerprint(path: str, body: bytes) -> str:
    """Return what two requests with one idempotency key must share."""
    return hashlib.sha256(path.encode() + b"\0" + body).hexdigest()


def on_disconnect_of(request: Request, default: DisconnectPolicy = CANCEL) -> DisconnectPolicy:
    """Return what the header `Legato-On-Disconnect` asks for.

    :raises InvalidError: it is none of the three forms.
    """
    return DisconnectPolicy.parse(request.headers.get("legato-on-disconnect"), default)


ApiCaller = Annotated[Caller, Depends(caller_of)]
