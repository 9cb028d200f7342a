"""`[attachments]` and `[audio]`: what people may send beside text, and how recordings are transcribed."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from legato.settings_types import Key, SettingsSection


class AttachmentsSettings(SettingsSection):
    """`[attachments]`. `max_bytes` limits one file, `quota_bytes` all files of one user. If `directory` is None, it is
    `attachments` in the data directory.
    """

    max_bytes: Annotated[int, Field(ge=1024, le=256 * 1024 * 1024)] = 20 * 1024 * 1024
    quota_bytes: Annotated[int, Field(ge=1024)] = 1024 * 1024 * 1024
    directory: Path | None = None


class AudioSettings(SettingsSection):
    """`[audio]`. Without an `engine`, recordings go only to models with audio input. `openai` is any server with
    `/v1/audio/transcriptions`; `whisper` runs in this process and needs the extra `legato[audio]`.

    If `model` is None, it is `whisper-1` or `base`. `language` (such as `de`) helps if it is always the same.
    """

    engine: Literal["openai", "whisper"] | None = None
    url: Annotated[str, Field(pattern=r"^https?://\S+$")] = "https://api.openai.com/v1"
    api_key: Key | None = None
    ca_file: Path | None = None
    model: Annotated[str | None, Field(min_length=1)] = None
    language: Annotated[str | None, Field(min_length=2, max_length=3)] = None
    threads: Annotated[int | None, Field(ge=1, le=1024)] = None
