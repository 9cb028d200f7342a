"""Who calls an API: the user of a token, or of a key that clients of other servers send in their own way."""

import hashlib
import time
from typing import Annotated

from fastapi import Depends, Request

from legato.api.call import CANCEL, Caller, DisconnectPolicy
from legato.errors import InvalidError
from legato.gateway.dependencies import Context
from legato.gateway.middleware import ADDED_HEADERS, OPEN_CALL, route_path
from legato.gateway.rate_limit_headers import rate_limit_headers

KEY_LENGTH = 200
"""Maximum characters of an `Idempotency-Key`."""


async def caller_of(request: Request, context: Context) -> Caller:
    """Return who calls.

    :raises UnauthenticatedError: there is no key or token, or it is not valid.
    :raises ForbiddenError: the key or token does not allow this.
    :raises OverLimitError: the caller sends too many requests.
    """
    caller = await context.callers(request)
    if caller.key is not None:
        request.scope[OPEN_CALL].append(context.open_calls.enter(caller.key))
    try:
        await context.calls.request(caller)
    finally:
        state = context.calls.state(caller)
        request.scope[ADDED_HEADERS] += rate_limit_headers(state, route_path(request.scope), time.time())
    return caller


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
