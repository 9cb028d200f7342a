"""A call of an API, as the server runs it: who calls, what is asked of which engine, and what happens if the caller leaves."""

import re
from typing import Any, Literal

from msgspec import Struct, field
from msgspec.structs import replace

from legato.domain.message import TextPart
from legato.engines.base import Engine, Request, Turn
from legato.errors import InvalidError

Api = Literal["openai", "ollama", "anthropic", "ai"]
"""The shapes of requests and errors. `ai` is the Vercel AI SDK."""

MAX_GRACE = 3600.0
"""The longest time in seconds for which a caller may be away."""

MAX_CHOICES = 16
"""The largest `n`."""

_GRACE = re.compile(r"grace=(\d{1,4}(?:\.\d{1,3})?)", re.ASCII)


class Caller(Struct, frozen=True):
    """Who calls. `user` owns the streams. `key` is the id of the API key, None without one. `models` are the names that the
    key may use, empty: all. `limits` are the limits of the key.
    """

    user: str
    key: str | None = None
    models: tuple[str, ...] = ()
    limits: dict[str, int] = field(default_factory=dict)


class DisconnectPolicy(Struct, frozen=True):
    """What happens to a generation that no client reads any more: it goes on for `grace` seconds; None: to its end."""

    grace: float | None = 0.0

    @classmethod
    def parse(cls, text: str | None, default: "DisconnectPolicy") -> "DisconnectPolicy":
        """Return what the header `Legato-On-Disconnect` asks for: `cancel`, `grace=SECONDS` or `continue`.

        :raises InvalidError: it is none of them.
        """
        if text is None:
            return default
        text = text.strip().lower()
        if text == "cancel":
            return CANCEL
        if text == "continue":
            return CONTINUE
        match = _GRACE.fullmatch(text)
        if match is None or float(match[1]) > MAX_GRACE:
            raise InvalidError(
                "`Legato-On-Disconnect` is `cancel`, `continue`, or `grace=` and seconds up to 3600, for example `grace=30`."
            )
        return cls(float(match[1]))


CANCEL = DisconnectPolicy(0.0)
CONTINUE = DisconnectPolicy(None)


class Call(Struct, frozen=True):
    """One call. `format` and `format_options` name the codec of the response (`legato.api.formats`). `model` is the name that the client asked for, and is told again. Each of `choices` replies answers
    `request`; with `prompts`, which are texts, the first replies answer it with the first prompt, and so on.

    `engine` has the timeouts and backups of what answers. `idempotency_key`: a call of the same owner with the same key and
    the same `fingerprint` gets the same response. `stored`: the response is kept although its connection lives;
    `background`: it begins before the engine has answered, because it can be read at once. `document` is what the API keeps of the
    request, as JSON values.
    """

    api: Api
    format: str
    model: str
    engine: Engine
    request: Request
    caller: Caller
    format_options: dict[str, Any] = field(default_factory=dict)
    choices: int = 1
    on_disconnect: DisconnectPolicy = CANCEL
    idempotency_key: str | None = None
    fingerprint: str = ""
    stored: bool = False
    background: bool = False
    document: Any = None
    prompts: tuple[str, ...] = ()

    def request_of(self, choice: int) -> Request:
        """Return the request that a choice answers."""
        if not self.prompts:
            return self.request
        prompt = self.prompts[choice * len(self.prompts) // self.choices]
        return replace(self.request, turns=(Turn("user", (TextPart(prompt),)),))

    @property
    def durable(self) -> bool:
        """Whether the response is kept in the database: it is asked for after its connection, or its server, has gone."""
        return self.stored or self.idempotency_key is not None or self.on_disconnect.grace is None
