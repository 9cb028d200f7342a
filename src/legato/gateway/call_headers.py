"""What every API takes from the headers of a call: how it is repeated, what happens if its client leaves, and its conversation."""

import hashlib

from fastapi import Request
from msgspec.structs import replace

from legato.api.call import Call, DisconnectPolicy
from legato.api.catalog import ResolvedModel
from legato.errors import InvalidError
from legato.gateway.conversation_call import in_conversation
from legato.gateway.dependencies import ServerContext

KEY_LENGTH = 200
"""Maximum characters of an `Idempotency-Key`."""


async def with_headers(request: Request, context: ServerContext, call: Call, resolved: ResolvedModel) -> Call:
    """Return a call for `resolved`, as the headers of its HTTP request ask. Without `Legato-On-Disconnect` it keeps its own policy, and in
    the background always.

    :raises InvalidError: a header is wrong.
    :raises ForbiddenError: the caller may not name a conversation.
    """
    policy = call.on_disconnect
    if not call.background:
        policy = DisconnectPolicy.parse(request.headers.get("legato-on-disconnect"), policy)
    key = request.headers.get("idempotency-key")
    if key is not None and not 0 < len(key) <= KEY_LENGTH:
        raise InvalidError(f"An `Idempotency-Key` has 1 to {KEY_LENGTH} characters.")
    call = replace(
        call,
        request=replace(call.request, model=resolved.model, strict=True),
        on_disconnect=policy,
        idempotency_key=key,
        fingerprint="" if key is None else await _fingerprint(request),
    )
    return in_conversation(request, context, call, resolved)


async def _fingerprint(request: Request) -> str:
    """Return what two requests with one idempotency key must share."""
    return hashlib.sha256(request.url.path.encode() + b"\0" + await request.body()).hexdigest()
