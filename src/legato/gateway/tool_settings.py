"""`[tools.NAME]`: one flat section for all kinds of tools. The keys of each kind come from the registry."""

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, create_model
from pydantic.fields import FieldInfo

from legato.errors import SettingsError
from legato.settings_types import SettingsSection, Words
from legato.tools.registry import TOOL_TYPES, UNNAMED
from legato.tools.tool_type import AnyToolType, ToolsetOptions

if TYPE_CHECKING:
    ToolKind = str
else:
    ToolKind = Literal[tuple(TOOL_TYPES)]
    """A tool kind of the registry."""


class CommonToolSettings(SettingsSection):
    """The keys that `[tools.NAME]` may have for every kind."""

    kind: ToolKind | None = Field(
        default=None, description="The kind of the tool. Not set: NAME is the kind."
    )
    approval: Words | None = Field(
        default=None,
        description="The names of the tools that need a person's approval; `*` means all. Not set: all of an MCP "
        "server, none of `mongodb`; a Python function declares it.",
    )
    seconds: Annotated[float, Field(gt=0, le=3600)] = Field(
        default=30.0, description="The time limit of one call."
    )
    max_bytes: Annotated[int, Field(ge=256, le=65536)] = Field(
        default=16384, description="The largest output that the model receives."
    )


def fields_of_kinds() -> dict[str, FieldInfo]:
    """Return every key that a kind declares.

    :raises TypeError: a key is declared differently by two kinds, or is one of `CommonToolSettings`.
    """
    declared: dict[str, FieldInfo] = {}
    for kind, tool_type in TOOL_TYPES.items():
        for key, field in tool_type.settings.model_fields.items():
            if key in CommonToolSettings.model_fields or not _same_type(
                declared.setdefault(key, field), field
            ):
                raise TypeError(
                    f"the tool kind {kind!r} declares {key!r}, which is declared differently already"
                )
    return declared


def _same_type(one: FieldInfo, other: FieldInfo) -> bool:
    # Constraints have no equality of their own.
    return one.annotation == other.annotation and repr(one.metadata) == repr(other.metadata)


if TYPE_CHECKING:

    class ToolSettings(CommonToolSettings):
        """`[tools.NAME]`: the common keys, and those of all kinds."""

else:
    ToolSettings = create_model(
        "ToolSettings",
        __base__=CommonToolSettings,
        **{key: (field.annotation, field) for key, field in fields_of_kinds().items()},
    )


def tool_type_of(name: str, section: ToolSettings) -> AnyToolType:
    """Return the kind of `[tools.NAME]`: `kind` says it, or else the name, or else it is the one of an entry point.

    :raises SettingsError: the section has keys of another kind and says none, or a key that its kind does not have.
    """
    keys = section.model_fields_set - CommonToolSettings.model_fields.keys()
    if section.kind is None and name not in TOOL_TYPES and keys - UNNAMED.settings.model_fields.keys():
        raise SettingsError(f"[tools.{name}] needs a `kind`: one of {', '.join(TOOL_TYPES)}.")
    tool_type = TOOL_TYPES.get(section.kind or name, UNNAMED)
    for key in sorted(keys - tool_type.settings.model_fields.keys()):
        raise SettingsError(
            f"[tools.{name}] is of the kind {tool_type.name!r}, which has no setting {key!r}."
        )
    return tool_type


def settings_of_kind(section: ToolSettings, tool_type: AnyToolType) -> SettingsSection:
    """Return what is set in a section, as the settings of its kind."""
    keys = section.model_fields_set & tool_type.settings.model_fields.keys()
    settings: SettingsSection = tool_type.settings.model_validate(
        {key: getattr(section, key) for key in keys}
    )
    return settings


def common_options(name: str, section: CommonToolSettings) -> ToolsetOptions:
    """Return what a factory receives beside the settings of its kind."""
    return ToolsetOptions(name, section.approval, section.seconds, section.max_bytes)
