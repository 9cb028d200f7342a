"""Keys as people give them: copied with a blank, or read from a file with its line end."""

from legato.errors import SettingsError


def trimmed(key: str) -> str:
    """`key` without what stands around it.

    :raises ValueError: there is a control character in it, which no header can carry.
    """
    key = key.strip()
    if any(character < " " or character == "\x7f" for character in key):
        raise ValueError("a key is one line of text")
    return key


def given(key: str | None, where: str) -> str | None:
    """The key that `where` gives, `trimmed`; None where it gives none.

    :raises SettingsError: it cannot be one.
    """
    try:
        return trimmed(key or "") or None
    except ValueError:
        raise SettingsError(
            f"{where} must be one line of text: there is a line break inside the key."
        ) from None
