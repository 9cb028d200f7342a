"""Types for sections of the settings."""

import json
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationInfo
from pydantic_core import PydanticCustomError
from pydantic_settings import NoDecode

from legato.api_keys import trimmed


def _listed(value: object, info: ValidationInfo) -> object:
    """Return a list. The environment contains only text, so a list there is `a, b` (or JSON). In the file it is a list."""
    if info.mode == "json" or not isinstance(value, str):
        return tuple(value) if isinstance(value, list) else value
    if value.startswith("["):
        return tuple(json.loads(value))
    return tuple(part.strip() for part in value.split(",") if part.strip())


def _trimmed(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return trimmed(value)
    except ValueError:
        raise PydanticCustomError("control_character", "it must be one line of text") from None


Words = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_listed)]
Secret = Annotated[SecretStr, Field(min_length=1)]
Stripped = Annotated[
    Secret, BeforeValidator(lambda value: value.strip() if isinstance(value, str) else value)
]
"""A secret of any number of lines, without surrounding whitespace."""

Header = Annotated[SecretStr, BeforeValidator(_trimmed)]
Key = Annotated[Header, Field(min_length=1)]
"""A secret that is sent in a header, or compared with one."""

Keys = Annotated[tuple[Key, ...], NoDecode, BeforeValidator(_listed)]


class SettingsSection(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)
