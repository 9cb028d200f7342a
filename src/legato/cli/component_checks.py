"""What `legato doctor` reports about tools, attachments and recordings. They are made as the server makes them."""

import asyncio

from legato.check_result import CheckResult, note, ok, problem
from legato.cli.directories import unusable
from legato.errors import LegatoError, SettingsError, ToolError
from legato.gateway.media import attachments_dir, make_transcriber
from legato.gateway.settings import Settings
from legato.gateway.tool_factory import check_toolset


async def tools(settings: Settings) -> list[CheckResult]:
    """Check the tools that an assistant names: open each and close it again."""
    names = dict.fromkeys(name for each in settings.assistants.values() for name in each.tools)
    found = await asyncio.gather(*(_tool(settings, name) for name in names))
    return [result for each in found for result in each]


async def _tool(settings: Settings, name: str) -> list[CheckResult]:
    about = f"Tool {name}"
    try:
        return await check_toolset(settings, name)
    except SettingsError as error:
        return [problem(about, error.message)]
    except ToolError as error:
        fix = (
            "See that it can be had here: the server starts without it, and the model is told that it fails."
        )
        return [note(about, error.message, fix)]


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
    """Check a configured directory. The one in the data directory needs no check of its own."""
    if settings.attachments.directory is None:
        return []
    if why := unusable(attachments_dir(settings)):
        fix = "Choose another `directory` in [attachments], or change its owner: nothing can be attached."
        return [note("Attachments", why, fix)]
    return [ok("Attachments", f"{attachments_dir(settings)} can be written.")]
