"""Check that a class name means one thing in `src/`.

`python scripts/class_names.py` exits with 1 and names the modules if a class name is defined in more than one of them.
"""

import ast
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

SOURCE = Path(__file__).parent.parent / "src" / "legato"

ALLOWED: frozenset[str] = frozenset()
"""Names that two packages may define, because they hold the same thing on two sides of a wire and say so."""


def class_names(path: Path) -> Iterator[str]:
    """Yield the names of all classes in a file, nested ones included."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ClassDef):
            yield node.name


def duplicates(source: Path = SOURCE) -> dict[str, list[str]]:
    """Return each class name that occurs more than once and is not allowed to, with the modules that define it."""
    modules: dict[str, list[str]] = defaultdict(list)
    for path in sorted(source.rglob("*.py")):
        for name in class_names(path):
            modules[name].append(path.relative_to(source).as_posix())
    return {name: found for name, found in sorted(modules.items()) if len(found) > 1 and name not in ALLOWED}


def main() -> int:
    found = duplicates()
    for name, modules in found.items():
        sys.stderr.write(
            f"The class name {name} is defined in {', '.join(modules)}. Give each its own name.\n"
        )
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
