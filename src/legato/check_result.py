"""The result of one check of `legato doctor`."""

from typing import Literal

from msgspec import Struct

CHECK_SECONDS = 5.0
"""Seconds that one check may take."""


class CheckResult(Struct, frozen=True):
    """`problem` stops the server or its replies; `note` is worth knowing."""

    about: str
    verdict: Literal["ok", "note", "problem"]
    said: str
    fix: str = ""


def ok(about: str, said: str) -> CheckResult:
    return CheckResult(about, "ok", said)


def note(about: str, said: str, fix: str = "") -> CheckResult:
    return CheckResult(about, "note", said, fix)


def problem(about: str, said: str, fix: str = "") -> CheckResult:
    return CheckResult(about, "problem", said, fix)
