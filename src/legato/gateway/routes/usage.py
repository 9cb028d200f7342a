"""`/api/usage`: what callers of the APIs used."""

import time
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from msgspec import Struct

from legato.api.key_cache import KEY_PREFIX
from legato.api.usage_journal import day_name
from legato.gateway.api_caller import caller_of
from legato.gateway.callers import sent_key
from legato.gateway.dependencies import ADMIN, Context, ServerContext, authenticated_user
from legato.gateway.json_body import answer, openapi_types
from legato.gateway.schemas import UsageNumbers, UsageReport, UsageRow
from legato.storage.api_base import UsageRecord

router = APIRouter(tags=["server"])

DAY_SECONDS = 86_400


class _Scope(Struct, frozen=True):
    """Whose usage a request may read; None: that of all users, or of all keys."""

    user: str | None = None
    key: str | None = None


@router.get("/api/usage", responses=openapi_types.response(UsageReport))
async def usage(
    request: Request,
    context: Context,
    days: Annotated[int, Query(ge=1, le=366, description="As many days (UTC), with today.")] = 30,
    user: Annotated[str | None, Query(max_length=128, description="Only this user.")] = None,
) -> Response:
    """Return the use of the APIs by day, user, key and model, the newest day first. Users see their own, of all their keys; an API key
    sees its own; the scope `admin` sees all.
    """
    scope = await _scope(request, context)
    now = time.time()
    since = day_name(now - (days - 1) * DAY_SECONDS)
    found = [
        each
        for each in await context.calls.usage.records(since, scope.user or user)
        if scope.key in (None, each.key) and user in (None, each.user)
    ]
    return answer(UsageReport(since, day_name(now), _total(found), [_row(each) for each in found]))


async def _scope(request: Request, context: ServerContext) -> _Scope:
    """:raises UnauthenticatedError: the request has no valid token or key."""
    if (sent_key(request.headers) or "").startswith(KEY_PREFIX):
        caller = await caller_of(request, context)
        if caller.key is not None:
            return _Scope(caller.user, caller.key)
    user = await authenticated_user(request, context)
    return _Scope() if ADMIN in user.scopes else _Scope(user.id)


def _row(record: UsageRecord) -> UsageRow:
    return UsageRow(
        record.day,
        record.user,
        record.key or None,
        record.model,
        record.requests,
        record.prompt_tokens,
        record.completion_tokens,
        record.prompt_tokens + record.completion_tokens,
    )


def _total(records: list[UsageRecord]) -> UsageNumbers:
    prompt = sum(each.prompt_tokens for each in records)
    completion = sum(each.completion_tokens for each in records)
    return UsageNumbers(sum(each.requests for each in records), prompt, completion, prompt + completion)
