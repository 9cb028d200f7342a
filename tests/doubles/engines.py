"""An engine of a test in the place of the demo engine of a server."""

import pytest
from msgspec.structs import replace

from legato.engines.base import Engine
from legato.engines.demo.engine_type import DEMO
from legato.engines.registry import ENGINE_TYPES


def replace_demo(monkeypatch: pytest.MonkeyPatch, engine: Engine) -> None:
    """Make servers that start from now on use `engine` where the settings say `demo`."""
    monkeypatch.setitem(ENGINE_TYPES, "demo", replace(DEMO, make=lambda settings, context: engine))
