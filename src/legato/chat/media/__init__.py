"""What a file is, found in its content: no name and no declared type is believed."""

from legato.chat.media.kind import Kind, find_kind, looks_familiar

__all__ = ["Kind", "find_kind", "looks_familiar"]
