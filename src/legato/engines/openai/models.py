"""The list of models of an OpenAI-compatible server, in any of the known formats. It does no I/O."""

from typing import Any

from msgspec import Struct

from legato.engines.lenient_json import count, decode_values, string

_CONTEXTS = ("context_length", "max_model_len", "context_window", "max_context_length", "n_ctx")


class OpenAIModel(Struct):
    """A model in `/models`. Servers name its context, if at all, each in their own way."""

    id: str
    context_length: int | None = None
    max_model_len: int | None = None
    meta: dict[str, Any] | None = None

    @property
    def context(self) -> int | None:
        trained = (self.meta or {}).get("n_ctx") or (self.meta or {}).get("n_ctx_train")
        return self.context_length or self.max_model_len or (trained if isinstance(trained, int) else None)


def models_in(body: bytes) -> list[OpenAIModel]:
    """Return the models of a list in `data` or `models`, or of a bare list. Entries without a name are left out.

    :raises ValueError: the body is not a list of models.
    """
    values = decode_values(body)
    value = values[0]
    if isinstance(value, dict):
        known = [name for name in ("data", "models", "result") if name in value]
        if not known:
            raise ValueError("no list of models")
        value = next((value[name] for name in known if value[name] is not None), None)
    if isinstance(value, dict):
        value = [each if isinstance(each, dict) and "id" in each else name for name, each in value.items()]
    if value is not None and not isinstance(value, list):
        raise ValueError("no list of models")
    found = [model for each in value or () if (model := _model(each)) is not None]
    return list({model.id: model for model in found}.values())


def _model(value: object) -> OpenAIModel | None:
    if isinstance(value, str):
        return OpenAIModel(string(value)) if value.strip() else None
    if not isinstance(value, dict):
        return None
    name = next((found for key in ("id", "name", "model") if (found := string(value.get(key)).strip())), "")
    if not name:
        return None
    meta = value.get("meta")
    context = next((size for key in _CONTEXTS if (size := count(value.get(key)))), None)
    return OpenAIModel(name, context_length=context, meta=meta if isinstance(meta, dict) else None)
