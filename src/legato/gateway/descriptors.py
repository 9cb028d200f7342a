"""File descriptors of the process: the limit is raised at the start, and says how many connections fit."""

import logging
import sys

logger = logging.getLogger(__name__)

WANTED = 1_048_576
"""The largest limit that is asked for. Some systems allow any number, and tools that close all descriptors would take for ever."""

OWN = 256
"""Descriptors that the server keeps for itself: the database, files, engines and their connections."""

UNKNOWN = 1024
"""The limit that is assumed where the system does not tell it."""


def raise_limit() -> int:
    """Raise the soft limit of descriptors to the hard one, and return the limit that holds now."""
    if sys.platform == "win32":
        return UNKNOWN
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = WANTED if hard == resource.RLIM_INFINITY else min(hard, WANTED)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return WANTED if soft == resource.RLIM_INFINITY else soft
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (ValueError, OSError) as error:
        logger.warning("The limit of file descriptors stays at %d: %s", soft, error)
        return soft
    logger.info("The limit of file descriptors is %d now; it was %d", wanted, soft)
    return wanted


def connections_within(descriptors: int) -> int:
    """Return how many connections the server can hold with this limit of descriptors."""
    return max(descriptors - min(OWN, descriptors // 4), 16)
