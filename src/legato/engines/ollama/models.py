"""What Ollama says of its models, without I/O: `/api/tags`, `/api/ps`, `/api/show` and `/api/version`."""

import re
from typing import Any, TypeVar

import msgspec
from msgspec import Struct, field

from legato.engines.base import Capabilities
from legato.engines.lenient_json import decode_values
from legato.engines.model_kind import is_chat_model

T = TypeVar("T", bound=Struct)


class ShowResponse(Struct):
    """What is wanted of `/api/show`."""

    template: str = ""
    renderer: str = ""
    remote_host: str = ""
    capabilities: list[str] | None = None
    model_info: dict[str, Any] | None = None


class ModelDescription(Struct):
    """`details` of a model in `/api/tags` and `/api/ps`."""

    family: str = ""
    parameter_size: str = ""
    quantization_level: str = ""

    @property
    def sentence(self) -> str | None:
        return f"{self.parameter_size} {self.quantization_level}".strip() or None


class OllamaModel(Struct):
    """A model in `/api/tags` and `/api/ps`."""

    name: str
    size: int | None = None
    details: ModelDescription | None = None
    context_length: int | None = None

    @property
    def chats(self) -> bool:
        return is_chat_model(self.name, self.details.family if self.details else "")


class OllamaModelList(Struct):
    models: list[OllamaModel] | None = field(default=None)


class EmbedResponse(Struct):
    """The response of `/api/embed`. Durations are in nanoseconds."""

    model: str = ""
    embeddings: list[Any] = field(default_factory=list)
    prompt_eval_count: int | None = None
    load_duration: int | None = None
    total_duration: int | None = None


class Version(Struct):
    version: str


def version_of(text: str) -> tuple[int, ...]:
    """Return the numbers of a version, the largest if it is none: a version of its own, which is newer than all."""
    match = re.match(r"v?(\d+)\.(\d+)(?:\.(\d+))?", text)
    if match is None or match[0] == "0.0.0":
        return (1000,)
    return tuple(int(each or 0) for each in match.groups())


def full_name(model: str) -> str:
    """`plain` is the same model as `plain:latest`, and is listed so."""
    return model if ":" in model.rpartition("/")[2] else f"{model}:latest"


def capabilities(shown: ShowResponse) -> Capabilities:
    """What a model can do, by what `/api/show` says of it."""
    can = shown.capabilities or ()
    info = shown.model_info or {}
    length = info.get(f"{info.get('general.architecture')}.context_length")
    return Capabilities(
        supports_prefill=not shown.renderer and not shown.remote_host and leaves_open(shown.template),
        tools="tools" in can,
        images="vision" in can,
        thinks="thinking" in can,
        context=length if isinstance(length, int) else None,
    )


_MESSAGES = re.compile(r"\{\{[^}]*\.Messages\b")
_LAST = re.compile(
    r"\{\{-?\s*\$last\s*:=\s*eq\s*\(\s*len\s*\(\s*slice\s+\$\.Messages\s+\$\w+\s*\)\s*\)\s*1\s*-?\}\}"
)
_ASSISTANT = re.compile(
    r"""\{\{-?\s*(?:else\s+)?if\s+eq\s+\.Role\s+"assistant"\s*-?\}\}
    (?:(?!\.Role\b).)* \{\{-?\s*\.Content\s*-?\}\} (?:\s*(?=\{\{-)|(?=\{\{)) (?:(?!\.Role\b|\.Content\b).)*
    \{\{-?\s*if\s+\(?\s*not\s+\$last\s*\)?\s*-?\}\}[^{]*\{\{-?\s*end\s*-?\}\}
    (?:\s*(?=\{\{-)|(?=\{\{))""",
    re.DOTALL | re.VERBOSE,
)
_NEXT_TURN = re.compile(r"\{\{-?\s*if\s+and\s+\(\s*ne\s+\.Role\s+\"assistant\"\s*\)\s+\$last\s*-?\}\}")


def leaves_open(template: str) -> bool:
    """Whether a prompt that ends in an assistant's message ends in its very text, so that the model goes on behind it.

    Two kinds of templates do. Those without `.Messages` are cut by Ollama itself behind the last `.Response` (its
    `template.Execute`). Those with it must say so: nothing is written behind the assistant's text where the message is
    `$last`, and no new turn is opened behind an assistant. Of any other template nothing is promised.
    """
    if not _MESSAGES.search(template):
        return ".Prompt" in template
    return all(pattern.search(template) for pattern in (_LAST, _ASSISTANT, _NEXT_TURN))


def read(body: bytes, kind: type[T]) -> T:
    """Return the body as a `kind`. Fields of another type than theirs are left out, and so are entries of no known shape.

    :raises ValueError: it is no JSON object, or lacks a field that the kind needs.
    """
    value = decode_values(body)[0]
    if kind is OllamaModelList:
        found = value.get("models") if isinstance(value, dict) else value
        if not isinstance(found, list) and not (isinstance(value, dict) and found is None):
            raise ValueError("no list of models")
        models = [_read_model(each) for each in found or ()]
        return kind(models=[model for model in models if model is not None])
    if not isinstance(value, dict):
        raise ValueError("no object")
    return _struct(value, kind)


def _read_model(value: object) -> OllamaModel | None:
    if isinstance(value, str):
        value = {"name": value}
    if not isinstance(value, dict):
        return None
    name = value.get("name") or value.get("model")
    if not isinstance(name, str) or not name:
        return None
    details = value.get("details")
    described = {**value, "name": name, "details": None}
    model = _struct(described, OllamaModel)
    if isinstance(details, dict):
        model.details = _struct(details, ModelDescription)
    return model


def _struct(value: dict[str, Any], kind: type[T]) -> T:
    fields: dict[str, Any] = {}
    for each in msgspec.structs.fields(kind):
        if each.encode_name in value:
            try:
                fields[each.name] = msgspec.convert(value[each.encode_name], each.type, strict=False)
            except msgspec.ValidationError:
                continue
    try:
        return kind(**fields)
    except TypeError as error:
        raise ValueError(str(error)) from None
