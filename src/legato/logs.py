"""Logging without secrets and without forged lines: uvicorn logs whole paths, libraries log requests, errors quote input."""

import logging
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote_plus

from legato.characters import CONTROL, INVISIBLE, JOINERS

HIDDEN = "…"

_NAME = r"(?:[\w-]{0,40}[_-])?(?:token|tickets?|key|apikey|jwt|secret|password|authorization)"
"""Bounded, like all patterns here: a line of any length and content is scrubbed in linear time."""

_SECRET = re.compile(rf"(?i){_NAME}")
_PARAMETER = re.compile(r"(?i)([?&;])([\w%+.\-]{1,64})=([^?&;#\s\"'<>]*)")
_ASSIGNMENT = re.compile(rf"(?i)(?<![\w-])({_NAME})(\s{{0,8}}[=:]\s{{0,8}})(?!//)([^\s&;,#\"'<>(){{}}\[\]]+)")
_QUOTED = re.compile(rf"(?i)([\"']{_NAME}[\"']\s{{0,8}}[:=,]\s{{0,8}}b?[\"'])((?:[^\"'\\]|\\.)*)")
_SCHEME = re.compile(r"(?i)\b(Bearer|Basic)(\s+)[A-Za-z0-9._~+/=%-]{2,}")
_JWT = re.compile(r"\beyJ[\w-]{6,}(?:\.[\w-]*){0,4}")
_API_KEY = re.compile(r"\b(sk|pk|rk|hf|gsk)([-_])[A-Za-z0-9_-]{12,}")
_UNSEEN = re.compile(rf"(?!\t)[{CONTROL}{INVISIBLE}{JOINERS}]")
_USERINFO = re.compile(r"(://[^\s/:@\"']*:)[^\s/@\"']+@")


def scrub(text: str) -> str:
    """Return the text with `…` in place of tokens, tickets, keys and passwords. The rest stays readable."""
    text = _SCHEME.sub(rf"\1\2{HIDDEN}", text)
    text = _JWT.sub(HIDDEN, text)
    text = _API_KEY.sub(rf"\1\2{HIDDEN}", text)
    text = _USERINFO.sub(rf"\1{HIDDEN}@", text)
    text = _QUOTED.sub(rf"\1{HIDDEN}", text)
    text = _PARAMETER.sub(_parameter, text)
    return _ASSIGNMENT.sub(rf"\1\2{HIDDEN}", text)


def _parameter(match: re.Match[str]) -> str:
    before, name, value = match.groups()
    return f"{before}{name}={HIDDEN if _SECRET.fullmatch(unquote_plus(name)) else value}"


def one_record(message: str) -> str:
    r"""Return the message with control and invisible characters as escapes (`\n`), so that it cannot forge a line or steer a
    terminal."""
    return _UNSEEN.sub(lambda found: found[0].encode("unicode_escape").decode(), message)


class Scrubber(logging.Filter):
    """Scrub the records of a handler, which come from every logger. A message becomes one line; tracebacks keep their lines."""

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.msg, str):
            record.msg = scrub(record.msg) if not record.args else record.msg
        if isinstance(record.args, Mapping):
            record.args = {name: _clean(value) for name, value in record.args.items()}
        elif record.args:
            record.args = tuple(_clean(value) for value in record.args)
        try:
            message = record.getMessage()
        except (TypeError, ValueError):
            message = f"{record.msg} {record.args}"
            record.msg, record.args = message, ()
        if (clean := one_record(scrub(message))) != message:
            record.msg, record.args = clean, ()
        if record.exc_info and not record.exc_text:
            record.exc_text = logging.Formatter().formatException(record.exc_info)
        if record.exc_text:
            record.exc_text = scrub(record.exc_text)
        if record.stack_info:
            record.stack_info = scrub(record.stack_info)
        return True


def _clean(value: Any) -> Any:
    """Return an argument of a log line without secrets. An argument that is not text is kept if its text has none."""
    if isinstance(value, str):
        return scrub(value)
    if value is None or isinstance(value, (bool, int, float)):
        return value
    text = str(value)
    return clean if (clean := scrub(text)) != text else value


def scrub_handlers(*names: str) -> None:
    """Scrub the handlers of the root logger, of uvicorn, and of the named loggers. It is safe to call this twice."""
    for name in ("", "uvicorn", "uvicorn.access", "uvicorn.error", *names):
        for handler in logging.getLogger(name).handlers:
            if not any(isinstance(each, Scrubber) for each in handler.filters):
                handler.addFilter(Scrubber())


def set_up_logs(level: int = logging.INFO) -> None:
    """Log to stderr, scrubbed: of Legato from `level` on, of libraries from warnings on."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("legato").setLevel(level)
    scrub_handlers("")
