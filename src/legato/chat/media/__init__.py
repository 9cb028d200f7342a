"""What a file is, found in its content: no name and no declared type is believed."""

from legato.chat.media.sniff import MediaKind, check_text, find_kind, looks_familiar, looks_like_text

__all__ = ["MediaKind", "check_text", "find_kind", "looks_familiar", "looks_like_text"]
