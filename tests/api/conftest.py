"""What the tests of the APIs share."""

import pytest
from tests.doubles.engines import replace_demo

from legato.testing.engine import ScriptedEngine


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> ScriptedEngine:
    """The engine of servers that start from now on. It has a model of every name."""
    engine = ScriptedEngine("demo", models=())
    replace_demo(monkeypatch, engine)
    return engine
