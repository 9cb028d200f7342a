"""Which engines an agent runs, by its options and its environment."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from msgspec import Struct

from legato.agent.engine_pool import EngineSource
from legato.api_keys import given
from legato.engines.demo.engine import DemoEngine, full_name
from legato.engines.llama.engine import LlamaEngine
from legato.engines.ollama.engine import OllamaEngine
from legato.engines.openai.engine import OpenAIEngine
from legato.errors import InvalidError

ENGINES = ("auto", "ollama", "llama", "openai", "demo")

LLAMA_SLOTS = 2
"""Replies that one embedded model writes at once, if the options do not say how many."""


class EngineSelection(Struct, frozen=True):
    """The options of the agent. `slots` None: each engine decides."""

    engines: tuple[str, ...] = ("auto",)
    models: tuple[str, ...] = ()
    url: str | None = None
    slots: int | None = None


def make_sources(
    selection: EngineSelection, environ: Mapping[str, str], directory: Path
) -> tuple[list[EngineSource], int]:
    """Build the engines. Returns them, and how many jobs they run at once. `directory` is where model files are kept.

    `auto` chooses by the names of the models (a GGUF file, `demo:…`), and takes Ollama for the others.

    :raises InvalidError: the options do not fit together.
    :raises SettingsError: a URL or a key is not valid. :raises ModelNotFoundError: there is no such demo model.
    """
    for engine in selection.engines:
        if engine not in ENGINES:
            raise InvalidError(f"There is no engine called {engine!r}. There are {', '.join(ENGINES)}.")
    files = tuple(name for name in selection.models if _is_file(name))
    demos = tuple(name for name in selection.models if name.startswith("demo:"))
    others = tuple(name for name in selection.models if name not in files + demos)
    names = tuple(
        dict.fromkeys(
            each for engine in selection.engines for each in _engines_for(engine, files, demos, others)
        )
    )
    elsewhere = sum(name in ("ollama", "openai") for name in names)
    if selection.url is not None and elsewhere > 1:
        raise InvalidError(
            "--url is the address of one engine, and --engine names two that have one. Give them in OLLAMA_HOST "
            "and OPENAI_BASE_URL instead, or run an agent for each."
        )
    if selection.url is not None and not elsewhere:
        raise InvalidError(
            "--url needs --engine ollama or --engine openai beside it: it does not say what answers at that address."
        )
    single = len(names) == 1
    sources: list[EngineSource] = []
    slots = 0
    for name in names:
        match name:
            case "ollama":
                url = selection.url or environ.get("OLLAMA_URL") or environ.get("OLLAMA_HOST") or ""
                sources.append(EngineSource(OllamaEngine(url), others))
                slots += 1
            case "openai":
                url = selection.url or environ.get("OPENAI_BASE_URL") or "https://api.openai.com/v1"
                server = OpenAIEngine(url, api_key=given(environ.get("OPENAI_API_KEY"), "OPENAI_API_KEY"))
                sources.append(EngineSource(server, others))
                slots += 1
            case "llama":
                each = selection.slots or LLAMA_SLOTS
                for model in (selection.models if single else files) or (None,):
                    sources.append(EngineSource(LlamaEngine(model, directory=directory, slots=each)))
                    slots += each
            case _:
                wanted = selection.models if single else demos
                sources.append(EngineSource(DemoEngine(), tuple(map(full_name, wanted))))
                slots += 1
    return sources, selection.slots or slots


def _engines_for(
    engine: str, files: Sequence[str], demos: Sequence[str], others: Sequence[str]
) -> Sequence[str]:
    if engine != "auto":
        return (engine,)
    chosen = [name for name, models in (("llama", files), ("demo", demos)) if models]
    return [*(("ollama",) if others or not chosen else ()), *chosen]


def _is_file(model: str) -> bool:
    return model.endswith(".gguf") or Path(model).is_file()
