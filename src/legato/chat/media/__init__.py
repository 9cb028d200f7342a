"""What a file is, found in its content: no name and no declared type is believed."""

from legato.chat.media.sniff import MediaKind, find_kind, looks_familiar

__all__ = ["MediaKind", "find_kind", "looks_familiar"]
