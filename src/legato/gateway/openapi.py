"""The OpenAPI document: what FastAPI knows of the routes, with the shapes, the errors and the tokens as they really are."""

from collections.abc import Callable
from typing import Any

from fastapi import FastAPI

from legato.gateway.json_body import documented
from legato.gateway.schemas import ProblemAnswer

OPEN_TO_ALL = frozenset({"/health", "/ready", "/api/info"})

OWN_CHECK = "422"
"""What FastAPI says it answers to a request that does not fit; here that is a 400 like every other."""


def document(app: FastAPI) -> None:
    """Let `app` serve this document. It is made once, when it is first asked for."""
    plain = app.openapi

    def whole() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _completed(plain)
        return app.openapi_schema

    app.openapi = whole  # type: ignore[method-assign]


def _completed(plain: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    schema = plain()
    problem = documented.gives(ProblemAnswer, what="What is wrong, in a sentence")[200]
    for path, operations in schema["paths"].items():
        for operation in operations.values():
            answers = operation["responses"]
            answers.pop(OWN_CHECK, None)
            answers["default"] = problem
            if path not in OPEN_TO_ALL:
                operation["security"] = [{"token": []}, {}]
    components = schema.setdefault("components", {})
    components["schemas"] = documented.components()
    components["securitySchemes"] = {
        "token": {
            "type": "http",
            "scheme": "bearer",
            "bearerFormat": "JWT",
            "description": "Where auth is on.",
        }
    }
    return schema
