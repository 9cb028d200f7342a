"""What `legato doctor` says of tools, attachments and recordings. They are made as the server makes them."""

import asyncio
from contextlib import AsyncExitStack

from legato.check_result import CheckResult, note, ok, problem
from legato.cli.directories import unusable
from legato.errors import LegatoError, SettingsError, ToolError
from legato.gateway.media import attachments_dir, make_transcriber
from legato.gateway.settings import Settings
from legato.gateway.tool_factory import make_toolset
from legato.gateway.tool_settings import ToolSettings
from legato.tools.base import RemoteToolset


async def tools(settings: Settings) -> list[CheckResult]:
    """Those that an assistant names, each opened and closed again."""
    names = dict.fromkeys(name for each in settings.assistants.values() for name in each.tools)
    return list(await asyncio.gather(*(_tool(settings, name) for name in names)))


async def _tool(settings: Settings, name: str) -> CheckResult:
    about = f"Tool {name}"
    try:
        async with AsyncExitStack() as stack:
            with settings.blaming("tools", name):
                toolset = make_toolset(name, settings.tools.get(name) or ToolSettings())
                stack.push_async_callback(toolset.close)
                await (toolset.reach() if isinstance(toolset, RemoteToolset) else toolset.open())
            count = len(toolset.tools)
            return ok(about, f"It offers {count} tool{'s' if count != 1 else ''}.")
    except SettingsError as error:
        return problem(about, error.message)
    except ToolError as error:
        fix = (
            "See that it can be had here: the server starts without it, and the model is told that it fails."
        )
        return note(about, error.message, fix)


async def recordings(settings: Settings) -> list[CheckResult]:
    try:
        transcriber = make_transcriber(settings)
    except LegatoError as error:
        return [problem("Recordings", error.message)]
    if transcriber is None:
        return []
    await transcriber.close()
    return [ok("Recordings", f"The engine {settings.audio.engine} puts them into words.")]


def attachments(settings: Settings) -> list[CheckResult]:
    """A directory of their own; the one in the data directory is as that is."""
    if settings.attachments.directory is None:
        return []
    if why := unusable(attachments_dir(settings)):
        fix = "Choose another `directory` in [attachments], or change its owner: nothing can be attached."
        return [note("Attachments", why, fix)]
    return [ok("Attachments", f"{attachments_dir(settings)} can be written.")]
