"""What holds for all tests."""

from collections import Counter, defaultdict

import pytest
from hypothesis import settings

settings.register_profile("legato", deadline=None)
settings.load_profile("legato")

HEAVY = (
    "tests/clients/",
    "tests/web/",
    "tests/unbroken/",
    "tests/bench/",
    "tests/faults/",
    "tests/cli/",
    "tests/docs/",
)
"""Directories whose tests start browsers, servers or other processes."""

END = 0.93
"""Where the last of them stands, so that none of them is still running when all others are done."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Spread the modules of each heavy directory evenly: side by side they would want more processors than there are."""
    modules: dict[str, list[pytest.Item]] = defaultdict(list)
    for item in items:
        modules[item.nodeid.partition("::")[0]].append(item)
    kinds = {name: next((each for each in HEAVY if name.startswith(each)), "") for name in modules}
    totals = Counter[str]()
    for name, tests in modules.items():
        totals[kinds[name]] += 1 if kinds[name] else len(tests)
    before = Counter[str]()
    places: dict[str, float] = {}
    for name, tests in modules.items():
        kind = kinds[name]
        places[name] = (before[kind] + 0.5) / totals[kind] * (END if kind else 1.0)
        before[kind] += 1 if kind else len(tests)
    items[:] = [item for name in sorted(modules, key=lambda name: places[name]) for item in modules[name]]
