"""Regular expressions that cannot take for ever. Pure.

A backtracking matcher is slow where it can split the same text between several parts of a pattern: a repeated group that
repeats or branches inside, or many repeats of whatever kind. Such patterns are refused, and so are the rarer features that
hide them.
"""

import re

from legato.errors import ToolError

LENGTH = 128
"""Maximum characters of a pattern."""

UNBOUNDED = 2
"""Maximum repeats without an upper bound (`*`, `+`, `{2,}`) in one pattern: each multiplies the work by the length of the text."""

REPEATS = 50
"""The largest number in `{m,n}`."""

WAYS = 512
"""Maximum number of ways to match one text: those of every optional, repeated or alternative part are multiplied."""

ENDLESS_WAYS = 8
"""The number of ways that a repeat without an upper bound counts as."""

_TOKEN = re.compile(
    r"""(?P<escape>\\.) | (?P<set>\[\^?\]?(?:\\.|[^\]\\])*\]) | (?P<open>\((?:\?(?P<special>.))?) | (?P<close>\))
    | (?P<repeat>(?:[*+?]|\{\d*,?\d*\})[?+]?) | (?P<branch>\|) | (?P<other>.)""",
    re.VERBOSE | re.DOTALL,
)
_COUNT = re.compile(r"\{(\d*)(,?)(\d*)\}")


class _Group:
    """An open group: whether something in it repeats or branches, and the number of branches."""

    __slots__ = ("branches", "varies")

    def __init__(self) -> None:
        self.branches = 1
        self.varies = False


def check_pattern(pattern: str) -> str:
    """Return the pattern.

    :raises ToolError: it is too long, is invalid, or could run for too long.
    """
    if not pattern or len(pattern) > LENGTH:
        raise ToolError(f"A pattern has 1 to {LENGTH} characters.")
    if "\0" in pattern or "(*" in pattern:
        raise _refused(pattern)
    groups = [_Group()]
    closed: _Group | None = None
    unbounded, ways = 0, 1
    for token in _TOKEN.finditer(pattern):
        before, closed = closed, None
        match token.lastgroup:
            case "escape" if token.group()[1] in "123456789gkKGRXCEQ":
                raise _refused(pattern)
            case "open" | "special":
                if token["special"] not in (None, ":"):
                    raise _refused(pattern)
                groups.append(_Group())
            case "close":
                if len(groups) == 1:
                    raise ToolError("The pattern closes a group that it does not open.")
                closed = groups.pop()
                ways *= closed.branches
                groups[-1].varies |= closed.varies
            case "branch":
                groups[-1].branches += 1
                groups[-1].varies = True
            case "repeat":
                if before is not None and before.varies and token.group() != "?":
                    raise _refused(pattern)
                unbounded += _endless(token.group())
                ways *= _ways(token.group())
                groups[-1].varies = True
    if len(groups) > 1:
        raise ToolError("The pattern opens a group that it does not close.")
    if unbounded > UNBOUNDED:
        raise ToolError(
            f"A pattern may repeat without an end {UNBOUNDED} times at most; this one does {unbounded} times."
        )
    if ways > WAYS:
        raise ToolError(
            "The pattern leaves too much open: too many parts may be there or not. Write a simpler one."
        )
    return pattern


def _ways(repeat: str) -> int:
    """Return the number of ways in which it can repeat: one for each count."""
    if repeat[0] in "*+":
        return ENDLESS_WAYS
    counted = _COUNT.match(repeat)
    if counted is None:
        return 2
    least, comma, most = counted.groups()
    if not most:
        return ENDLESS_WAYS if comma else 1
    return max(1, int(most) - int(least or 0) + 1)


def _endless(repeat: str) -> bool:
    """Return whether it repeats without an upper bound.

    :raises ToolError: it repeats more often than permitted.
    """
    if repeat[0] in "*+":
        return True
    counted = _COUNT.match(repeat)
    if counted is None:
        return False
    least, comma, most = counted.groups()
    if max(int(least or 0), int(most or 0)) > REPEATS:
        raise ToolError(f"A pattern may repeat something {REPEATS} times at most.")
    return bool(comma and not most)


def _refused(pattern: str) -> ToolError:
    return ToolError(
        f"The pattern {pattern!r:.60} is not allowed: it could take for ever. Write a simpler one."
    )
