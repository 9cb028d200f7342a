"""MongoDB as settings and the server know it."""

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from legato.settings_types import Secret, SettingsSection, Words
from legato.tools.tool_type import ToolsetOptions, ToolType, check_remote

if TYPE_CHECKING:
    from legato.tools.mongodb.toolset import MongoTools


class MongoSettings(SettingsSection):
    """The keys of `[tools.NAME]` for a MongoDB."""

    uri: Secret | None = Field(
        None, description="The address of the server. Not set: `mongodb://127.0.0.1:27017`."
    )
    database: Annotated[str | None, Field(min_length=1)] = Field(
        None, description="The database. Not set: the one in `uri`."
    )
    collections: Words = Field((), description="The collections that may be read, and no others.")
    owner_field: Annotated[str | None, Field(min_length=1)] = Field(
        None,
        description="The field that contains the user's id. If set, a person reads only their own documents.",
    )
    max_rows: Annotated[int, Field(ge=1, le=1000)] = Field(
        50, description="The maximum number of documents in one answer."
    )
    max_time_ms: Annotated[int, Field(ge=10, le=60_000)] = Field(
        4000, description="The time limit of one query on the server."
    )


def _make(settings: MongoSettings, options: ToolsetOptions) -> "MongoTools":
    from legato.tools.mongodb.toolset import DEFAULT_URI, MongoTools

    return MongoTools(
        options.name,
        uri=settings.uri.get_secret_value() if settings.uri is not None else DEFAULT_URI,
        database=settings.database,
        collections=settings.collections,
        owner_field=settings.owner_field,
        max_rows=settings.max_rows,
        max_time_ms=settings.max_time_ms,
        max_bytes=options.max_bytes,
        seconds=options.seconds,
        approval=options.approval or (),
    )


MONGODB: "ToolType[MongoSettings, MongoTools]" = ToolType(
    name="mongodb", settings=MongoSettings, make=_make, check=check_remote, extra="mongodb"
)
