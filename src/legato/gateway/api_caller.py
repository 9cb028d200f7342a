"""Who calls an API: the user of a token, or of a key that clients of other servers send in their own way."""

import time
from typing import Annotated

from fastapi import Depends, Request

from legato.api.call import Caller
from legato.gateway.dependencies import Context
from legato.gateway.middleware import ADDED_HEADERS, OPEN_CALL, route_path
from legato.gateway.rate_limit_headers import rate_limit_headers


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


ApiCaller = Annotated[Caller, Depends(caller_of)]
