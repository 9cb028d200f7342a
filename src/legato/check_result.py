"""The result of one check of `legato doctor`."""

from typing import Literal

from msgspec import Struct

CHECK_SECONDS = 5.0
"""Seconds that one check may take."""


class CheckResult(Struct, frozen=True):
    """A `problem` prevents the start of the server or its replies; a `note` is worth knowing. `fix` says what to do."""

    about: str
    verdict: Literal["ok", "note", "problem"]
    message: str
    fix: str = ""


def ok(about: str, message: str) -> CheckResult:
    return CheckResult(about, "ok", message)


def note(about: str, message: str, fix: str = "") -> CheckResult:
    return CheckResult(about, "note", message, fix)


def problem(about: str, message: str, fix: str = "") -> CheckResult:
    return CheckResult(about, "problem", message, fix)
