"""Check that a class name means one thing in `src/`, and that the architecture defines the words that classes are called by.

`python scripts/class_names.py` exits with 1 and says what is wrong if a class name is defined in more than one module, or if
the last word of a class name is missing in the tables of "Words" in `docs/architecture.md`.
"""

import ast
import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "legato"
ARCHITECTURE = ROOT / "docs" / "architecture.md"

ALLOWED: frozenset[str] = frozenset()
"""Names that two packages may define, because they hold the same thing on two sides of a wire and say so."""

MESSAGES = re.compile(
    r"protocol/(messages|command_data)|fleet/(protocol|decisions)|stream/events|client/events|gateway/schemas|broker/base"
    r"|dialects/(\w+/frames|tokens|chunks)"
)
"""Modules of messages and events. Their classes are named by what they say, and have references of their own."""

_WORD = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z0-9]+|[A-Z]+")


def class_names(path: Path) -> Iterator[str]:
    """Yield the names of all classes in a file, nested ones included."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ClassDef):
            yield node.name


def modules_by_class(source: Path = SOURCE) -> dict[str, list[str]]:
    """Return the modules that define each class name, as paths below `source` without `.py`."""
    modules: dict[str, list[str]] = defaultdict(list)
    for path in sorted(source.rglob("*.py")):
        for name in class_names(path):
            modules[name].append(path.relative_to(source).with_suffix("").as_posix())
    return modules


def undefined_words(modules: dict[str, list[str]], page: str) -> dict[str, list[str]]:
    """Return the last words of public class names that the page does not define, each with its classes."""
    section = page[page.index("## Words") : page.index("## Packages")]
    cells = re.findall(r"^\| ([^|]+) \|", section, re.MULTILINE)
    defined = {_singular(word) for cell in cells for word in re.findall(r"[a-z][a-z0-9]*", cell.lower())}
    missing: dict[str, list[str]] = defaultdict(list)
    for name, places in sorted(modules.items()):
        if name.startswith("_") or all(MESSAGES.match(place) for place in places):
            continue
        word = _singular(_WORD.findall(name)[-1].lower())
        if word not in defined:
            missing[word].append(name)
    return missing


def _singular(word: str) -> str:
    if word.endswith("ies"):
        return f"{word[:-3]}y"
    return word if word.endswith("ss") else word.removesuffix("s")


def main() -> int:
    modules = modules_by_class()
    wrong = [
        f"The class name {name} is defined in {', '.join(places)}. Give each its own name."
        for name, places in sorted(modules.items())
        if len(places) > 1 and name not in ALLOWED
    ]
    wrong += [
        f"The word {word!r} ({', '.join(names)}) is not defined in {ARCHITECTURE.name}. Define it, or use a word that is."
        for word, names in undefined_words(modules, ARCHITECTURE.read_text("utf-8")).items()
    ]
    for sentence in wrong:
        sys.stderr.write(f"{sentence}\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
