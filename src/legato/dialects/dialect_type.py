"""The contract of a dialect type: what a dialect exports so that settings and the server know it.

A dialect type is one object, listed in `legato.dialects.registry`. Its module imports little: the dialect itself is imported
in `make`, because commands that only read the settings would wait for it.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from msgspec import Struct

from legato.dialects.session_rules import SessionRules
from legato.settings_types import SettingsSection

if TYPE_CHECKING:
    from legato.dialects.context import DialectContext
    from legato.dialects.dialect import Dialect

S = TypeVar("S", bound=SettingsSection)


class DialectType(Struct, Generic[S], frozen=True, kw_only=True):
    """One dialect.

    - `name` is its word in `[dialects]`. `settings` is the section `[NAME]`, None if there is nothing to set; `about` is a
      sentence for the reference of the settings.
    - `paths` are those of its endpoints: `{id}` is one segment, `{rest:path}` all that follow. `subprotocols` are the
      WebSocket subprotocols that it speaks.
    - `make` creates the dialect of a server. It raises `SettingsError` if a setting cannot be used.
    - `rules` say how its sessions authenticate and close.
    - `has_assistant`: `[dialects] NAME` is the assistant of a new conversation. Otherwise a client names it each time.
    """

    name: str
    paths: tuple[str, ...]
    make: "Callable[[S, DialectContext], Dialect]"
    settings: type[S] | None = None
    about: str = ""
    subprotocols: tuple[str, ...] = ()
    rules: SessionRules = SessionRules()
    has_assistant: bool = True


AnyDialectType = DialectType[Any]
