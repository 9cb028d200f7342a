"""What `legato doctor` reports about the engines that assistants use."""

import asyncio
from collections.abc import Iterator

from legato.check_result import CheckResult, note, ok
from legato.engines.registry import ENGINE_TYPES, engine_of_model
from legato.gateway.engine_factory import engine_context
from legato.gateway.settings import AssistantSettings, Settings


async def engines(settings: Settings) -> list[CheckResult]:
    """Check the engines that the assistants use, each once for each model."""
    wanted = dict.fromkeys(
        (engine, model) for assistant in settings.assistants.values() for engine, model in _used(assistant)
    )
    found = await asyncio.gather(*(_engine(settings, engine, model) for engine, model in wanted))
    return list(dict.fromkeys(finding for each in found for finding in each))


def _used(assistant: AssistantSettings) -> Iterator[tuple[str, str | None]]:
    pairs = [(assistant.engine, assistant.model)]
    if assistant.backup_engine or assistant.backup_model:
        pairs.append((assistant.backup_engine or assistant.engine, assistant.backup_model))
    for engine, model in pairs:
        yield (engine_of_model(model) or engine if engine == "auto" else engine), model


async def _engine(settings: Settings, name: str, model: str | None) -> list[CheckResult]:
    if name == "fleet":
        return [ok("Fleet", "Agents answer, which dial in by themselves.")]
    if name != "auto":
        return await _check(settings, name, model)
    ollama = await _check(settings, "ollama", model)
    if all(found.verdict == "ok" for found in ollama):
        return ollama
    llama = await _check(settings, "llama", model)
    usable = all(found.verdict != "problem" for found in llama)
    instead = "The embedded model answers instead." if usable else "The demo engine answers."
    return [
        *(note(found.about, f"{found.message} {instead}", found.fix) for found in ollama),
        *(
            note(found.about, found.message, found.fix) if found.verdict == "problem" else found
            for found in llama
        ),
    ]


async def _check(settings: Settings, name: str, model: str | None) -> list[CheckResult]:
    return await ENGINE_TYPES[name].check(
        settings.engine_section(name), engine_context(settings, name, model)
    )
