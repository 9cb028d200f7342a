"""`[tools.NAME]`: what an assistant's model may ask for. `legato.gateway.tool_factory` makes tools of it."""

from typing import Annotated, Literal

from pydantic import Field

from legato.settings_types import Key, Secret, SettingsSection, Words

ToolKind = Literal["mongodb", "mcp", "python"]


class ToolSettings(SettingsSection):
    """`[tools.NAME]`. Where `kind` is not set, the name says it.

    `approval` names the tools that run only with a person's word, `*` every one; None leaves it to the kind: those of an
    MCP server all do, those of `mongodb` do not, and a Python function says it of itself. `seconds` is how long one run may
    take, `max_bytes` how much of its output the model reads.

    For `mongodb`: `uri`, `database`, the `collections` that may be read, `owner_field`, which holds the user's id in every
    document, `max_rows`, and `max_time_ms` for one query. For `mcp`: a `command` with its `env`, or a `url` with its
    `headers`, and `only` the tools that are offered (none named: all). For `python`: the entry point's name, where it is
    not NAME.
    """

    kind: ToolKind | None = None
    approval: Words | None = None
    seconds: Annotated[float, Field(gt=0, le=3600)] = 30.0
    max_bytes: Annotated[int, Field(ge=256, le=65536)] = 16384
    uri: Secret | None = None
    database: Annotated[str | None, Field(min_length=1)] = None
    collections: Words = ()
    owner_field: Annotated[str | None, Field(min_length=1)] = None
    max_rows: Annotated[int, Field(ge=1, le=1000)] = 50
    max_time_ms: Annotated[int, Field(ge=10, le=60_000)] = 4000
    command: Words = ()
    env: dict[str, Secret] = Field(default_factory=dict)
    url: Annotated[str | None, Field(pattern=r"^https?://\S+$")] = None
    headers: dict[str, Key] = Field(default_factory=dict)
    only: Words = ()
    entry_point: Annotated[str | None, Field(min_length=1)] = None
