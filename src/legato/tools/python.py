"""Python functions as tools: their types are the schema, their docstrings the description.

Other packages provide them as entry points in the group `legato.tools`; each names a function, or a list of them.
"""

import asyncio
import inspect
import threading
from collections.abc import Awaitable, Callable, Collection, Iterable
from importlib.metadata import entry_points
from typing import Annotated, Any, TypeVar, cast, get_type_hints

import pydantic
from msgspec import Struct
from pydantic_core import PydanticSerializationError, to_json

from legato.engines.base import ToolSpec
from legato.errors import SettingsError, ToolError
from legato.settings_types import SettingsSection
from legato.tools.base import Context, truncate
from legato.tools.tool_type import ToolsetOptions, ToolType

GROUP = "legato.tools"

APPROVAL = "__legato_approval__"

MAX_THREADS = 64
"""Maximum running threads of one tool, including those whose caller has given up."""

Function = Callable[..., Any]
F = TypeVar("F", bound=Function)


def needs_approval(function: F) -> F:
    """Mark a function that needs a person's approval, unless the settings decide otherwise."""
    setattr(function, APPROVAL, True)
    return function


class _PythonTool(Struct, frozen=True):
    spec: ToolSpec
    approval: bool
    seconds: float
    function: Function
    model: type[pydantic.BaseModel]
    context_name: str | None
    max_bytes: int
    threads: set[threading.Thread]

    async def run(self, arguments: dict[str, Any], context: Context) -> str:
        try:
            checked = self.model.model_validate(arguments)
        except pydantic.ValidationError as error:
            raise ToolError(_describe(error)) from None
        named = {name: getattr(checked, name) for name in self.model.model_fields}
        if self.context_name is not None:
            named[self.context_name] = context
        if inspect.iscoroutinefunction(self.function):
            result = await cast("Awaitable[Any]", self.function(**named))
        else:
            result = await self._in_a_thread(lambda: self.function(**named))
        return truncate(_text(result), self.max_bytes)

    async def _in_a_thread(self, function: Callable[[], Any]) -> Any:
        """Run the function in a daemon thread, because it cannot be cancelled and must not delay the end of the server."""
        if len(self.threads) >= MAX_THREADS:
            raise ToolError("This tool is busy: too many runs of it have not ended. Try again later.")
        loop = asyncio.get_running_loop()
        done: asyncio.Future[Any] = loop.create_future()

        def set_result(result: Any, error: BaseException | None) -> None:
            self.threads.discard(thread)
            if done.done():
                return
            if error is None:
                done.set_result(result)
            elif isinstance(error, StopIteration):
                done.set_exception(RuntimeError("the tool raised StopIteration"))
            else:
                done.set_exception(error)

        def run() -> None:
            result, failure = None, None
            try:
                result = function()
            except BaseException as error:  # noqa: BLE001 (it is raised again in the caller)
                failure = error
            try:
                loop.call_soon_threadsafe(set_result, result, failure)
            except RuntimeError:
                return  # the server has stopped

        thread = threading.Thread(target=run, name=f"tool {self.spec.name}", daemon=True)
        self.threads.add(thread)
        thread.start()
        return await done


class PythonTools:
    """A `Toolset` of the functions behind one entry point, or of `functions`.

    A parameter of the type `Context` receives for whom the tool runs; the model does not see it. A function that is not a
    coroutine runs in a thread of its own. If it takes too long, it continues there and its result is dropped.
    """

    def __init__(
        self,
        name: str,
        *,
        functions: Iterable[Function] | None = None,
        entry_point: str | None = None,
        seconds: float = 30.0,
        max_bytes: int = 16384,
        approval: Collection[str] | None = None,
    ) -> None:
        """Create the tools. If `approval` is None, each function declares it. Without `functions` the entry point is loaded.

        :raises SettingsError: there is no such entry point, or what it names cannot be a tool.
        """
        self._name = name
        if functions is None:
            functions = _load(entry_point or name)
        self.tools = tuple(_make_tool(each, seconds, max_bytes, approval) for each in functions)

    @property
    def name(self) -> str:
        return self._name

    async def open(self) -> None:
        """Do nothing: there is nothing to open."""

    async def close(self) -> None:
        """Do nothing: there is nothing to close."""


def _load(name: str) -> list[Function]:
    found = next(iter(entry_points(group=GROUP, name=name)), None)
    if found is None:
        raise SettingsError(
            f"There is no tool {name!r}: no installed package has an entry point of this name in {GROUP}."
        )
    try:
        loaded = found.load()
    except Exception as error:
        raise SettingsError(f"The tool {name!r} ({found.value}) cannot be loaded: {error}.") from error
    functions = list(loaded) if isinstance(loaded, list | tuple) else [loaded]
    if not functions or not all(callable(each) for each in functions):
        raise SettingsError(f"The tool {name!r} ({found.value}) is no function, nor a list of them.")
    return functions


def _make_tool(
    function: Function, seconds: float, max_bytes: int, approval: Collection[str] | None
) -> _PythonTool:
    name = function.__name__
    context_name: str | None = None
    fields: dict[str, Any] = {}
    try:
        hints = get_type_hints(function, include_extras=True)
        for parameter in inspect.signature(function).parameters.values():
            if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
                raise SettingsError(f"The tool {name} may have only parameters that can be named.")
            hint = hints.get(parameter.name, str)
            if hint is Context:
                context_name = parameter.name
                continue
            default = ... if parameter.default is parameter.empty else parameter.default
            fields[parameter.name] = (hint, default)
        model = pydantic.create_model(name, __config__=pydantic.ConfigDict(extra="forbid"), **fields)
        schema = model.model_json_schema()
    except (NameError, TypeError, ValueError, pydantic.errors.PydanticUserError) as error:
        raise SettingsError(f"The types of the tool {name} cannot be told to a model: {error}.") from error
    schema.pop("title", None)
    approval_ = bool(getattr(function, APPROVAL, False))
    if approval is not None:
        approval_ = "*" in approval or name in approval
    spec = ToolSpec(name, inspect.getdoc(function) or name, schema)
    return _PythonTool(spec, approval_, seconds, function, model, context_name, max_bytes, set())


def _describe(error: pydantic.ValidationError) -> str:
    text = [
        f"{'.'.join(map(str, each['loc'])) or 'it'}: {each['msg']}"
        for each in error.errors(include_url=False, include_input=False, include_context=False)[:5]
    ]
    return f"The arguments do not fit: {'; '.join(text)}."


def _text(result: object) -> str:
    if isinstance(result, str):
        return result
    try:
        return to_json(result).decode()
    except PydanticSerializationError:
        return str(result)


class PythonSettings(SettingsSection):
    """The keys of `[tools.NAME]` for Python functions."""

    entry_point: Annotated[str | None, pydantic.Field(min_length=1)] = pydantic.Field(
        None, description="The entry point in the group `legato.tools`. Not set: NAME."
    )


def _make(settings: PythonSettings, options: ToolsetOptions) -> PythonTools:
    return PythonTools(
        options.name,
        entry_point=settings.entry_point,
        approval=options.approval,
        seconds=options.seconds,
        max_bytes=options.max_bytes,
    )


PYTHON = ToolType(name="python", settings=PythonSettings, make=_make)
