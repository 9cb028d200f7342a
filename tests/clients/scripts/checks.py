"""What the scripts of clients share. It runs in the environment of the clients, so it imports nothing of the server."""

import asyncio
import inspect
import json
import os
import unittest
from collections.abc import Callable
from typing import Any, TypeVar

ADDRESS = os.environ.get("LEGATO_ADDRESS", "")
MODEL = os.environ.get("LEGATO_MODEL", "scripted")
SMALL_MODEL = os.environ.get("LEGATO_SMALL_MODEL", "")
PICTURE = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="

Check = Callable[[], Any]
Error = TypeVar("Error", bound=Exception)

_CHECKS: list[tuple[str, str, str, Check]] = []


def check(client: str, api: str, feature: str) -> Callable[[Check], Check]:
    """Register a check of one feature of a client's way to speak to the server. It raises if it fails."""

    def register(function: Check) -> Check:
        _CHECKS.append((client, api, feature, function))
        return function

    return register


def raised(kind: type[Error], call: Callable[[], Any]) -> Error:
    """Return the error that `call` raises.

    :raises AssertionError: it raises none.
    """
    try:
        call()
    except kind as error:
        return error
    raise AssertionError(f"no {kind.__name__}")


def run() -> None:
    """Run all checks in order, and print each one's result as a line of JSON."""
    for client, api, feature, function in _CHECKS:
        result = unittest.TestResult()
        unittest.FunctionTestCase(lambda function=function: _finish(function())).run(result)
        error = "".join(trace[-3000:] for _, trace in [*result.errors, *result.failures])
        print(json.dumps({"client": client, "api": api, "feature": feature, "error": error}))


def _finish(made: Any) -> None:
    if inspect.isawaitable(made):
        asyncio.run(_awaited(made))


async def _awaited(made: Any) -> None:
    async with asyncio.timeout(30):
        await made
