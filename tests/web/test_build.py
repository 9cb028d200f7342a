"""When the build hook builds the page again."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

CHECKOUT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def hook() -> ModuleType:
    spec = importlib.util.spec_from_file_location("hatch_build", CHECKOUT / "hatch_build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def root(tmp_path: Path) -> Path:
    web = tmp_path / "web"
    (web / "src").mkdir(parents=True)
    (web / "package-lock.json").write_text("{}", encoding="utf-8")
    (web / "src" / "main.tsx").write_text("1", encoding="utf-8")
    return tmp_path


def build_page(root: Path, hook: ModuleType) -> Path:
    page = root / "src" / "legato" / "gateway" / "page"
    page.mkdir(parents=True)
    (page / hook.STAMP).write_text(hook.fingerprint(root / "web"), encoding="ascii")
    return root


def test_a_page_that_was_never_built_is_stale(root: Path, hook: ModuleType) -> None:
    assert hook.stale(root)


def test_a_page_built_from_these_sources_is_not_stale(root: Path, hook: ModuleType) -> None:
    assert not hook.stale(build_page(root, hook))


@pytest.mark.parametrize("name", ["src/main.tsx", "src/new.ts", "package.json"])
def test_a_changed_source_makes_the_page_stale(root: Path, hook: ModuleType, name: str) -> None:
    build_page(root, hook)
    (root / "web" / name).write_text("2", encoding="utf-8")
    assert hook.stale(root)


def test_a_moved_source_makes_the_page_stale(root: Path, hook: ModuleType) -> None:
    build_page(root, hook)
    (root / "web" / "src" / "main.tsx").rename(root / "web" / "src" / "page.tsx")
    assert hook.stale(root)


@pytest.mark.parametrize("name", ["node_modules/x.js", "test/x.test.ts"])
def test_files_that_are_not_part_of_the_page_are_ignored(root: Path, hook: ModuleType, name: str) -> None:
    build_page(root, hook)
    file = root / "web" / name
    file.parent.mkdir()
    file.write_text("2", encoding="utf-8")
    assert not hook.stale(root)


def test_without_sources_the_page_is_not_stale(tmp_path: Path, hook: ModuleType) -> None:
    assert not hook.stale(tmp_path)


def test_the_lock_file_names_no_registry() -> None:
    lock = (CHECKOUT / "web" / "package-lock.json").read_text(encoding="utf-8")
    assert '"resolved"' not in lock
    assert '"integrity"' in lock
