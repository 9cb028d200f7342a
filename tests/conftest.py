"""What holds for all tests."""

from collections import Counter, defaultdict
from typing import Any

import pytest
from hypothesis import settings

settings.register_profile("legato", deadline=None)
settings.load_profile("legato")

BROWSERS = "tests/web/"
"""The directory whose tests start browsers. One browser at a time is what two processors can keep responsive."""

HEAVY = (
    "tests/clients/",
    "tests/unbroken/",
    "tests/bench/",
    "tests/faults/",
    "tests/cli/",
    "tests/docs/",
)
"""Directories whose tests start browsers, servers or other processes."""

END = 0.93
"""Where the last of them stands, so that none of them is still running when all others are done."""


def group_of(nodeid: str) -> str:
    """The tests of one group run in one process: those of a module, and all that start browsers."""
    module = nodeid.partition("::")[0]
    return BROWSERS if module.startswith(BROWSERS) else module


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> object:
    """Give each process one group after the other, in their order."""
    # The clients of others run their tests without xdist.
    from xdist.scheduler import LoadScopeScheduling

    class GroupScheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return group_of(nodeid)

    return GroupScheduling(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the browsers, which take longest, and spread the modules of each heavy directory evenly."""
    modules: dict[str, list[pytest.Item]] = defaultdict(list)
    for item in items:
        modules[group_of(item.nodeid)].append(item)
    kinds = {name: next((each for each in HEAVY if name.startswith(each)), "") for name in modules}
    totals = Counter[str]()
    for name, tests in modules.items():
        totals[kinds[name]] += 1 if kinds[name] else len(tests)
    before = Counter[str]()
    places: dict[str, float] = {BROWSERS: 0.0}
    for name, tests in modules.items():
        kind = kinds[name]
        places.setdefault(name, (before[kind] + 0.5) / totals[kind] * (END if kind else 1.0))
        before[kind] += 1 if kind else len(tests)
    items[:] = [item for name in sorted(modules, key=lambda name: places[name]) for item in modules[name]]
