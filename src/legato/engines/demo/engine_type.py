"""The engine type of the demo engine."""

from legato.check_result import CheckResult, problem
from legato.engines.base import Engine
from legato.engines.demo.engine import DemoEngine, full_name
from legato.engines.engine_type import EngineContext, EngineType
from legato.errors import ModelNotFoundError
from legato.settings_types import SettingsSection


def _make(settings: SettingsSection, context: EngineContext) -> Engine:
    return DemoEngine()


async def _check(settings: SettingsSection, context: EngineContext) -> list[CheckResult]:
    """Report only a model that does not exist: the engine always answers."""
    try:
        full_name(context.model or "")
    except ModelNotFoundError as error:
        return [problem("Demo", error.message)]
    return []


async def _open_model(engine: Engine, model: str | None) -> str:
    return full_name(model or "")


DEMO: EngineType[SettingsSection] = EngineType(
    name="demo",
    settings=None,
    make=_make,
    check=_check,
    open_model=_open_model,
    owns=lambda model: model.startswith("demo:"),
)
