"""The type check and the unit tests of the page."""

from pathlib import Path

import pytest

from .conftest import run_tool


@pytest.mark.browser
def test_the_types_are_correct(node_modules: Path) -> None:
    run_tool(node_modules, "tsc", "--noEmit")


@pytest.mark.browser
def test_the_unit_tests_pass(node_modules: Path) -> None:
    run_tool(node_modules, "vitest", "run")
