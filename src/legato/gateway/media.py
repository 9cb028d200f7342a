"""Make the attachments and the transcriber from the settings."""

from pathlib import Path
from uuid import uuid4

from legato.chat.attachments import AttachmentLimits, Attachments
from legato.chat.service import utc
from legato.engines.transcribe import OpenAITranscriber
from legato.engines.transcription import Transcriber
from legato.engines.whisper import WhisperTranscriber
from legato.errors import EngineUnavailableError, SettingsError
from legato.gateway.settings import Settings
from legato.storage.base import AttachmentStore
from legato.storage.directory_blobs import DirectoryBlobStore

FOLDER = "attachments"


def attachments_dir(settings: Settings) -> Path:
    return settings.attachments.directory or settings.server.data_dir / FOLDER


def make_attachments(settings: Settings, storage: AttachmentStore) -> Attachments:
    """Return the attachments of a server. Their directory is created with the first one."""
    directory = attachments_dir(settings)
    rules = AttachmentLimits(settings.attachments.max_bytes, settings.attachments.quota_bytes)
    return Attachments(storage, DirectoryBlobStore(directory), rules, now=utc, new_id=lambda: str(uuid4()))


def make_transcriber(settings: Settings) -> Transcriber | None:
    """Return the transcriber that `[audio]` names; None if it names none.

    :raises SettingsError: its engine cannot be used.
    """
    audio = settings.audio
    match audio.engine:
        case "openai":
            with settings.blaming("audio", "ca_file" if audio.ca_file is not None else "url"):
                return OpenAITranscriber(
                    audio.url,
                    audio.model or "whisper-1",
                    api_key=audio.api_key.get_secret_value() if audio.api_key is not None else None,
                    language=audio.language,
                    ca_file=audio.ca_file,
                )
        case "whisper":
            try:
                return WhisperTranscriber(
                    audio.model or "base",
                    directory=settings.server.data_dir / "models" / "whisper",
                    language=audio.language,
                    threads=audio.threads,
                )
            except EngineUnavailableError as error:
                with settings.blaming("audio", "engine"):
                    raise SettingsError(f"[audio] asks for the engine whisper. {error.message}") from None
        case None:
            return None
