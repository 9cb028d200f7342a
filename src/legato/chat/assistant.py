"""An assistant: a configured persona. All differences between assistants are settings."""

from typing import Any, Literal

from msgspec import Struct, field

OnUnwatched = Literal["cancel", "grace", "continue"]


class Assistant(Struct, frozen=True, kw_only=True):
    """`engine` names an engine of the server (`auto`: the one it picked at the start); `model` None means its default.

    `backup_engine` None means the same engine. `history` is in messages. `timeout` is the seconds of silence after which an
    attempt is given up, `first_token_timeout` the seconds until the first word (None: `timeout`). `on_unwatched` says
    what becomes of a running reply that nobody watches, `grace_seconds` how long `grace` waits. `tools` names the tools
    that the model may ask for: `tool_steps` times in a reply at most, and for `tool_seconds` in all; one that needs a
    person's word waits for it for `approval_seconds`. `models` are those that a person may choose for a conversation
    (None: all of its engine; empty: none).
    """

    name: str
    engine: str = "auto"
    model: str | None = None
    backup_engine: str | None = None
    backup_model: str | None = None
    system: str | None = None
    history: int = 20
    timeout: float = 300.0
    first_token_timeout: float | None = None
    disclaimer: str | None = None
    tools: tuple[str, ...] = ()
    models: tuple[str, ...] | None = None
    tool_steps: int = 8
    tool_seconds: float = 300.0
    approval_seconds: float = 300.0
    on_unwatched: OnUnwatched = "continue"
    grace_seconds: float = 30.0
    options: dict[str, Any] = field(default_factory=dict)
    keep_alive: str | float | None = None
    think: bool | str | None = None
