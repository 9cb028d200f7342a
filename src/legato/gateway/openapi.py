"""The OpenAPI document: FastAPI's, with the real types, errors and authentication."""

from collections.abc import Callable
from typing import Any

from fastapi import FastAPI

from legato.gateway.json_body import openapi_types
from legato.gateway.schemas import ProblemAnswer

PUBLIC_PATHS = frozenset({"/health", "/ready", "/api/info"})

VALIDATION_STATUS = "422"
"""The status that FastAPI documents for an invalid request; here it is 400 like every other."""


def use_openapi_types(app: FastAPI) -> None:
    """Make `app` serve this document. It is generated at the first request."""
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _completed(generate)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _completed(generate: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    schema = generate()
    problem = openapi_types.response(ProblemAnswer, what="What is wrong, in a sentence")[200]
    for path, operations in schema["paths"].items():
        for operation in operations.values():
            answers = operation["responses"]
            answers.pop(VALIDATION_STATUS, None)
            answers["default"] = problem
            if path not in PUBLIC_PATHS:
                operation["security"] = [{"token": []}, {}]
    components = schema.setdefault("components", {})
    components["schemas"] = openapi_types.components()
    components["securitySchemes"] = {
        "token": {
            "type": "http",
            "scheme": "bearer",
            "bearerFormat": "JWT",
            "description": "Where auth is on.",
        }
    }
    return schema
