"""An engine that does what it is asked in form: it calls tools with arguments that fit their schema, answers in a schema, thinks if it may."""

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from legato.domain.message import Part, TextPart
from legato.engines.base import (
    Capabilities,
    Health,
    Model,
    Outcome,
    ReplyWriter,
    Request,
    TokenLogprob,
    ToolCall,
    ToolSpec,
)
from legato.errors import ModelNotFoundError
from legato.stream import Timings, Usage

MODEL = "scripted"
CONTEXT = 32_768


class SchemaEngine:
    """Answers every request at once. `answers` has the answer to a request whose last message contains the key.

    If `models` is empty, every name is a model.
    """

    def __init__(
        self,
        name: str = "demo",
        *,
        models: tuple[str, ...] = (MODEL,),
        answers: Mapping[str, str] | None = None,
    ) -> None:
        self._name = name
        self._models = models
        self._answers = answers or {}
        self.requests: list[Request] = []

    @property
    def name(self) -> str:
        return self._name

    async def generate(self, request: Request, out: ReplyWriter) -> Outcome:
        self.requests.append(request)
        if self._models and request.model not in self._models:
            raise ModelNotFoundError(f"{self._name} has no model {request.model}.")
        asked = _text(request.turns[-1].parts) if request.turns else ""
        if request.think and request.think != "none":
            out.reasoning("Let me ")
            out.reasoning("think.")
        if request.tools and request.turns[-1].role != "tool" and request.tool_choice != "none":
            for number, tool in enumerate(_chosen(request, asked)):
                arguments = msgspec.json.encode(example(tool.parameters, asked, tool.parameters)).decode()
                out.tool_call(ToolCall(f"call_{len(self.requests)}_{number}", tool.name, arguments))
            return self._ended("tool_calls", request, 8)
        words = re.findall(r"\s*\S+|\s+", self._answer(request, asked))
        limit = request.options.get("num_predict")
        most = limit if isinstance(limit, int) and limit > 0 else len(words)
        reason = "length" if most < len(words) else "stop"
        kept = _before_stop("".join(words[:most]), request.options.get("stop"))
        for word in re.findall(r"\s*\S+|\s+", kept):
            if request.logprobs is not None:
                out.logprobs((_probable(word, request.logprobs),))
            out.text(word)
        return self._ended(reason, request, min(most, len(words)))

    def _answer(self, request: Request, asked: str) -> str:
        if isinstance(request.format, dict):
            return msgspec.json.encode(example(request.format, asked, request.format)).decode()
        if request.format == "json":
            return '{"setup": "Why do cats purr?", "punchline": "They idle."}'
        found = (answer for key, answer in self._answers.items() if key in asked)
        return next(found, "The quick brown fox jumps over you and a lazy dog.")

    def _ended(self, reason: Any, request: Request, words: int) -> Outcome:
        prompt = sum(len(_text(turn.parts).split()) for turn in request.turns) + 1
        return Outcome(
            reason,
            request.model,
            Usage(prompt, words),
            Timings(first_token_ms=1.0, total_ms=3.0, load_ms=0.5),
        )

    async def capabilities(self, model: str) -> Capabilities:
        return Capabilities(
            supports_prefill=True, tools=True, images=True, audio=True, thinks=True, context=CONTEXT
        )

    async def models(self) -> tuple[Model, ...]:
        return tuple(
            Model(name, self._name, loaded=True, size=8_000_000, context=CONTEXT, detail="8.2B Q4_K_M")
            for name in self._models
        )

    async def health(self) -> Health:
        return Health(True, "The scripted engine answers.", loaded=self._models)

    async def close(self) -> None: ...


def _text(parts: tuple[Part, ...]) -> str:
    return " ".join(part.text for part in parts if isinstance(part, TextPart))


def _before_stop(text: str, stops: object) -> str:
    for stop in stops if isinstance(stops, list) else ():
        text = text.partition(stop)[0]
    return text


def _probable(token: str, alternatives: int) -> TokenLogprob:
    """Return a token that is as likely as all others together, and the likeliest ones in its place."""
    likely = tuple(
        TokenLogprob(each, -0.7 * (place + 1), tuple(each.encode()))
        for place, each in enumerate([token, *" abcdefghijklmnopqrs"][:alternatives])
    )
    return TokenLogprob(token, -0.7, tuple(token.encode()), likely)


def _chosen(request: Request, asked: str) -> list[ToolSpec]:
    """Return the tool that must be called, else those that the last message names, else the first."""
    choice = request.tool_choice or ""
    if choice.startswith("function:"):
        return [tool for tool in request.tools if tool.name == choice.removeprefix("function:")]
    named = [tool for tool in request.tools if re.search(rf"\b{re.escape(tool.name)}\b", asked)]
    return (named or list(request.tools))[: 1 if request.parallel_tools is False else None if named else 1]


def example(schema: Any, asked: str, root: Any) -> Any:
    """Return a value that fits a JSON Schema; the first number and the first quoted words of `asked` are used where they fit."""
    if not isinstance(schema, dict):
        return None
    if isinstance(reference := schema.get("$ref"), str):
        return example(_referenced(reference, root), asked, root)
    if "const" in schema:
        return schema["const"]
    if isinstance(values := schema.get("enum"), list) and values:
        return values[0]
    for key in ("anyOf", "oneOf", "allOf"):
        if isinstance(options := schema.get(key), list) and options:
            return example(options[0], asked, root)
    kind = schema.get("type", "object" if "properties" in schema else "string")
    if isinstance(kind, list):
        kind = next(iter(kind), "null")
    if kind == "object":
        properties = schema.get("properties")
        named = properties.items() if isinstance(properties, dict) else ()
        return {name: example(each, asked, root) for name, each in named}
    if kind == "array":
        return [example(schema.get("items"), asked, root)]
    if kind in ("integer", "number"):
        number = re.search(r"[0-9]{1,9}", asked)
        return int(number[0]) if number else 3
    if kind == "boolean":
        return True
    if kind == "null":
        return None
    quoted = re.search(r"['‘“\"]([^'’”\"]+)['’”\"]", asked)
    return quoted[1] if quoted else "Paris"


def _referenced(reference: str, root: Any) -> Any:
    """Return the schema that a `$ref` names."""
    for key in reference.removeprefix("#/").split("/"):
        root = root.get(key) if isinstance(root, dict) else None
    return root
