"""Follow a how-to page on a copy of the source: write its files, apply its changes, and run the result."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]

_BLOCK = re.compile(r"^```(python|diff|toml)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"# (\S+\.(?:py|toml))\n")


class Copy:
    """A copy of `src/`, changed as a page says, and a directory for settings and data beside it."""

    def __init__(self, directory: Path) -> None:
        self.source = directory / "src"
        self.home = directory / "home"
        self.home.mkdir()
        shutil.copytree(
            # With the compiled modules: they are valid for files of the same time and size.
            ROOT / "src",
            self.source,
            ignore=shutil.ignore_patterns("page", "*.so", "*.pyc.*"),
        )

    def follow(self, page: str) -> list[Path]:
        """Apply all blocks of the page, and return the files that it made or changed.

        A block of Python or TOML that begins with `# path` is that file. A block `diff` begins with `--- path`: each run of
        added lines stands behind the line above it, the first one before the line below it if no line is above.

        :raises AssertionError: the page says nothing, or a line that it builds on is not there.
        """
        touched: list[Path] = []
        for language, text in _BLOCK.findall((ROOT / "docs" / "how-to" / page).read_text("utf-8")):
            if language == "diff":
                touched.append(self._change(text))
            elif (named := _FILE.match(text)) is not None:
                touched.append(self._write(named[1], text[named.end() :]))
        assert touched, f"{page} names no file"
        return touched

    def copy_tests(self, *names: str) -> None:
        """Copy these files and directories of `tests/`, so that a page can change them too."""
        for name in names:
            source, target = ROOT / "tests" / name, self.home / "tests" / name
            if source.is_dir():
                shutil.copytree(source, target, ignore=shutil.ignore_patterns("*.pyc.*"))
            else:
                shutil.copyfile(source, target)

    def run(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run Python with the changed source, in the directory of the settings."""
        return subprocess.run(
            [sys.executable, "-P", *arguments],
            cwd=self.home,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=check,
        )

    def install(self, module: Path, entry_points: str) -> None:
        """Install a module as a package of its own with these entry points."""
        module.rename(self.source / module.name)
        about = self.source / f"{module.stem}-1.dist-info"
        about.mkdir()
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module.stem}\nVersion: 1\n")
        (about / "entry_points.txt").write_text(entry_points)

    @contextmanager
    def serving(self) -> Iterator[str]:
        """Run the changed server on a free port, and yield its URL."""
        command = [sys.executable, "-P", "-m", "legato", "serve", "--port", "0"]
        with subprocess.Popen(
            command, cwd=self.home, env=self.environment, stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            try:
                yield process.stdout.readline().split()[-1]
            finally:
                process.terminate()

    @property
    def environment(self) -> dict[str, str]:
        """The environment for a process that uses the changed source."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("LEGATO")}
        return {
            **kept,
            "PYTHONPATH": f"{self.source}{os.pathsep}{self.home}",
            "LEGATO_DATA_DIR": str(self.home / "data"),
        }

    def _write(self, path: str, text: str) -> Path:
        target = self._place(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        assert not target.exists(), f"{path} is there already"
        target.write_text(text, "utf-8")
        return target

    def _change(self, text: str) -> Path:
        head, *lines = text.splitlines()
        target = self._place(head.removeprefix("--- "))
        code = target.read_text("utf-8").splitlines()
        there = [line[1:] for line in lines if not line.startswith("+")]
        for line in there:
            assert line in code, f"{target} has no line {line!r}"
        assert there, "a change has a line that is there"
        at = code.index(there[0]) - 1
        for line in lines:
            if line.startswith("+"):
                at += 1
                code.insert(at, line[1:])
            else:
                at = code.index(line[1:])
        target.write_text("\n".join(code) + "\n", "utf-8")
        return target

    def _place(self, path: str) -> Path:
        return self.source / path.removeprefix("src/") if path.startswith("src/") else self.home / path
