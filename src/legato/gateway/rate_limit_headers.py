"""The headers that tell a caller of an API what is left of its limits."""

import math
from datetime import UTC, datetime

from legato.api.call_limiter import CallLimitsState
from legato.gateway.api_errors import api_of

RATE_LIMIT_HEADERS = tuple(
    f"x-ratelimit-{part}-{name}"
    for part in ("limit", "remaining", "reset")
    for name in ("requests", "tokens")
)
"""OpenAI's names, which pages of other origins may read."""

Header = tuple[bytes, bytes]


def rate_limit_headers(state: CallLimitsState, path: str, now: float) -> list[Header]:
    """Return the headers as OpenAI names them, on Anthropic's paths also as Anthropic does. `now` is in seconds since the epoch."""
    headers: list[Header] = []
    for name, limit in (("requests", state.requests), ("tokens", state.tokens)):
        if limit is None:
            continue
        headers += [
            _header(f"x-ratelimit-limit-{name}", str(limit.limit)),
            _header(f"x-ratelimit-remaining-{name}", str(limit.remaining)),
            _header(f"x-ratelimit-reset-{name}", duration(limit.reset)),
        ]
        if api_of(path) == "anthropic":
            moment = datetime.fromtimestamp(math.ceil(now + limit.reset), UTC)
            headers += [
                _header(f"anthropic-ratelimit-{name}-limit", str(limit.limit)),
                _header(f"anthropic-ratelimit-{name}-remaining", str(limit.remaining)),
                _header(f"anthropic-ratelimit-{name}-reset", moment.strftime("%Y-%m-%dT%H:%M:%SZ")),
            ]
    return headers


def duration(seconds: float) -> str:
    """Return a time as OpenAI writes it, rounded up: `120ms`, `1.5s`, `6m0s`, `13h20m5s`."""
    millis = math.ceil(seconds * 1000 - 0.001)
    if millis < 1000:
        return f"{millis}ms"
    if millis < 60_000:
        return f"{millis / 1000:g}s"
    minutes, rest = divmod(math.ceil(millis / 1000), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes}m{rest}s" if hours else f"{minutes}m{rest}s"


def _header(name: str, value: str) -> Header:
    return name.encode(), value.encode()
