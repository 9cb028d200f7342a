"""API keys as operators paste them: with blanks, or with the line end of a file."""

from legato.errors import SettingsError


def trimmed(key: str) -> str:
    """Return the key without surrounding white space.

    :raises ValueError: it contains a control character, which no header can carry.
    """
    key = key.strip()
    if any(character < " " or character == "\x7f" for character in key):
        raise ValueError("a key is one line of text")
    return key


def given(key: str | None, where: str) -> str | None:
    """Return the key that was given at `where`, trimmed; None if there is none.

    :raises SettingsError: it cannot be a key.
    """
    try:
        return trimmed(key or "") or None
    except ValueError:
        raise SettingsError(
            f"{where} must be one line of text: there is a line break inside the key."
        ) from None
