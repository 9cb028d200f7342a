"""Limits and usage of calls: the limits of a caller's user and key, counted with what the database knows of the day."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from msgspec import Struct

from legato.api.call import Caller
from legato.api.call_limits import (
    CallLimitError,
    CallLimitKind,
    CallLimits,
    CallRules,
    Limited,
    LimitState,
    rules_of_key,
)
from legato.api.usage_journal import UsageJournal, day_name
from legato.storage.api_base import ApiKeyStore

LATEST = ":latest"


class CallLimitsState(Struct, frozen=True):
    """The limits of a caller as they are now; None: no limit."""

    requests: LimitState | None = None
    tokens: LimitState | None = None


class CallLimiter:
    """Checks the limits of callers, and counts what they use.

    `rules` are the limits of each user. `clock` is in seconds, `now` in seconds since the epoch. `refused` is told of each
    refusal: the kind, and the user or key.
    """

    def __init__(
        self,
        rules: CallRules,
        usage: UsageJournal,
        keys: ApiKeyStore,
        *,
        clock: Callable[[], float],
        now: Callable[[], float],
        refused: Callable[[CallLimitKind, str], None] = lambda kind, name: None,
    ) -> None:
        self.usage = usage
        self._rules = rules
        self._keys = keys
        self._clock = clock
        self._now = now
        self._refused = refused
        self._limits = CallLimits()

    async def request(self, caller: Caller) -> None:
        """Count one request of a caller, and learn what they used of the day.

        :raises CallLimitError: they sent too many.
        :raises StorageError: the database cannot be asked what they used.
        """
        limited = self._limited(caller)
        try:
            self._limits.request(limited, self._clock())
        except CallLimitError as error:
            self._refused(error.kind, error.name)
            raise
        await self._learn(caller, limited)

    def state(self, caller: Caller) -> CallLimitsState:
        """Return the limits of a caller: of the user's and the key's, each time the one of which less is left."""
        limited = self._limited(caller)
        return CallLimitsState(
            self._limits.requests(limited, self._clock()), self._limits.tokens(limited, self._now())
        )

    def begin(self, caller: Caller) -> None:
        """Count one more call that runs. It is followed by `end`.

        :raises CallLimitError: the caller has as many as they may, or has used the tokens of the day.
        """
        limited = self._limited(caller)
        try:
            self._limits.check_tokens(limited, self._now())
            self._limits.enter(limited)
        except CallLimitError as error:
            self._refused(error.kind, error.name)
            raise

    def end(self, caller: Caller) -> None:
        """Count one call less that runs."""
        self._limits.leave(self._limited(caller))

    @contextmanager
    def hold(self, caller: Caller) -> Iterator[None]:
        """Count a call that runs while the block runs.

        :raises CallLimitError: as `begin` does.
        """
        self.begin(caller)
        try:
            yield
        finally:
            self.end(caller)

    def used(self, caller: Caller, model: str, prompt_tokens: int, completion_tokens: int) -> None:
        """Count what one call used. `model` is the name that was asked for."""
        self.usage.add(caller, model.removesuffix(LATEST), prompt_tokens, completion_tokens)
        for name, rules in self._limited(caller):
            if rules.tokens_per_day is not None:
                self._limits.spend(name, self._now(), prompt_tokens + completion_tokens)

    def _limited(self, caller: Caller) -> list[Limited]:
        if caller.key is None:
            return [(_user_name(caller.user), self._rules)]
        of_user, of_key = rules_of_key(self._rules, caller.limits)
        return [(_user_name(caller.user), of_user), (_key_name(caller.key), of_key)]

    async def _learn(self, caller: Caller, limited: list[Limited]) -> None:
        """Read what a caller used today, once a day for each limit of tokens."""
        moment = self._now()
        unknown = [
            name
            for name, rules in limited
            if rules.tokens_per_day is not None and not self._limits.knows_tokens(name, moment)
        ]
        if not unknown:
            return
        exempt = {
            key.id
            for key in await self._keys.keys(caller.user)
            if rules_of_key(self._rules, key.limits)[0].tokens_per_day is None
        }
        records = await self.usage.records(day_name(moment), caller.user)
        for name in unknown:
            of_user = name == _user_name(caller.user)
            tokens = sum(
                each.prompt_tokens + each.completion_tokens
                for each in records
                if (each.key not in exempt if of_user else each.key == caller.key)
            )
            self._limits.load_tokens(name, moment, tokens)


def _user_name(user: str) -> str:
    return f"user {user}"


def _key_name(key: str) -> str:
    return f"key {key}"
