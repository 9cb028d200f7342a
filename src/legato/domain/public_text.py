"""Error texts as users may read them: without addresses, paths and names of settings of the machines behind the server.

Operators read the whole text in the log.
"""

import copy
import logging
import re

from legato.errors import EngineError, LegatoError, SettingsError, StorageError

logger = logging.getLogger(__name__)

_TRACEBACK = re.compile(r"\s*Traceback \(most recent call last\).*", re.DOTALL)
_END = r"[^\s,;()<>\"'`]*[^\s,;()<>\"'`.:!?]"
_REPLACED = [
    (re.compile(rf" at (?:[a-z][a-z0-9+.-]*://|unix:){_END}", re.IGNORECASE), ""),
    (re.compile(rf"\b[a-z][a-z0-9+.-]*://{_END}", re.IGNORECASE), "an address"),
    (re.compile(r"the name \S+ is not known"), "its name is not known"),
    (re.compile(r"\[[0-9a-f:.%]*:[0-9a-f:.%]*\](?::\d+)?", re.IGNORECASE), "an address"),
    (re.compile(r"\b\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?\b"), "an address"),
    (re.compile(r"\b(?:localhost|[a-z0-9-]+(?:\.[a-z0-9-]+)+):\d{2,5}\b", re.IGNORECASE), "an address"),
    (re.compile(r"\blocalhost:\d+\b", re.IGNORECASE), "an address"),
    (re.compile(r"(?<![\w/.~#])(?:~|\.{1,2})?/(?:[\w.@+~-]+/)+[\w.@+~-]*\w"), "a file"),
    (re.compile(r"\b[A-Za-z]:\\[^\s,;'\"]*[^\s,;'\".]"), "a file"),
    (re.compile(r"\b[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+\b"), "a setting"),
]


def public_text(text: str) -> str:
    """Return an error text without URLs, hosts with ports, IP addresses, file paths, names of variables, and tracebacks."""
    text = _TRACEBACK.sub("", text) or "The server failed in a way it should not. Its log says more."
    for pattern, replacement in _REPLACED:
        text = pattern.sub(replacement, text)
    return text


def public_error(error: LegatoError) -> LegatoError:
    """Return an error as users may see it. What an engine, the database or the settings say is logged as a whole if it is changed."""
    if not isinstance(error, EngineError | StorageError | SettingsError):
        return error
    text = public_text(error.message)
    if text == error.message:
        return error
    logger.warning("A user was not told all of this: %s", error.message)
    other = copy.copy(error)
    other.message, other.args = text, (text,)
    return other
