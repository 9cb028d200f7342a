"""The page's own tests, and its types: run by its own tools."""

from pathlib import Path

import pytest

from .conftest import run_node


@pytest.mark.browser
def test_the_page_is_typed(node_modules: Path) -> None:
    run_node("tsc", "--noEmit")


@pytest.mark.browser
def test_the_state_core_and_the_renderer_do_as_their_tests_say(node_modules: Path) -> None:
    run_node("vitest", "run")
